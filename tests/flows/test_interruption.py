"""Ctrl-C and SIGTERM on the real command: one line, exit code 130, nobody left, and it goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_URL

from annotators.config import AnnotateConfig
from flows.annotate import annotate_videos

AVATARGPT = str(Path(sys.executable).with_name("avatargpt"))
KEPT = "stopping; finished clips are kept; run the same command to go on"
LIMIT_S = 12.0
"""The command leaves within three seconds; machines of tests are busy."""


@pytest.mark.parametrize(
    ("number", "times"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)]
)
def test_an_interrupted_run_says_one_line_and_leaves_nobody(
    number: signal.Signals, times: int, sample_clip: Path, brief_clip: Path, tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    process = subprocess.Popen(
        [AVATARGPT, "annotate", str(brief_clip), str(sample_clip), "--dataset", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
    )
    while not list(root.glob(".staging/work-*/poses/*.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    for _ in range(times):
        # As a terminal does it: every process of the group gets it.
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        time.sleep(0.2)
    _, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert told.splitlines()[-1] == KEPT
    assert told.count("stopping") == 1
    assert "Traceback" not in told
    _, alive = psutil.wait_procs(children, timeout=LIMIT_S)
    assert alive == []
    if number == signal.SIGTERM:
        # What was finished is taken up, and the lock is free.
        assert list(root.glob(".staging/work-*/poses/*.json"))
        summary = annotate_videos(AnnotateConfig(videos=(str(brief_clip),), dataset=root))
        assert summary.rows["annotations"] == 1
