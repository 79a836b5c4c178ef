"""Mutated inputs of every kind that a user can give, for ``benchmarks/fuzz.py``."""
