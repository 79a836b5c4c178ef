"""Poses by programs of the user and by folders with results, with real processes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.poses.programs import ProgramStartError
from annotators.stages.shards import annotate_dataset
from annotators.stages.staged import read_tracks
from benchmarks.support.ray_cluster import patient_start
from data.errors import Reason
from data.schemas import load_track
from data.store.dataset import Dataset
from data.workers.workers import WorkerConfig, Workers
from tests.support.motions import raising_left_arm
from tests.support.pose_program import results, save
from tests.support.pose_run import make_scans, run_stage

PROGRAM = Path(__file__).parents[2] / "support" / "pose_program.py"
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "pose_estimators.md"


@pytest.fixture(scope="module")
def workers() -> Generator[Workers]:
    with Workers(WorkerConfig(num_workers=1)) as pool:
        yield pool


def _config(
    folder: Path, actions: dict[str, str] | None = None, **external: Any
) -> tuple[AnnotateConfig, Path]:
    """Return a configuration with the program of the tests, and the program's log."""
    folder.mkdir(exist_ok=True)
    log = folder / "log"
    np.save(folder / "motion.npy", raising_left_arm())
    (folder / "actions.json").write_text(json.dumps(actions or {}))
    command = [sys.executable, str(PROGRAM), str(folder / "motion.npy"), str(log)]
    values = {
        "videos": ["unused"],
        "dataset": str(folder / "dataset"),
        "workers": {"num_workers": 1},
        "poses": {
            "estimator": "command",
            "external": {
                "model": "test-poses-1",
                "command": [*command, str(folder / "actions.json"), "{device}"],
                **external,
            },
        },
    }
    return AnnotateConfig.model_validate(values), log


def test_a_program_is_kept_running_and_its_poses_are_stored(
    walk_clip: Path, workers: Workers, tmp_path: Path
) -> None:
    config, log = _config(tmp_path)
    scans = make_scans(walk_clip, 2, 2)
    staged = run_stage(config, tmp_path / "work", workers, scans)
    assert log.read_text().split("\n")[0] == "start cpu"
    assert log.read_text().count("start") == 1
    clip = scans[1].clips[1]
    (row,) = read_tracks(tmp_path / "work", clip).to_pylist()
    track, motion = load_track(row), raising_left_arm()
    assert (row["pose_model"], staged[clip.clip_id].decoder) == ("test-poses-1", "external")
    assert track.pts_s[0] == pytest.approx(clip.start_s)
    assert track.num_frames == 30
    # The joints are those of the program; the ground is at the height 0.
    body_TJ3 = motion[:30] - motion[:30, :1]
    assert track.joints_3d == pytest.approx(body_TJ3, abs=1e-5)
    lowest_m = motion[:30, :, 1].min()
    assert track.root_trajectory == pytest.approx(motion[:30, 0] - [0.0, lowest_m, 0.0], abs=1e-5)
    assert track.quality == pytest.approx(0.9)
    assert track.valid.all()
    assert not list((tmp_path / "work" / "external").glob("video*"))


def test_a_worker_of_a_cluster_runs_the_program(
    walk_clip: Path, workers: Workers, tmp_path: Path
) -> None:
    """It is loaded once by the worker, ends with it, and its poses and failures are the same."""
    actions = {"video1-01": "error", "video2-00": "crash"}
    config, log = _config(tmp_path, actions)
    scans = make_scans(walk_clip, 3, 2)
    on_ray = WorkerConfig(executor="ray", num_workers=1)
    there = config.model_copy(update={"workers": on_ray})
    with patient_start(), Workers(on_ray) as cluster:
        staged = run_stage(there, tmp_path / "there", cluster, scans)
    # It started once more after each crash.
    assert log.read_text().count("start") == 3
    assert staged == run_stage(config, tmp_path / "here", workers, scans)
    rejected = [name for name, found in staged.items() if found.rejection is not None]
    assert rejected == ["video1-01", "video2-00"]
    for clip in (clip for scan in scans for clip in scan.clips if clip.clip_id not in rejected):
        here, other = (read_tracks(tmp_path / name, clip) for name in ("here", "there"))
        assert here.equals(other)


