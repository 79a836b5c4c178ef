"""The report of a dataset: its figures, computed from the tables, and their page."""
