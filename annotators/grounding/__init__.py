"""Verification of texts against the measured motion."""