def test_a_program_of_a_cluster_that_does_not_start_ends_the_run(
    walk_clip: Path, tmp_path: Path
) -> None:
    config, _ = _config(tmp_path, command=["false"])
    on_ray = WorkerConfig(executor="ray", num_workers=1)
    there = config.model_copy(update={"workers": on_ray})
    with (
        patient_start(),
        Workers(on_ray) as cluster,
        pytest.raises(ProgramStartError, match="pose program false: expected a line"),
    ):
        run_stage(there, tmp_path / "work", cluster, make_scans(walk_clip, 1, 1))


def test_each_failure_costs_only_its_clip(
    walk_clip: Path, workers: Workers, tmp_path: Path
) -> None:
    actions = {
        "video0-01": "crash",
        "video0-03": "hang",
        "video0-04": "error",
        "video0-05": "no_file",
        "video0-06": "nan",
        "video0-07": "lost_array",
        "video0-08": "nobody",
        "video0-10": "crash_in_file",
    }
    limits = {"min_timeout_s": 3.0, "timeout_per_video_s": 0.01}
    config, log = _config(tmp_path, actions, **limits)
    staged = run_stage(config, tmp_path / "work", workers, make_scans(walk_clip, 1, 12))
    rejected = {name: s.rejection for name, s in staged.items() if s.rejection is not None}
    assert {name: rejection.reason for name, rejection in rejected.items()} == {
        "video0-01": Reason.ESTIMATOR_FAILED,
        "video0-03": Reason.ESTIMATOR_TIMEOUT,
        "video0-04": Reason.ESTIMATOR_FAILED,
        "video0-05": Reason.ESTIMATOR_FAILED,
        "video0-06": Reason.NON_FINITE,
        "video0-07": Reason.WRONG_FORM,
        "video0-08": Reason.NO_PERSON,
        "video0-10": Reason.ESTIMATOR_FAILED,
    }
    assert "exit code 3" in rejected["video0-01"].detail
    assert "a warning of a library | CUDA error: out of memory" in rejected["video0-01"].detail
    assert "after 3.015 s and was stopped" in rejected["video0-03"].detail
    assert "timeout_per_video_s" in rejected["video0-03"].remedy
    assert "the clip is too dark" in rejected["video0-04"].detail
    assert "no file video0-05.npz" in rejected["video0-05"].detail
    assert "joints_3d" in rejected["video0-06"].detail
    assert "expected an array joints_3d" in rejected["video0-07"].detail
    assert f"exit code {128 + signal.SIGABRT}" in rejected["video0-10"].detail
    assert all(rejection.remedy for rejection in rejected.values())
    assert all(staged[f"video0-{number:02d}"].num_tracks == 1 for number in (0, 2, 9, 11))
    # What was complete before the crash was not made again; the program and its child are gone.
    assert log.read_text().count("video0-00") == 1
    for pid in (tmp_path / "work" / "external" / "hanging").read_text().split():
        assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == "zombie"


def test_a_program_per_device_and_a_program_per_video(
    walk_clip: Path, workers: Workers, tmp_path: Path
) -> None:
    config, log = _config(tmp_path / "two", devices=("cuda:0", "cuda:1"))
    run_stage(config, tmp_path / "two" / "work", workers, make_scans(walk_clip, 4, 1))
    starts = [line for line in log.read_text().splitlines() if line.startswith("start")]
    assert sorted(starts) == ["start cuda:0", "start cuda:1"]
    config, log = _config(tmp_path / "each", keep_running=False)
    run_stage(config, tmp_path / "each" / "work", workers, make_scans(walk_clip, 2, 2))
    told = log.read_text().splitlines()
    # Each process ends by itself when its input ends.
    assert " ".join(told) == ("start cpu video0-00 video0-01 end start cpu video1-00 video1-01 end")


def test_a_program_that_does_not_start_stops_the_run_and_rejects_nothing(
    walk_clip: Path, workers: Workers, tmp_path: Path
) -> None:
    config, _ = _config(tmp_path, command=(sys.executable, "-c", "import a_missing_package"))
    scans = make_scans(walk_clip, 1, 2)
    with pytest.raises(ProgramStartError, match="No module named 'a_missing_package'"):
        run_stage(config, tmp_path / "work", workers, scans)
    silent = "import time; time.sleep(60)"
    config, _ = _config(tmp_path, command=(sys.executable, "-c", silent), start_timeout_s=1.0)
    with pytest.raises(ProgramStartError, match="still running after 1 s"):
        run_stage(config, tmp_path / "work", workers, scans)
    assert not list((tmp_path / "work" / "poses").iterdir())


