"""Tests that need the larger corpus: skipped and counted where it is not, unless it is demanded."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
NEEDS_IT = "tests/data/motion/test_skeleton.py"


def _run_tests(corpus: Path, *, demanded: bool) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "AVATARGPT_CORPUS": str(corpus),
        "AVATARGPT_REQUIRE_CORPUS": "1" if demanded else "",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", NEEDS_IT]
    return subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, check=False, env=environment
    )


def test_without_it_they_are_skipped_and_the_last_lines_say_how_to_get_it(tmp_path: Path) -> None:
    done = _run_tests(tmp_path / "none", demanded=False)
    assert done.returncode == 0, done.stdout
    *_, told, summary = done.stdout.splitlines()
    assert "1 skipped" in summary
    assert told.startswith("1 test was skipped")
    assert str(tmp_path / "none") in told
    assert "set AVATARGPT_CORPUS" in told


def test_where_it_is_demanded_its_absence_is_a_failure(tmp_path: Path) -> None:
    done = _run_tests(tmp_path / "none", demanded=True)
    assert done.returncode != 0
    assert f"expected {tmp_path / 'none' / 'videos'}, found nothing. Remedy:" in done.stderr
