"""Keep datasets in order: versions collected, parts compacted, datasets merged and compared."""
