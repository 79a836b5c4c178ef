"""Motion events to English; the last step, on which nothing depends."""
