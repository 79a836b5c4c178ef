"""The command line: one module per group of commands."""

import sys
from importlib import import_module

try:
    import_module("avatargpt")  # fails if another package shadows one of ours
except ImportError as error:
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(2) from error
