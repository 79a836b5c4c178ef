"""Worker processes with time and memory limits, and the handling of unexpected errors."""
