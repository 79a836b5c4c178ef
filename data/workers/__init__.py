"""Processes that may be killed, and errors that nobody foresaw."""
