"""Ingest after a run that was killed: what it has read is not read again, unless it changed."""

import os
import shutil
from pathlib import Path

import pytest

from annotators.config import AnnotateConfig
from annotators.run import Progress, Run
from annotators.stages.ingest import ingest_files
from data.workers.workers import WorkerConfig, Workers


@pytest.fixture
def run(brief_clip: Path, portrait_clip: Path, tmp_path: Path) -> Run:
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(brief_clip, videos / "brief.mp4")
    shutil.copy(portrait_clip, videos / "portrait.mp4")
    shutil.copy(portrait_clip, videos / "same.mp4")
    (videos / "text.mp4").write_text("no video")
    config = AnnotateConfig(videos=(str(videos),), dataset=tmp_path / "dataset")
    return Run(config, tmp_path / "work", Workers(WorkerConfig(num_workers=1)))


def test_a_restart_reads_only_what_it_does_not_know(run: Run, tmp_path: Path) -> None:
    read: list[int] = []

    def report(progress: Progress) -> None:
        read[-1:] = [progress.done]

    videos = tmp_path / "videos"
    ingests = []
    with run.workers:
        for touched in (None, None, "brief.mp4"):
            if touched is not None:
                os.utime(videos / touched, ns=(1, 1))
            read.append(0)
            (shard,) = ingest_files(run.reporting_to(report), None)
            ingests.append(shard.found)
    # A second copy, and what is no video, have no work that could be kept.
    assert read == [4, 2, 3]
    first, second, third = ingests
    assert first == second
    assert [video.probe.path.name for video in third.videos] == ["brief.mp4", "portrait.mp4"]
    assert third.videos[0].mtime_ns == 1
    assert len(list((run.work / "probes").iterdir())) == 2