def test_a_killed_run_goes_on_and_leaves_no_program(
    walk_clip: Path, workers: Workers, tmp_path: Path
) -> None:
    config, log = _config(tmp_path, {"video1-01": "hang"})
    work, scans = tmp_path / "work", make_scans(walk_clip, 2, 3)
    arguments = [str(work), str(walk_clip), config.model_dump_json(), "2", "3"]
    module = [sys.executable, "-m", "tests.support.pose_run"]
    process = subprocess.Popen([*module, *arguments])
    hanging = work / "external" / "hanging"
    staged = [work / "poses" / f"video0-{number:02d}.json" for number in range(3)]
    while not (hanging.exists() and all(path.exists() for path in staged)):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    pids = [int(pid) for pid in hanging.read_text().split()]
    while any(map(psutil.pid_exists, pids)):
        time.sleep(0.05)
    (tmp_path / "actions.json").write_text("{}")
    staged_now = run_stage(config, work, workers, scans)
    assert all(one.num_tracks == 1 for one in staged_now.values())
    told = log.read_text().split()
    assert [told.count(f"video0-{number:02d}") for number in range(3)] == [1, 1, 1]
    assert [told.count(f"video1-{number:02d}") for number in range(3)] == [2, 2, 1]


_DOCUMENTED_MODEL = """
def load_model(device):
    return device


def predict(model, frames):
    assert model == "cpu"
    count = len(frames)
    assert frames[0].shape == (270, 480, 3)
    person = dict(global_orient=(count, 3), body_pose=(count, 69), betas=(count, 10))
    person = {name: torch.zeros(shape) for name, shape in person.items()}
    person["transl"] = torch.arange(count)[:, None] * torch.tensor([0.01, 0.0, 0.0])
    joints = np.zeros((count, 22, 3))
    joints[:, :, 1], joints[:, :, 2] = np.linspace(0.9, -0.8, 22), 4.0
    person["camera_joints"] = joints
    person["K"] = np.array([[500.0, 0, 240], [0, 500, 135], [0, 0, 1]])
    person["frame_ids"], person["confidence"] = np.arange(count), np.full(count, 0.8)
    return [person]


def read_frames"""
_DOCUMENTED_BODY = """
from types import SimpleNamespace
import torch


class Body:
    def to(self, device):
        return self

    def __call__(self, global_orient, body_pose, betas, transl):
        joints = torch.zeros(len(transl), 24, 3)
        joints[:, :, 1] = torch.linspace(0.0, 1.7, 24)
        return SimpleNamespace(joints=joints + transl[:, None])


def create(folder, kind):
    return Body()
"""


