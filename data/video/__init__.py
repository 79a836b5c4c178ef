"""Find, probe and decode video files."""
