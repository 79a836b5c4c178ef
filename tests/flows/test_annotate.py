"""annotate-videos, end to end on real videos: rows, rejections, resume, growth, isolation."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.settings import PREFECT_API_URL

from annotators.config import AnnotateConfig
from annotators.stages import ingest
from data.schemas import SCHEMAS, load_motion
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from flows import annotate
from flows.annotate import AnnotateSummary, annotate_videos
from tests.annotators.stages.test_streamed_ingest import film, inspect_after_first_publication
from tests.support import corruption
from tests.support.motions import raising_left_arm

CLIPS = ("portrait.mp4", "multishot.mp4", "brief.mp4")
POSE_PROGRAM = Path(__file__).parents[1] / "support" / "pose_program.py"
AVATARGPT = str(Path(sys.executable).with_name("avatargpt"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, clips_dir: Path) -> Path:
    """Three good videos, one of them twice, and three bad ones."""
    folder = tmp_path_factory.mktemp("sources")
    for name in CLIPS:
        shutil.copy(clips_dir / name, folder / name)
    shutil.copy(clips_dir / "brief.mp4", folder / "copy_of_brief.mp4")
    corruption.zero_bytes(folder / "empty.mp4")
    corruption.text_named_video(folder / "notes.mp4")
    corruption.directory_named_video(folder / "folder.mp4")
    return folder


@pytest.fixture(scope="module")
def annotated(
    tmp_path_factory: pytest.TempPathFactory, sources: Path
) -> tuple[AnnotateConfig, AnnotateSummary]:
    root = tmp_path_factory.mktemp("annotated") / "dataset"
    config = AnnotateConfig(videos=(str(sources),), dataset=root)
    return config, annotate_videos(config=config)


def _content(root: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows, as plain values in a fixed order, of plain pandas."""
    keys = ["video_id", "clip_id", "track_id", "item_id"]
    content: dict[str, list[dict[str, Any]]] = {}
    for name in SCHEMAS:
        # A table without rows has no folder.
        rows = _rows(root, name) if (root / name).exists() else []
        for row in rows:
            # Latency is a measurement of the run, not of the video.
            row.pop("latency_s", None)
        content[name] = sorted(rows, key=lambda row: [str(row.get(key)) for key in keys])
    return content


def _assert_same(one: Path, other: Path) -> None:
    for (name, rows), again in zip(_content(one).items(), _content(other).values(), strict=True):
        assert len(rows) == len(again), name
        for row, row_again in zip(rows, again, strict=True):
            for column, value in row.items():
                np.testing.assert_equal(row_again[column], value, err_msg=f"{name}.{column}")


