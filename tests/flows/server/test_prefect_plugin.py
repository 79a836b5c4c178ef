"""`prefect deployment run NAME` without a slash."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flows.server.prefect_plugin import complete_name
from flows.server.process import answers

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("annotate-videos", "annotate-videos/annotate-videos"),
        ("annotate-videos/local", "annotate-videos/local"),
        ("--id", "--id"),
    ],
)
def test_complete_name(typed: str, meant: str) -> None:
    assert complete_name(typed) == meant


def test_only_loopback_is_asked_whether_it_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert answers(f"http://127.0.0.1:{port}/api")
    assert not answers(f"http://127.0.0.1:{port}/api")
    assert answers("https://prefect.invalid/api")


def test_the_command_says_how_to_start_a_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("prefect")), "deployment", "run", "annotate-videos"],
        cwd=ROOT,
        env={"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "make up" in done.stderr
    assert f":{port}/api" in done.stderr
