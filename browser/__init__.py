"""The local page: browse a dataset, judge its texts beside the measurements, and correct them."""
