"""The local Prefect server: its processes, its set-up, its authentication."""