def _rows(root: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table, by plain pandas, as a user reads them."""
    frame: Any = pd.read_parquet(root / table)
    return frame.to_dict("records")


def test_every_file_is_a_row_or_a_rejection(
    annotated: tuple[AnnotateConfig, AnnotateSummary], sources: Path
) -> None:
    config, summary = annotated
    rejections = _rows(config.dataset, "rejections")
    at_ingest = [row for row in rejections if row["stage"] == "ingest"]
    found = [row["path"] for row in _rows(config.dataset, "videos")]
    found += [row["item"] for row in at_ingest]
    assert sorted(found) == sorted(str(path) for path in sources.iterdir())
    reasons = {Path(row["item"]).name: row["reason"] for row in at_ingest}
    duplicate = ({"copy_of_brief.mp4", "brief.mp4"} & reasons.keys()).pop()
    assert reasons == {
        "empty.mp4": "empty_file",
        "notes.mp4": "not_a_video",
        "folder.mp4": "not_a_file",
        duplicate: "duplicate",
    }
    assert all(len(row["remedy"]) > 10 for row in rejections)
    assert summary.rejections == Counter(row["reason"] for row in rejections)


def test_every_clip_is_annotated_or_rejected(
    annotated: tuple[AnnotateConfig, AnnotateSummary],
) -> None:
    root = annotated[0].dataset
    clips = {row["clip_id"]: row for row in _rows(root, "clips")}
    people = [(row["clip_id"], row["track_id"]) for row in _rows(root, "annotations")]
    annotated_ids = {clip_id for clip_id, _ in people}
    rejected = {
        (row["item_id"], row["stage"])
        for row in _rows(root, "rejections")
        if row["stage"] in ("poses", "annotations")
    }
    without = {item_id for item_id, _ in rejected if item_id in clips}
    assert len(people) == len(set(people))
    assert annotated_ids | without == set(clips)
    assert not annotated_ids & without
    # Nobody was tracked in clips that are rejected with their poses.
    nobody = {clip_id for clip_id in clips if (clip_id, "poses") in rejected}
    assert {i for i, row in clips.items() if row["num_people"] == 0} == nobody
    # Each tracked person is annotated, or rejected alone or with the clip.
    for row in _rows(root, "poses"):
        clip_id, track_id = row["clip_id"], row["track_id"]
        alone = (f"{clip_id}/{track_id}", "annotations") in rejected
        assert ((clip_id, track_id) in people) + alone + (clip_id in without) == 1


def test_tables_join_and_hold_what_they_promise(
    annotated: tuple[AnnotateConfig, AnnotateSummary],
) -> None:
    root = annotated[0].dataset
    clips = {row["clip_id"]: row for row in _rows(root, "clips")}
    poses = _rows(root, "poses")
    annotations = _rows(root, "annotations")
    captions = _rows(root, "captions")
    assert {row["clip_id"] for row in captions} == {row["clip_id"] for row in annotations}
    assert {row["outcome"] for row in captions} == {"success"}
    tracks = {(row["clip_id"], row["track_id"]) for row in poses}
    for row in annotations:
        assert (row["clip_id"], row["track_id"]) in tracks
        assert row["coarse"]
        assert 1 <= len(row["medium"]) <= 3
        assert all(len(text.split()) <= 30 for text in row["medium"])
        assert len(row["fine"]) >= 1
        starts = [step["start_s"] for step in row["fine"]]
        assert starts == sorted(starts)
        clip = clips[row["clip_id"]]
        for step in row["fine"]:
            assert clip["start_s"] <= step["start_s"] < step["end_s"] <= clip["end_s"] + 1e-6
            assert step["grounding"]["verdict"] == "supported"
            assert step["grounding"]["measurement"]
    for row in poses:
        assert load_motion(row).shape == (row["num_frames"], 22, 3)
        np.testing.assert_allclose(np.diff(row["pts_s"]), 1 / 20, atol=1e-9)
        clip = clips[row["clip_id"]]
        assert clip["start_s"] <= row["pts_s"][0] <= row["pts_s"][-1] <= clip["end_s"]


def test_a_second_run_does_no_work_and_changes_nothing(
    annotated: tuple[AnnotateConfig, AnnotateSummary],
) -> None:
    config, first = annotated
    before = {p: p.stat().st_mtime_ns for p in config.dataset.rglob("*") if p.suffix != ".lock"}
    again = annotate_videos(config=config)
    assert again.added == {}
    assert again.video_s == 0.0
    assert again.num_known == len(CLIPS)
    assert again.rows == first.rows
    published = (p for p in before if p.is_file() and p.name != ".lock")
    assert all(p.stat().st_mtime_ns == before[p] for p in published)


def test_new_videos_join_without_touching_old_parts(
    annotated: tuple[AnnotateConfig, AnnotateSummary], clips_dir: Path, tmp_path: Path
) -> None:
    config, first = annotated
    root = tmp_path / "dataset"
    shutil.copytree(config.dataset, root)
    old = {p: p.read_bytes() for p in root.glob("*/*.parquet")}
    new = str(clips_dir / "empty_scene.mp4")
    summary = annotate_videos(config=AnnotateConfig(videos=(*config.videos, new), dataset=root))
    assert summary.added["videos"] == 1
    assert summary.rows["videos"] == first.rows["videos"] + 1
    assert {p: p.read_bytes() for p in old} == old


def test_a_repaired_file_leaves_the_rejections(
    brief_clip: Path, portrait_clip: Path, tmp_path: Path
) -> None:
    video = tmp_path / "v.mp4"
    corruption.zero_bytes(video)
    good = str(brief_clip)
    config = AnnotateConfig(videos=(str(video), good), dataset=tmp_path / "dataset")
    assert annotate_videos(config=config).rejections == {"empty_file": 1}
    shutil.copy(portrait_clip, video)
    repaired = annotate_videos(config=config)
    assert repaired.rejections == {}
    assert repaired.rows["videos"] == 2


def test_another_configuration_is_refused(
    annotated: tuple[AnnotateConfig, AnnotateSummary],
) -> None:
    config, _ = annotated
    changed = config.model_copy(
        update={"clips": config.clips.model_copy(update={"max_clip_s": 5.0})}
    )
    with pytest.raises(DatasetError, match=r"clips\.max_clip_s"):
        annotate_videos(config=changed)


def test_nothing_to_annotate_fails_and_says_why(tmp_path: Path) -> None:
    nothing = tmp_path / "list.txt"
    nothing.write_text("# no video yet\n")
    with pytest.raises(ValueError, match="found none"):
        annotate_videos(config=AnnotateConfig(videos=(str(nothing),), dataset=tmp_path / "a"))
    notes = tmp_path / "notes.mp4"
    corruption.text_named_video(notes)
    with pytest.raises(RuntimeError, match="1 x not_a_video") as failed:
        annotate_videos(config=AnnotateConfig(videos=(str(notes),), dataset=tmp_path / "b"))
    assert f"{notes}: not_a_video: " in str(failed.value)
    assert "Remedy: " in str(failed.value)
    # Neither left a dataset, which would hold the next run to the configuration of this one.
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_prefect_shows_counts_and_a_picture(
    annotated: tuple[AnnotateConfig, AnnotateSummary],
) -> None:
    _, summary = annotated
    keys = ("annotate-videos-counts", "annotate-videos-summary", "annotate-videos-poses")
    with get_client(sync_client=True) as client:
        found = {
            key: client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_=f"{key}-%"))
            )
            for key in keys
        }
    # A key belongs to a run: another run's table is not a newer version of this one's.
    of_runs = [artifact.flow_run_id for artifact in found["annotate-videos-counts"]]
    assert len(of_runs) == len(set(of_runs))
    assert len({a.key for a in found["annotate-videos-counts"]}) == len(of_runs)
    assert all(found.values())
    texts = [str(artifact.data) for artifact in found["annotate-videos-summary"]]
    assert any("data:image/jpeg;base64," in text and "**Coarse**" in text for text in texts)
    tables = [str(artifact.data) for artifact in found["annotate-videos-counts"]]
    assert any(f'"rows": {summary.rows["annotations"]}' in table for table in tables)


def test_no_picture_is_drawn_without_a_server(
    annotated: tuple[AnnotateConfig, AnnotateSummary], monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(*_: object) -> None:
        pytest.fail("a picture is drawn that nobody receives")

    monkeypatch.setattr(annotate, "is_lost", lambda: True)
    monkeypatch.setattr(annotate, "best_clip", drawn)
    config, summary = annotated
    assert annotate_videos(config=config).rows == summary.rows


# ---------------------------------------------------------------------------- kill and resume

_KILLED = """
import os, signal, sys
from pathlib import Path

event, pattern, present = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))

