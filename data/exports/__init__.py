"""Datasets for the loaders of others: what a sample is, and the formats that hold it."""
