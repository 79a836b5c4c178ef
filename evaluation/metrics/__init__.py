"""Metrics of generated motions and texts, as pure functions of arrays and texts."""
