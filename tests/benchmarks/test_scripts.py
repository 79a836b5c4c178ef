"""Every benchmark can be started as its page says; what it measures is not tested here."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (PROJECT / "benchmarks").glob("*.py"))

# As `python benchmarks/x.py` does it, each in a process of its own: the script's folder comes first
# on the path. What all of them take long to import is there before they part.
LOAD = """
import os, runpy, sys
import cv2, pandas, pyarrow, torch
from transformers.models.t5 import modeling_t5

sys.path[0] = "benchmarks"
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        runpy.run_path(os.path.abspath(f"benchmarks/{name}"))
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{name} cannot be loaded")
"""


def test_all_of_them_load() -> None:
    assert len(SCRIPTS) > 10
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *SCRIPTS],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
