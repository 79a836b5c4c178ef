"""Motion features to motion tokens: the VQ-VAE and its training."""
