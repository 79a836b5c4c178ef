"""A short version of benchmarks/faults.py: a run that is killed, and one whose worker is."""

import os
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from benchmarks.support.faults.job import Job
from benchmarks.support.faults.kinds import kill_worker, random_kills


@pytest.fixture(scope="module")
def job(sample_clip: Path, prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Job:
    del prefect_server
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    return Job(tmp_path_factory.mktemp("faults"), environment, sample_clip, num_clips=1)


def test_a_killed_run_goes_on_to_the_same_content(job: Job) -> None:
    assert random_kills(job, 1, seed=0) == []


def test_a_killed_worker_changes_nothing(job: Job) -> None:
    assert kill_worker(job) == []
