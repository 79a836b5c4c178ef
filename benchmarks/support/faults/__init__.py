"""A small run that is disturbed, and the faults that disturb it, for ``benchmarks/faults.py``."""
