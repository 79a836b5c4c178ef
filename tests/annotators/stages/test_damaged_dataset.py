"""An annotated dataset whose files are damaged, as a source of motions: a rejection, no abort."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from annotators.config import AnnotateConfig
from annotators.models import open_models
from annotators.motion.from_tracks import find_video_motions
from annotators.run import Run
from annotators.stages.ingest import Ingested
from annotators.stages.publish import publish_videos
from annotators.stages.staged import (
    SourceVideo,
    StagedCaptions,
    read_staged,
    tracks_path,
    video_path,
)
from annotators.stages.texts import annotate_videos, caption_videos
from data.errors import Reason
from data.importers.run import MotionImportConfig, import_motions
from data.records import Clip
from data.schemas import clip_row, pose_row
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.writer import open_writer, rows_table
from data.video.probe import probe_video
from data.workers.unexpected import UnexpectedErrors
from data.workers.workers import WorkerConfig, Workers
from tests.support.motions import as_track, raising_left_arm
from tests.support.text_run import stage_video


def _publish(root: Path) -> Path:
    clip = Clip("clip", "video", 0, 0, 60, 0.0, 3.0, 0.5, "static", 0.0)
    clips = [clip_row(clip, num_people=1, num_tracks=1, decoder="pyav", quality=0.9, issues=())]
    poses = [pose_row(clip, as_track(raising_left_arm()), "test")]
    with open_writer(root, {"for": "a test"}) as writer:
        writer.publish({"clips": rows_table("clips", clips), "poses": rows_table("poses", poses)})
    (part,) = Dataset(root).parts("poses")
    return part


def _flipped(data: bytes) -> bytes:
    """With other bytes where the file's description says how long it is."""
    return data[:-8] + bytes(byte ^ 0xFF for byte in data[-8:])


def _flip_a_bit_of_the_joints(part: Path) -> None:
    column = pq.ParquetFile(part).metadata.row_group(0).column(5)
    assert column.path_in_schema == "joints_3d.list.element"
    content = bytearray(part.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    part.write_bytes(content)


def test_staged_tracks_that_are_damaged_are_neither_told_nor_published(
    brief_clip: Path, tmp_path: Path
) -> None:
    config = AnnotateConfig(
        videos=("unused",), dataset=tmp_path / "dataset", workers=WorkerConfig(num_workers=1)
    )
    with (
        open_writer(config.dataset, config.recipe("test")) as writer,
        Workers(config.workers) as workers,
        open_models(config, lambda _: None, tmp_path / "replies") as models,
    ):
        work = writer.work
        scan = stage_video(work, SourceVideo("v0", 0, probe_video(brief_clip)), 0, 1)
        captions = video_path(work, "captions", "v0")
        run = Run(config, work, workers, models=models)
        caption_videos(run, [scan])
        annotate_videos(run, [scan])
        _flip_a_bit_of_the_joints(tracks_path(work, scan.clips[0]))
        with pytest.raises(DatasetError, match=r"expected the staged tracks.*Remedy: delete .*on"):
            publish_videos(writer, Ingested(), ["v0"])
        captions.unlink()
        caption_videos(run, [scan])
        (rejection,) = read_staged(StagedCaptions, captions).rejections
    assert "DatasetError: " in rejection.detail
    assert not (config.dataset / "dataset.json").exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone", "manifest"])
def test_a_damaged_dataset_is_a_rejection(tmp_path: Path, damage: str) -> None:
    source = tmp_path / "source"
    part = _publish(source)
    data = part.read_bytes()
    match damage:
        case "flipped":
            part.write_bytes(_flipped(data))
        case "cut":
            part.write_bytes(data[: len(data) // 2])
        case "empty":
            part.write_bytes(b"")
        case "gone":
            part.unlink()
        case _:
            (source / "dataset.json").write_text('{"tables": ')
    config = MotionImportConfig(
        sources=(str(source), "procedural:1"),
        dataset=tmp_path / "dataset",
        mirror=False,
        workers=WorkerConfig(num_workers=1),
    )
    unexpected = UnexpectedErrors()
    import_motions(config, find_video_motions, unexpected=unexpected)
    unexpected.require_none()
    dataset = Dataset(config.dataset)
    assert dataset.read("motions").num_rows == 1
    (row,) = dataset.read("rejections").to_pylist()
    assert (row["item"], row["reason"]) == (str(source), Reason.UNREADABLE)
