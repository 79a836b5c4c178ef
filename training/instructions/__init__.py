"""Tokens and texts to instructions for the language model."""