def kill_before(name, arguments):
    if name != event:
        return
    path = Path(os.fsdecode(arguments[-3 if name == "os.rename" else 0]))
    if path.match(pattern) and len(list(path.parent.glob("*.json"))) == present:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill_before)
from flows.commands.main import main
main()
"""
"""`avatargpt`, which kills itself right before it renames or removes a file of a pattern, when so
many JSON files are in its folder."""


def _kept(root: Path) -> dict[str, int]:
    """What a killed run left: staged records by stage, and how far its publication was."""
    stages = ("scans", "poses", "captions", "annotations")
    staged = {name: len(list(root.glob(f".staging/work-*/{name}/*.json"))) for name in stages}
    files = {
        "parts aside": len(list(root.glob(".staging/parts/*/*.parquet"))),
        "parts": len(list(root.glob("*/*.parquet"))),
        "journal": len(list(root.glob(".staging/journal.json"))),
        "manifest": len(list(root.glob("dataset.json"))),
    }
    return {name: count for name, count in (staged | files).items() if count}


def test_kill_and_resume(annotated: tuple[AnnotateConfig, AnnotateSummary], tmp_path: Path) -> None:
    """The flow, as the command starts it, killed at each stage in turn until it is done."""
    uninterrupted, summary = annotated
    root = tmp_path / "dataset"
    command = [AVATARGPT, "annotate", uninterrupted.videos[0], "--dataset", str(root)]
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    videos, clips = summary.rows["videos"], summary.rows["clips"]
    tables = sum(count > 0 for count in summary.rows.values())
    posed = {"scans": videos, "poses": clips}
    whole = posed | {"captions": videos, "annotations": videos}
    kills: list[tuple[tuple[str, str, int], dict[str, int]]] = [
        (("os.rename", "scans/*.json", 1), {"scans": 1}),
        (("os.rename", "poses/*.json", 1), posed | {"poses": 1}),
        (("os.rename", "annotations/*.json", 1), posed | {"captions": videos, "annotations": 1}),
        (("os.rename", ".staging/journal.json", 0), whole | {"parts aside": tables}),
        (("os.rename", "dataset/dataset.json", 0), whole | {"journal": 1, "parts": tables}),
        (
            ("os.remove", ".staging/journal.json", 1),
            whole | {"journal": 1, "parts": tables, "manifest": 1},
        ),
    ]
    staged: dict[Path, int] = {}
    for point, kept in kills:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _KILLED, *map(str, point), *command[1:]],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, (point, done.stderr)
        assert _kept(root) == kept, point
        # What was staged before is not computed again.
        # A worker writes the scene of a clip before its record counts.
        records = root.glob(".staging/work-*/[!s]*/*.json")
        scans = root.glob(".staging/work-*/scans/*.json")
        now = {path: path.stat().st_mtime_ns for path in (*records, *scans)}
        assert {path: now[path] for path in staged} == staged, point
        staged = now
    # The manifest is there, so that the dataset can be read, though its journal is there as well.
    assert Dataset(root).read("annotations").num_rows == summary.rows["annotations"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _assert_same(uninterrupted.dataset, root)
    assert not (root / ".staging").exists()


# --------------------------------------------------------------------------------- command


def test_the_command_needs_no_server(brief_clip: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    video = str(brief_clip)
    done = subprocess.run(
        [AVATARGPT, "annotate", video, "--dataset", str(root)],
        capture_output=True,
        text=True,
        check=False,
        env={**_environment(), "PREFECT_API_URL": "http://127.0.0.1:9/api"},
    )
    assert done.returncode == 0, done.stderr
    assert "1 annotations" in done.stdout
    assert len(pd.read_parquet(root / "annotations")) == 1


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / "config.json"
    bad.write_text('{"clips": {"max_clip": 5}}')
    done = subprocess.run(
        [AVATARGPT, "annotate", "x.mp4", "--dataset", str(tmp_path), "--config", str(bad)],
        capture_output=True,
        text=True,
        check=False,
        env={**_environment(), "PREFECT_API_URL": "http://127.0.0.1:9/api"},
    )
    assert done.returncode == 2
    assert "clips.max_clip" in done.stderr
    assert "Traceback" not in done.stderr


def _environment() -> dict[str, str]:
    """This process's environment without the test server's settings."""
    import os

    return {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}


def test_a_program_of_the_user_estimates_the_poses(brief_clip: Path, tmp_path: Path) -> None:
    """The program runs without our interpreter's setting that hides modules beside a script."""
    np.save(tmp_path / "motion.npy", raising_left_arm()[20:])
    log = tmp_path / "log"
    program = "import os; assert 'PYTHONSAFEPATH' not in os.environ; import runpy, sys; "
    program += "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    command = [sys.executable, "-c", program, str(POSE_PROGRAM), str(tmp_path / "motion.npy")]
    poses = {"estimator": "command", "external": {"command": [*command, str(log)]}}
    config = {"videos": [str(brief_clip)], "dataset": str(tmp_path / "dataset"), "poses": poses}
    summary = annotate_videos(config=config)
    assert (summary.rows["poses"], summary.rows["annotations"]) == (1, 1)
    (row,) = _rows(tmp_path / "dataset", "poses")
    assert row["pose_model"] == "external"
    assert log.read_text().split()[-1] == "end"
    wrong = {**config, "poses": {**poses, "external": {"command": "no-such-program"}}}
    with pytest.raises(ValueError, match="found none of the name 'no-such-program'"):
        annotate_videos(config={**wrong, "dataset": str(tmp_path / "other")})
    assert not (tmp_path / "other").exists()


def test_the_flow_publishes_a_video_while_the_next_is_read(
    sample_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "inspect_file", inspect_after_first_publication)
    summary = annotate_videos(
        config={
            "videos": [str(film(sample_clip, tmp_path / "videos", 2))],
            "dataset": str(tmp_path / "dataset"),
            "shard_clips": 1,
            "publish_clips": 1,
            "workers": {"num_workers": 2, "min_timeout_s": 600},
        }
    )
    assert summary.rows["videos"] == summary.added["videos"] == 2
    assert summary.rejections == {}
