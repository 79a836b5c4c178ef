"""Measurements: scripts that run alone and print one JSON object as their last line."""
