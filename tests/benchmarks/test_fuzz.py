"""A short version of benchmarks/fuzz.py: some thirty mutated inputs, none of which does harm."""

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
KINDS = ("configuration", "assignments", "cached replies", "numpy", "datasets")


def test_mutated_inputs_are_taken_or_refused_with_a_message() -> None:
    command = [sys.executable, "benchmarks/fuzz.py", "--share", "0.15", "--seed", "4"]
    done = subprocess.run(
        [*command, "--only", *KINDS], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["ok"], done.stdout
    assert told["figures"]["inputs"] >= 30
