"""import-motions: an annotated video, motion capture and plans in one dataset; pictures of it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from annotators.config import AnnotateConfig
from benchmarks.support.corpus import MOCAP
from data.motion_features import features_to_joints
from data.motions import MotionImportConfig
from data.schemas import load_features, load_motion
from data.skeleton import JOINT
from data.store import Dataset
from flows.annotate import annotate_videos
from flows.failures import StageError
from flows.motions import import_motions

AVATARGPT = str(Path(sys.executable).with_name("avatargpt"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, videos_dir: Path) -> Path:
    root = tmp_path_factory.mktemp("videos") / "dataset"
    names = ("sign_book.mkv", "sword_form.mp4")
    annotate_videos(AnnotateConfig(videos=tuple(str(videos_dir / n) for n in names), dataset=root))
    return root


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    root = tmp_path_factory.mktemp("motions") / "dataset"
    sources = (videos, MOCAP / "bvh_samples", MOCAP.parent / "text/virtualhome_task_steps.json")
    config = MotionImportConfig(sources=tuple(map(str, sources)), dataset=root)
    summary = import_motions(config)
    assert summary.rows["motions"] > 8
    assert summary.rows["annotations"] == 1116
    again = import_motions(config)
    assert again.added == {}
    assert again.num_known > 1116
    return root


def _rows(root: Path, table: str) -> list[dict[str, Any]]:
    return Dataset(root).read(table).to_pylist()


def test_people_of_videos_are_motions_with_their_texts(videos: Path, imported: Path) -> None:
    poses = {(r["clip_id"], r["track_id"]): r for r in _rows(videos, "poses")}
    annotations = {(r["clip_id"], r["track_id"]): r for r in _rows(videos, "annotations")}
    motions = [r for r in _rows(imported, "motions") if r["source"] == "video"]
    plain = [r for r in motions if r["mirrored_of"] is None]
    rejected = [r for r in _rows(imported, "rejections") if "person" in r["item"]]
    # Every person is a motion, or a rejection that says why.
    assert len(plain) + len(rejected) == len(poses)
    assert plain
    for row in plain:
        key = row["clip_id"], row["track_id"]
        pose = poses[key]
        assert row["num_frames"] == pose["num_frames"] - 1
        assert row["quality"] == pytest.approx(pose["quality"])
        # What the body does is kept: angles of the elbow as in the poses.
        ours = _elbow_deg(features_to_joints(load_features(row)))
        theirs = _elbow_deg(load_motion(pose))[:-1]
        assert np.abs(ours - theirs).max() < 1.0
        if key not in annotations:
            assert row["texts"] == []
            continue
        texts = row["texts"]
        annotation = annotations[key]
        assert [t["text"] for t in texts if t["level"] == "coarse"] == [annotation["coarse"]]
        assert [t["text"] for t in texts if t["level"] == "medium"] == annotation["medium"]
        fine = [t for t in texts if t["level"] == "fine"]
        assert [t["text"] for t in fine] == [s["text"] for s in annotation["fine"]]
        first_s = pose["pts_s"][0]
        for text, step in zip(fine, annotation["fine"], strict=True):
            assert text["start_s"] == pytest.approx(max(step["start_s"] - first_s, 0), abs=1e-6)
        assert row["labels"] == [annotation["activity"]]
    # All clips of one video lie in one split.
    by_video = {(row["video_id"], row["split"]) for row in motions}
    assert len(by_video) == len({video_id for video_id, _ in by_video})


def _elbow_deg(joints_TJ3: np.ndarray) -> np.ndarray:
    arm = [joints_TJ3[:, JOINT[f"left_{name}"]] for name in ("shoulder", "elbow", "wrist")]
    upper, lower = arm[1] - arm[0], arm[2] - arm[1]
    cosine = (upper * lower).sum(1) / np.linalg.norm(upper, axis=1) / np.linalg.norm(lower, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_nothing_at_all_is_told(tmp_path: Path) -> None:
    root, broken = tmp_path / "dataset", tmp_path / "broken.npy"
    broken.write_bytes(b"no array")
    config = MotionImportConfig(sources=(str(tmp_path / "no"), str(broken)), dataset=root)
    with pytest.raises(StageError, match="nothing could be imported") as failed:
        import_motions(config)
    told = str(failed.value)
    assert f"{tmp_path / 'no'}: not_found: expected " in told
    assert f"{broken}: " in told
    assert told.endswith("Remedy: mend these sources, or name others, and run again.")
    # Nothing keeps the configuration of a run that came to nothing.
    assert not root.exists()
    sources = (*config.sources, "procedural:1")
    summary = import_motions(MotionImportConfig(sources=sources, dataset=root, mirror=False))
    assert summary.rows["motions"] == 1
    # Rejections come with the first motion, and to a dataset that has motions at once.
    assert summary.rows["rejections"] == 2
    more = (str(tmp_path / "none either"),)
    import_motions(MotionImportConfig(sources=more, dataset=root, mirror=False))
    assert Dataset(root).manifest["tables"]["rejections"]["rows"] == 3


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_motion_is_rendered(imported: Path, tmp_path: Path, ending: str) -> None:
    rows = _rows(imported, "motions")
    row = min(rows, key=lambda row: row["num_frames"])
    file = tmp_path / f"motion.{ending}"
    command = [AVATARGPT, "render", str(imported), str(file), "--motion-id", row["motion_id"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if ending == "gif":
        with PIL.Image.open(file) as image:
            assert getattr(image, "n_frames", 1) > 0.5 * row["num_frames"]
            image.seek(5)
            r, g, b = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int).T
        # Left and right limbs are drawn, each in its colour.
        assert ((r > 200) & (g > 100) & (g < 180) & (b < 80)).sum() > 50
        assert ((r < 80) & (g > 120) & (g < 210) & (b > 200)).sum() > 50
    else:
        from data.video import probe_video

        assert probe_video(file).num_packets == row["num_frames"]


def test_what_cannot_be_rendered_is_told(imported: Path, tmp_path: Path) -> None:
    for arguments, told in (
        (["x.png"], "expected a name ending in .gif or .mp4"),
        (["x.gif", "--motion-id", "none"], "expected a motion none, found none"),
    ):
        command = [AVATARGPT, "render", str(imported), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.corpus
def test_the_command(tmp_path: Path) -> None:
    bvh = MOCAP / "bvh_samples/cmu_02_01.bvh"
    texts = MOCAP / "cmu_texts.jsonl"
    root = tmp_path / "dataset"
    command = [AVATARGPT, "import-motions", str(bvh), "--dataset", str(root)]
    done = subprocess.run(
        [*command, "--texts", str(texts), "--licence", "CMU"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 motions" in done.stdout
