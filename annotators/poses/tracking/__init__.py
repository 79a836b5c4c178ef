"""People searched in frames, followed from frame to frame and kept apart."""
