"""The motion language model: its architecture, training and generation."""
