"""The command line, grouped by what a command works on."""

import sys
from importlib import import_module

try:
    import_module("avatargpt")  # refuses foreign packages under our names
except ImportError as error:
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(2) from error
