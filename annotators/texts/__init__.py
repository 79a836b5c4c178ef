"""Captions and annotations, written by rules or by language models."""
