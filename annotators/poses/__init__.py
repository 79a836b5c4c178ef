"""Clip to poses: people found, tracked and lifted to 3-D."""
