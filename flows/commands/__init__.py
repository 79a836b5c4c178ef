"""The command line, grouped by what a command works on."""