def test_the_documented_wrapper_works(
    walk_clip: Path, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's program, with a stub for the estimator and for the licensed body model."""
    text = DOCUMENTATION.read_text()
    code = text.split("```python\n")[1].split("```")[0]
    start, end = code.index("def load_model"), code.index("def read_frames")
    code = code[:start] + _DOCUMENTED_MODEL.lstrip() + code[end:].removeprefix("def read_frames")
    (tmp_path / "wrapper.py").write_text(code)
    (tmp_path / "smplx.py").write_text(_DOCUMENTED_BODY)
    # Beside the wrapper, as a user's own modules may lie.
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    command = [sys.executable, str(tmp_path / "wrapper.py"), "--device", "{device}"]
    config, _ = _config(tmp_path, command=command)
    scans = make_scans(walk_clip, 1, 2)
    staged = run_stage(config, tmp_path / "work", workers, scans)
    assert [one.rejection for one in staged.values()] == [None, None]
    (row,) = read_tracks(tmp_path / "work", scans[0].clips[1]).to_pylist()
    track, fps = load_track(row), float(scans[0].video.probe.fps)
    assert track.pts_s[0] == pytest.approx(scans[0].clips[1].start_frame / fps)
    # 0.01 m per frame of the video.
    path_m = track.root_trajectory[-1, 0] - track.root_trajectory[0, 0]
    assert path_m == pytest.approx(0.01 * fps * (track.pts_s[-1] - track.pts_s[0]), rel=1e-3)
    assert track.joints_2d[0, 0] == pytest.approx([240.0, 135 + 500 * 0.9 / 4], abs=1e-3)


def test_a_folder_of_results_annotates_videos(
    walk_clip: Path, workers: Workers, tmp_path: Path
) -> None:
    videos, folder = tmp_path / "videos", tmp_path / "results"
    videos.mkdir()
    folder.mkdir()
    (videos / "raise.mp4").write_bytes(walk_clip.read_bytes())
    # Another content, so that it is another video.
    (videos / "other.mp4").write_bytes(walk_clip.read_bytes() + b"\0")
    span = {"start_s": 0.0, "end_s": 2.8}
    save(folder / "raise.mp4.npz", results(raising_left_arm(), span))
    external = {"model": "test-poses-1", "results": str(folder)}
    config = AnnotateConfig.model_validate(
        {
            "videos": [str(videos)],
            "dataset": tmp_path / "dataset",
            "poses": {"estimator": "results", "external": external},
        }
    )
    annotate_dataset(config, None, workers, NO_MODELS)
    dataset = Dataset(config.dataset)
    (row,) = dataset.read("poses").to_pylist()
    assert row["pose_model"] == "test-poses-1"
    (annotation,) = dataset.read("annotations").to_pylist()
    assert any("left arm" in step["text"] for step in annotation["fine"])
    (rejection,) = [
        row for row in dataset.read("rejections").to_pylist() if row["stage"] == "poses"
    ]
    assert rejection["reason"] == "not_found"
    assert "other.mp4.npz or other.npz" in rejection["detail"]
    assert dataset.manifest["recipe"]["poses"]["external"] == "test-poses-1"


def test_failed_clips_are_tried_again_on_request_before_anything_is_published(
    walk_clip: Path, workers: Workers, tmp_path: Path
) -> None:
    config, log = _config(tmp_path)
    config = config.model_copy(update={"videos": (str(walk_clip),)})
    annotate_dataset(
        config.model_copy(update={"dataset": tmp_path / "other"}), None, workers, NO_MODELS
    )
    clip_id = log.read_text().split()[-2]
    (tmp_path / "actions.json").write_text(json.dumps({clip_id: "error"}))
    annotate_dataset(config, None, workers, NO_MODELS)
    assert not list(config.dataset.glob("annotations/*"))
    (tmp_path / "actions.json").write_text("{}")
    annotate_dataset(config, None, workers, NO_MODELS)
    assert not list(config.dataset.glob("annotations/*"))
    again = config.model_copy(update={"retry_rejected": True})
    annotate_dataset(again, None, workers, NO_MODELS)
    dataset = Dataset(config.dataset)
    assert [len(dataset.read(name)) for name in ("poses", "annotations", "rejections")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        ({"estimator": "command"}, "external.command"),
        ({"estimator": "results", "external": {"command": ["a"]}}, "external.results"),
        ({"external": {"command": ["a"]}}, "set poses.estimator to command or results"),
    ],
)
def test_an_incomplete_configuration_is_refused(poses: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnnotateConfig.model_validate({"videos": ["a"], "dataset": "/d", "poses": poses})


def test_a_missing_program_or_folder_is_refused_before_any_work(
    workers: Workers, tmp_path: Path
) -> None:
    config, _ = _config(tmp_path, command="no-such-program --device {device}")
    assert config.poses.external is not None
    assert config.poses.external.command == ("no-such-program", "--device", "{device}")
    with pytest.raises(ValueError, match="found none of the name 'no-such-program'"):
        annotate_dataset(config, None, workers, NO_MODELS)
    assert not config.dataset.exists()
    poses = {"estimator": "results", "external": {"results": str(tmp_path / "none")}}
    config = AnnotateConfig.model_validate(
        {"videos": ["a"], "dataset": tmp_path / "dataset", "poses": poses}
    )
    with pytest.raises(ValueError, match="expected a folder at"):
        annotate_dataset(config, None, workers, NO_MODELS)
