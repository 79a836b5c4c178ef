"""The motion tokenizer: the VQ-VAE that turns motion features into tokens, and its training."""
