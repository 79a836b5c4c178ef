"""Services for all flow runs: progress, reporting, interruption, failures, child processes."""
