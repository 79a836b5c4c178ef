"""An annotated dataset whose files are damaged, as a source of motions: a rejection, no abort."""

from pathlib import Path

import pytest

from annotators.video_motions import find_video_motions
from data.errors import Reason
from data.motions import MotionImportConfig, import_motions
from data.records import Clip
from data.schemas import clip_row, pose_row
from data.store import Dataset, open_writer, rows_table
from data.unexpected import UnexpectedErrors
from data.workers import WorkerConfig
from tests.annotators.motions import as_track, raising_left_arm


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
