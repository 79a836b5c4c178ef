"""Stages of an annotation run, from videos to published rows."""
