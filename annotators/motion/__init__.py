"""Poses to measured motion events."""
