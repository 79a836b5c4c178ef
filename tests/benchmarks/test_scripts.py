"""Every benchmark can be started as its page says; what it measures is not tested here."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SCRIPTS = sorted(path.name for path in (PROJECT / "benchmarks").glob("*.py"))

# As `python benchmarks/x.py` does it: the script's own folder comes first on the path.
LOAD = "import runpy, sys; sys.path[0] = 'benchmarks'; runpy.run_path(sys.argv[1])"


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_loads(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(PROJECT / "benchmarks" / name)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
