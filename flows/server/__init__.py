"""The local Prefect server and what it needs."""
