"""What every run has: progress, interruption, reporting, failures."""
