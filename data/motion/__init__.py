"""The skeleton, motion features, their normalization, quality checks and splits."""
