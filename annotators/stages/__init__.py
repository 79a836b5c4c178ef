"""The stages of a run, from videos to published rows."""
