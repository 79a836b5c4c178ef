"""The audit of a text and motion dataset: what is wrong in it, a page, and a cleaned copy."""
