"""Prefect flows, settings and the command line: all that knows Prefect or the environment."""
