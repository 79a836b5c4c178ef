"""Texts checked against the measured motion."""
