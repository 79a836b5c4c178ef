"""What looks into a large dataset looks up single rows, and trusts no id in it as a file name."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from annotators.motion.from_tracks import find_video_motions
from annotators.pictures.preview import best_clip, best_motion
from annotators.run import Run
from annotators.stages import ingest
from annotators.stages.ingest import ingest_files
from annotators.stages.restaging import restage
from annotators.stages.staged import SourceVideo, poses_path, tracks_path, video_path
from benchmarks import scale
from data.motion_records import Pending
from data.records import Clip
from data.schemas import SCHEMAS
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.writer import open_writer, rows_table
from data.video.probe import probe_video
from data.workers.workers import Workers

NUM_CLIPS = 600


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scale") / "dataset"
    scale.make(root, NUM_CLIPS)
    return root


class _NeverLooped(dict[str, Any]):
    def __iter__(self) -> Iterator[str]:
        raise AssertionError("expected a look-up by id, found a loop over all files")

    keys = values = items = __iter__  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]


def test_known_copies_are_looked_up_by_id(
    root: Path, tmp_path: Path, sample_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_of = ingest._Known.of  # pyright: ignore[reportPrivateUsage]

    def strict(published: Dataset | None, *, retry: bool) -> Any:
        known = known_of(published, retry=retry)
        return dataclasses.replace(known, files=_NeverLooped(known.files))

    monkeypatch.setattr(ingest._Known, "of", strict)  # pyright: ignore[reportPrivateUsage]
    config = scale.config_of(root)
    config = config.model_copy(update={"videos": (*config.videos, str(sample_clip))})
    with Workers(config.workers) as workers:
        (shard,) = ingest_files(Run(config, tmp_path, workers), Dataset(root))
    ingested = shard.found
    assert ingested.num_known == NUM_CLIPS // scale.CLIPS_PER_VIDEO
    assert [video.probe.path for video in ingested.videos] == [sample_clip]


def test_the_clip_and_the_motions_of_a_large_dataset_are_found(root: Path) -> None:
    dataset = Dataset(root)
    clip_id = list(dataset.rows("clips", ["clip_id"]))[NUM_CLIPS // 2]["clip_id"]
    clip = best_clip(dataset, clip_id)
    assert clip is not None
    assert clip.annotation["clip_id"] == clip_id
    assert [track.num_frames for track in clip.tracks] == [scale.FRAMES]
    shown = best_clip(dataset)
    assert shown is not None
    motions = list(find_video_motions(root))
    assert len({item.motion_id for item in motions if isinstance(item, Pending)}) == NUM_CLIPS
    last = motions[-1]
    assert isinstance(last, Pending)
    motion = last.read()
    # Each clip's text names the clip: none is attached to another one.
    assert motion.clip_id in motion.texts[0].text


def test_one_motion_is_chosen_without_the_others(tmp_path: Path) -> None:
    empty = dict.fromkeys(SCHEMAS["motions"].names)
    text = {"text": "walks", "start_s": 0.0, "end_s": 1.0, "level": "medium", "source": "x"}
    rows = [
        {**empty, "motion_id": "long", "num_frames": 500, "texts": [text], "features": [0.0]},
        {**empty, "motion_id": "shown", "num_frames": 110, "texts": [text], "features": [1.0]},
        {**empty, "motion_id": "untold", "num_frames": 120, "texts": [], "features": [2.0]},
    ]
    with open_writer(tmp_path, {}) as writer:
        writer.publish({"motions": rows_table("motions", rows)})
    for asked, found in ((None, "shown"), ("untold", "untold")):
        row = best_motion(Dataset(tmp_path), asked)
        assert row is not None
        assert row["motion_id"] == found
    assert best_motion(Dataset(tmp_path), "missing") is None


@pytest.mark.parametrize("item_id", ["../../victim", "/etc/victim", "a/b", "..", "", "a\0b"])
def test_an_id_that_holds_a_path_names_no_file(tmp_path: Path, item_id: str) -> None:
    clip = Clip(item_id, "v0", 0, 0, 60, 0.0, 2.0, 0.5, "static", 0.0)
    for name in (
        lambda: video_path(tmp_path, "scans", item_id),
        lambda: poses_path(tmp_path, clip),
        lambda: tracks_path(tmp_path, clip),
    ):
        with pytest.raises(DatasetError, match=r"expected an id.*Remedy: "):
            name()


def test_rows_of_a_stranger_are_not_restaged_outside(tmp_path: Path, sample_clip: Path) -> None:
    root, victim = tmp_path / "dataset", tmp_path / "victim.parquet"
    victim.write_text("precious")
    empty = {name: dict.fromkeys(SCHEMAS[name].names) for name in ("videos", "clips", "poses")}
    ids = {"video_id": "v0", "clip_id": "../../victim"}
    with open_writer(root, {}) as writer:
        writer.publish(
            {
                "videos": rows_table("videos", [{**empty["videos"], "video_id": "v0"}]),
                "clips": rows_table("clips", [{**empty["clips"], **ids, "start_frame": 0}]),
                "poses": rows_table("poses", [{**empty["poses"], **ids}]),
            }
        )
    video = SourceVideo("v0", 0, probe_video(sample_clip))
    with pytest.raises(DatasetError, match="expected an id"):
        restage(Dataset(root), [video], tmp_path / "a" / "work")
    assert victim.read_text() == "precious"
