"""Motion tokenizer and motion language model; filled by the training flows. Imports only `data`."""
