"""The motion language model, its training and its generation."""
