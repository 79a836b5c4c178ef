"""The index of a dataset's version: what the list shows, filters, orders and searches, on disk."""
