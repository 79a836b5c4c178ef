"""Shares of the videos, annotated independently and merged, are the dataset of one run."""

import itertools
from pathlib import Path

import pyarrow as pa

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.stages.shards import annotate_dataset
from data.schemas import KEYS, SCHEMAS
from data.store.check import check_dataset
from data.store.dataset import Dataset
from data.upkeep.comparison import compare_datasets
from data.upkeep.merging import merge_datasets
from data.video.sharing import Share
from data.workers.workers import WorkerConfig, Workers
from tests.support import corruption


def _in_share(file: Path, number: int) -> None:
    """Rename a file so that it is in a share of two."""
    names = (file.with_name(f"{file.stem} {index}{file.suffix}") for index in itertools.count())
    for name in names:
        file = file.rename(name)
        if Share(number, 2).holds(file):
            return


def _sorted(root: Path, table: str) -> pa.Table:
    order = [(name, "ascending") for name in KEYS[table]]
    return Dataset(root).read(table).sort_by(order).combine_chunks()


def test_two_shares_merged_are_the_dataset_of_one_run(
    sample_clip: Path, pose_model_path: Path, detectors_path: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for number, begin in enumerate((0, 60, 120)):
        path = videos / f"{begin}.mp4"
        corruption.filmed_again(sample_clip, path, frames=range(begin, begin + 30, 6), rate=5)
        _in_share(path, 1 + number % 2)
    corruption.text_named_video(videos / "notes.mp4")
    roots = {shard: tmp_path / f"of {shard and shard[0]}" for shard in (None, "1/2", "2/2")}
    with Workers(WorkerConfig(num_workers=1)) as workers:
        for shard, root in roots.items():
            config = AnnotateConfig(videos=(str(videos),), dataset=root, shard=shard)
            annotate_dataset(
                config, pose_model_path, workers, NO_MODELS, object_detectors=detectors_path
            )
    counts = {shard: Dataset(root).num_rows("videos") for shard, root in roots.items()}
    assert counts == {None: 3, "1/2": 2, "2/2": 1}
    merged = tmp_path / "merged"
    done = merge_datasets([roots["2/2"], roots["1/2"]], merged)
    assert (done.known, done.written_parts) == (0, 0)
    assert check_dataset(merged) == []
    for table in SCHEMAS:
        assert _sorted(merged, table).equals(_sorted(roots[None], table))
    assert Dataset(merged).num_rows("rejections") >= 1
    assert compare_datasets(Dataset(roots[None]), Dataset(merged)).is_equal
