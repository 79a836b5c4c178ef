"""import-motions: annotated videos, motion files and plans in one dataset; pictures of it."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from annotators.config import AnnotateConfig
from data.importers.run import MotionImportConfig
from data.motion.features import features_to_joints
from data.motion.skeleton import JOINT
from data.schemas import load_credible, load_features, load_motion
from data.store.dataset import Dataset
from data.store.reviews import hash_text, new_review, save_review
from flows.annotate import annotate_videos
from flows.commands.main import app, main
from flows.motions import import_motions
from flows.runtime.failures import StageError


@pytest.fixture(scope="module")
def videos(
    tmp_path_factory: pytest.TempPathFactory, sample_clip: Path, portrait_clip: Path
) -> Path:
    root = tmp_path_factory.mktemp("videos") / "dataset"
    annotate_videos(
        config=AnnotateConfig(videos=(str(sample_clip), str(portrait_clip)), dataset=root)
    )
    return root


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, videos: Path, motion_sources: Path) -> Path:
    root = tmp_path_factory.mktemp("motions") / "dataset"
    sources = (videos, *(motion_sources / name for name in ("bvh", "joints.npz", "plans.json")))
    config = MotionImportConfig(sources=tuple(map(str, sources)), dataset=root)
    summary = import_motions(config=config)
    # Files of four motions, people of videos, each with its mirror image.
    of_videos = Dataset(videos).counts("poses", "clip_id").total()
    rejected = summary.rejected
    assert summary.rows["motions"] == 2 * (4 + of_videos - sum(rejected.values()))
    assert summary.rows["annotations"] == 280
    again = import_motions(config=config)
    assert again.added == {}
    assert again.num_known == 280 + 4 + of_videos
    return root


def _rows(root: Path, table: str) -> list[dict[str, Any]]:
    return Dataset(root).read(table).to_pylist()


def test_people_of_videos_are_motions_with_their_texts(videos: Path, imported: Path) -> None:
    poses = {(r["clip_id"], r["track_id"]): r for r in _rows(videos, "poses")}
    annotations = {(r["clip_id"], r["track_id"]): r for r in _rows(videos, "annotations")}
    motions = [r for r in _rows(imported, "motions") if r["source"] == "video"]
    plain = [r for r in motions if r["mirrored_of"] is None]
    rejected = [r for r in _rows(imported, "rejections") if "person" in r["item"]]
    # Every person is a motion, or a rejection that says why: one leaps, one is half hidden.
    assert len(plain) + len(rejected) == len(poses)
    assert plain
    assert rejected
    for row in plain:
        key = row["clip_id"], row["track_id"]
        pose = poses[key]
        assert row["num_frames"] == pose["num_frames"] - 1
        assert row["quality"] == pytest.approx(pose["quality"])
        # What is seen of the body is kept: angles of the elbow as in the poses.
        seen = load_credible(row)
        arm = [JOINT[f"left_{name}"] for name in ("shoulder", "elbow", "wrist")]
        kept = slice(None) if seen is None else seen[:, arm].all(axis=1)
        ours = _elbow_deg(features_to_joints(load_features(row)))
        theirs = _elbow_deg(load_motion(pose))[:-1]
        assert np.abs(ours - theirs)[kept].max(initial=0) < 1.0
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
        import_motions(config=config)
    told = str(failed.value)
    assert f"{tmp_path / 'no'}: not_found: expected " in told
    assert f"{broken}: " in told
    assert told.endswith("Remedy: fix these sources or give others, and run again.")
    # Nothing keeps the configuration of a run that came to nothing.
    assert not root.exists()
    sources = (*config.sources, "procedural:1")
    summary = import_motions(config=MotionImportConfig(sources=sources, dataset=root, mirror=False))
    assert summary.rows["motions"] == 1
    # Rejections come with the first motion, and to a dataset that has motions at once.
    assert summary.rows["rejections"] == 2
    more = (str(tmp_path / "none either"),)
    import_motions(config=MotionImportConfig(sources=more, dataset=root, mirror=False))
    assert Dataset(root).manifest["tables"]["rejections"]["rows"] == 3


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_motion_is_rendered(imported: Path, tmp_path: Path, ending: str) -> None:
    rows = _rows(imported, "motions")
    row = min(rows, key=lambda row: row["num_frames"])
    file = tmp_path / f"motion.{ending}"
    command = ["render", str(imported), str(file), "--motion-id", row["motion_id"]]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.exception
    if ending == "gif":
        with PIL.Image.open(file) as image:
            assert getattr(image, "n_frames", 1) > 0.5 * row["num_frames"]
            image.seek(5)
            r, g, b = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int).T
        # Left and right limbs are drawn, each in its color.
        assert ((r > 200) & (g > 100) & (g < 180) & (b < 80)).sum() > 50
        assert ((r < 80) & (g > 120) & (g < 210) & (b > 200)).sum() > 50
    else:
        from data.video.probe import probe_video

        assert probe_video(file).num_packets == row["num_frames"]


def test_what_cannot_be_rendered_is_told(
    imported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, told in (
        (["x.png"], "expected a name ending in .gif or .mp4"),
        (["x.gif", "--motion-id", "none"], "expected a motion none, found none"),
    ):
        monkeypatch.setattr(sys, "argv", ["avatargpt", "render", str(imported), *arguments])
        with pytest.raises(SystemExit) as refused:
            main()
        assert refused.value.code == 2
        written = capsys.readouterr().err
        assert told in written
        assert "Traceback" not in written


def test_the_import_motions_command_imports_a_file_with_its_texts(
    motion_sources: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(json.dumps({"key": "walk", "kit": [{"captions": ["A person walks."]}]}))
    root = tmp_path / "dataset"
    bvh = str(motion_sources / "bvh" / "walk.bvh")
    command = ["import-motions", bvh, "--dataset", str(root), "--texts", str(texts)]
    done = CliRunner().invoke(app, [*command, "--license", "CMU"])
    assert done.exit_code == 0, done.exception
    assert "2 motions" in done.stdout
    told = {text["text"] for row in _rows(root, "motions") for text in row["texts"]}
    assert "A person walks." in told
    assert {row["license"] for row in _rows(root, "motions")} == {"CMU"}


def test_reviewed_texts_are_imported_unless_switched_off(videos: Path, tmp_path: Path) -> None:
    root = shutil.copytree(videos, tmp_path / "reviewed")
    row = _rows(root, "annotations")[0]
    key = {name: row[name] for name in ("video_id", "clip_id", "track_id", "sample")}
    edited = {"level": "medium", "judgment": "edited", "value": '["A person was reviewed."]'}
    text_hash = hash_text("medium", row)
    save_review(root, new_review(**key, **edited, text_hash=text_hash, reviewer="Ada"))
    of_person = (row["clip_id"], row["track_id"])
    for reviews in (True, False):
        config = MotionImportConfig(
            sources=(str(root),),
            dataset=tmp_path / f"motions-{reviews}",
            mirror=False,
            min_quality=0,
            reviews=reviews,
        )
        import_motions(config=config)
        texts = {
            (motion["clip_id"], motion["track_id"]): [text["text"] for text in motion["texts"]]
            for motion in _rows(config.dataset, "motions")
        }
        assert ("A person was reviewed." in texts[of_person]) == reviews
        assert (row["medium"][0] in texts[of_person]) != reviews
    # A dataset has texts of one kind.
    with pytest.raises(ValueError, match="another configuration"):
        import_motions(config=config.model_copy(update={"reviews": True}))
