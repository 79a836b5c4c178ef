"""Datasets: records, schemas, the store, importers, motion features, video and workers."""
