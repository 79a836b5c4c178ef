"""Other formats, into the dataset and out of it."""
