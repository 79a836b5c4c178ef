"""Import motions, texts and plans of other formats into a dataset."""
