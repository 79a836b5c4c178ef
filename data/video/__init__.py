"""Video files: found, probed and decoded."""
