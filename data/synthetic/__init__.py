"""Motions made by rules, for demos and tests."""
