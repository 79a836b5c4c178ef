"""Skeleton, motion features and their quality."""
