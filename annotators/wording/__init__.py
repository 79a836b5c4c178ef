"""English wording of motion events. No other step depends on the wording."""
