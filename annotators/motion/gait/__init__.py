"""Rules that find steps, walks, runs and turns in a motion."""
