"""Training and inference of the motion tokenizer and the motion language model."""
