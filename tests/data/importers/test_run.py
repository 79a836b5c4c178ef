"""Import of all kinds of sources: encoding, checks, splits, mirror images, resuming."""

import pickle
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.support.corpus import TEXT, Motion
from data.exporters import write_bvh
from data.importers.run import MotionImportConfig, import_motions
from data.motion.features import (
    NUM_FEATURES,
    canonical_joints,
    features_to_joints,
    joints_to_features,
)
from data.motion.quality import resample
from data.motion.splits import SplitConfig
from data.schemas import load_features
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.synthetic.activities import ACTIVITIES, generate_motion
from data.workers.workers import Workers
from tests.support.plans import save_plans


def _config(root: Path, *sources: Path, **more: Any) -> MotionImportConfig:
    values = {
        "sources": [str(source) for source in sources],
        "dataset": root,
        "workers": {"num_workers": 2},
        **more,
    }
    return MotionImportConfig.model_validate(values)


def _rows(root: Path, table: str) -> list[dict[str, Any]]:
    return Dataset(root).read(table).to_pylist()


def _save(path: Path, motions: list[Motion]) -> None:
    arrays: dict[str, Any] = {f"m{number}": motion for number, motion in enumerate(motions)}
    np.savez(path, **arrays)


WALK = generate_motion("walk_forward", 4, 4.0)[0]
JUMP = generate_motion("jump", 2, 10.5)[0]


def _made(count: int) -> list[Motion]:
    """Synthetic motions, no two alike."""
    return [
        generate_motion(ACTIVITIES[n % len(ACTIVITIES)], 100 + n, 3.0)[0].astype(np.float64)
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of all kinds."""
    folder = tmp_path_factory.mktemp("sources")
    write_bvh(folder / "CMU_49_02.bvh", resample(JUMP, Fraction(20), Fraction(120)), 120)
    write_bvh(folder / "bow.bvh", generate_motion("bow", 5, 4.0)[0])
    write_bvh(folder / "squat.bvh", generate_motion("squat", 6, 4.0)[0])
    (folder / "broken.bvh").write_text("HIERARCHY")
    np.save(folder / "walk.npy", WALK)
    np.savez(
        folder / "many.npz",
        jump=JUMP[:120],
        features=joints_to_features(JUMP[10:200]).astype(np.float32),
        fps=np.array(20.0),
    )
    teleport = WALK.copy()
    teleport[30:, :, 0] += 3.0
    np.save(folder / "teleport.npy", teleport)
    np.save(folder / "nan.npy", np.where(np.arange(len(WALK))[:, None, None] == 5, np.nan, WALK))
    np.save(folder / "short.npy", WALK[:12])
    np.savez(folder / "amass.npz", poses=np.zeros((9, 156)), betas=np.zeros(16))
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences that are joined by the number of a CMU sequence."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    path.write_text('{"cmu_id": "49_02", "kit": [{"captions": ["A person is jumping."]}]}\n')
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, sources: Path, texts: Path) -> Path:
    root = tmp_path_factory.mktemp("motions") / "dataset"
    import_motions(_config(root, sources, texts=texts, license="ours"))
    return root


def test_everything_that_enters_leaves(root: Path) -> None:
    motions = _rows(root, "motions")
    assert Counter(row["source"] for row in motions if row["mirrored_of"] is None) == {
        "bvh": 3,
        "joints": 2,
        "features": 1,
    }
    rejections = {
        Path(row["item"].split(":")[0]).name: row["reason"] for row in _rows(root, "rejections")
    }
    assert rejections == {
        "broken.bvh": "wrong_form",
        "teleport.npy": "teleport",
        "nan.npy": "non_finite",
        "short.npy": "too_short",
        "amass.npz": "wrong_form",
    }
    amass = next(r for r in _rows(root, "rejections") if "amass" in r["item"])
    assert "SMPL parameters" in amass["detail"]
    assert "body model" in amass["remedy"]


def test_rows_are_the_features_of_their_motions(root: Path) -> None:
    frame: Any = pd.read_parquet(root / "motions")
    row = frame[(frame["source_id"] == "walk") & frame["mirrored_of"].isna()].iloc[0]
    walk = WALK
    features = load_features(row)
    assert features.shape == (len(walk) - 1, NUM_FEATURES)
    np.testing.assert_allclose(features, joints_to_features(walk), atol=1e-5)
    placed = canonical_joints(walk)
    assert np.abs(features_to_joints(features) - placed[:-1]).max() < 1e-4
    assert 0 < row["foot_skate_m_s"] < 0.5
    assert row["license"] == "ours"


def test_texts_of_kit_are_joined(root: Path) -> None:
    rows = [
        r for r in _rows(root, "motions") if r["source_id"] == "49_02" or "49_02" in r["source_id"]
    ]
    bvh = next(r for r in rows if r["source"] == "bvh" and r["mirrored_of"] is None)
    (text,) = bvh["texts"]
    assert text["text"] == "A person is jumping."
    assert text["end_s"] == pytest.approx(len(JUMP) / 20, abs=0.1)
    assert (text["level"], text["source"]) == ("medium", "kit-ml")
    assert bvh["source_fps"] == 120
    assert bvh["num_frames"] == pytest.approx(len(JUMP), abs=3)


def test_a_job_carries_only_the_texts_of_its_motion(
    sources: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled: dict[str, bytes] = {}
    run_jobs = Workers.run

    def spy(workers: Workers, function: Any, items: Any, **options: Any) -> Any:
        listed = list(items)
        if options["stage"] == "import":
            pickled.update({job.pending.source_id: pickle.dumps(job) for job in listed})
        return run_jobs(workers, function, listed, **options)

    monkeypatch.setattr(Workers, "run", spy)
    import_motions(_config(tmp_path / "motions", sources, texts=texts))
    told = {name for name, job in pickled.items() if b"A person is jumping." in job}
    assert len(pickled) == 10
    assert told == {"CMU_49_02"}


def test_mirror_images_lie_in_the_split_of_their_originals(root: Path) -> None:
    rows = {row["motion_id"]: row for row in _rows(root, "motions")}
    twins = [row for row in rows.values() if row["mirrored_of"]]
    assert len(twins) * 2 == len(rows)
    for twin in twins:
        original = rows[twin["mirrored_of"]]
        assert twin["split"] == original["split"]
        ours, theirs = load_features(twin), load_features(original)
        # Turning to the left becomes turning to the right, at the same height.
        np.testing.assert_allclose(ours[:, 0], -theirs[:, 0], atol=1e-6)
        np.testing.assert_allclose(ours[:, 3], theirs[:, 3], atol=1e-6)


def test_again_nothing_is_done(root: Path, sources: Path, texts: Path) -> None:
    before = (root / "dataset.json").read_bytes()
    progress = import_motions(_config(root, sources, texts=texts, license="ours"))
    assert progress.known == progress.done == 11
    assert (root / "dataset.json").read_bytes() == before


def test_more_sources_move_nothing(root: Path, tmp_path: Path) -> None:
    before = {row["motion_id"]: row["split"] for row in _rows(root, "motions")}
    _save(tmp_path / "more.npz", _made(20))
    import_motions(_config(root, tmp_path))
    after = {row["motion_id"]: row["split"] for row in _rows(root, "motions")}
    assert len(after) == len(before) + 2 * 20
    assert {key: after[key] for key in before} == before


def test_a_killed_import_goes_on(tmp_path: Path) -> None:
    """Killed after the second publication: its motions stay, and only the others are added."""
    script = (
        "import sys, os, data.importers.run as m\n"
        "from pathlib import Path\n"
        "m.BATCH = 4\n"
        "config = m.MotionImportConfig(sources=(sys.argv[1],), dataset=Path(sys.argv[2]))\n"
        "kill = len(sys.argv) > 3\n"
        "def report(p):\n"
        "    if kill and p.done == 8: os.kill(os.getpid(), 9)\n"
        "if __name__ == '__main__':\n"
        "    print(m.import_motions(config, None, report).known)\n"
    )
    run = tmp_path / "run.py"
    run.write_text(script)
    _save(tmp_path / "some.npz", _made(15))
    root = tmp_path / "dataset"
    command = [sys.executable, str(run), str(tmp_path / "some.npz"), str(root)]
    killed = subprocess.run([*command, "kill"], check=False, cwd=Path(__file__).parents[3])
    assert killed.returncode == -9
    first = {row["motion_id"] for row in _rows(root, "motions")}
    # Two batches of 4 motions, with their mirror images: the kill was neither earlier nor later.
    assert Dataset(root).manifest["publications"] == 2
    assert len(first) == 16
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert int(done.stdout.split()[-1]) == 8
    rows = _rows(root, "motions")
    assert first < {row["motion_id"] for row in rows}
    assert len({row["motion_id"] for row in rows}) == len(rows)
    whole = tmp_path / "whole"
    import_motions(_config(whole, tmp_path / "some.npz"))
    assert {r["motion_id"] for r in _rows(whole, "motions")} == {r["motion_id"] for r in rows}


def test_plans_become_annotations(tmp_path: Path) -> None:
    plans = tmp_path / "plans.json"
    count = save_plans(plans)
    own = tmp_path / "own.txt"
    own.write_text("Task: Wave\nStep 1: raise the arm\nStep 2: wave\n\nno plan at all\n")
    root = tmp_path / "dataset"
    import_motions(_config(root, plans, own))
    rows = _rows(root, "annotations")
    assert len(rows) == count + 1
    wave = next(row for row in rows if row["medium"] == ["Wave"])
    assert [step["text"] for step in wave["fine"]] == ["raise the arm", "wave"]
    assert [row["reason"] for row in _rows(root, "rejections")] == ["no_steps"]


@pytest.mark.corpus
def test_equal_plans_are_one(tmp_path: Path) -> None:
    import_motions(_config(tmp_path / "dataset", TEXT / "virtualhome_task_steps.json"))
    # 4,070 plans, of which 1,116 differ.
    assert len(_rows(tmp_path / "dataset", "annotations")) == 1116


def test_what_is_no_source_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "picture.png").write_bytes(b"x")
    paths = [tmp_path / "missing", tmp_path / "empty", tmp_path / "picture.png"]
    root = tmp_path / "dataset"
    rejections = import_motions(_config(root, *paths)).unpublished
    # They do not make a dataset.
    assert not root.exists()
    assert {Path(one.item).name: one.reason.value for one in rejections} == {
        "missing": "not_found",
        "empty": "wrong_form",
        "picture.png": "wrong_form",
    }


def test_other_gates_are_another_dataset(root: Path, sources: Path) -> None:
    with pytest.raises(DatasetError, match=r"another configuration: motions\.mirror"):
        import_motions(_config(root, sources, mirror=False))


def test_one_subject_lies_in_one_split_whatever_the_file(tmp_path: Path) -> None:
    """The same motion as BVH and as joints must not be in both the train and the test split."""
    arrays: dict[str, Any] = {
        f"cmu_{subject}_{take:02}": motion
        for number, subject in enumerate(("02", "49"))
        for take, motion in enumerate(_made(6)[3 * number : 3 * number + 3])
    }
    np.savez(tmp_path / "joints.npz", **arrays)
    for number, motion in enumerate(_made(8)[6:]):
        write_bvh(tmp_path / "bvh" / f"{('02', '49')[number]}_07.bvh", motion)
    root = tmp_path / "dataset"
    import_motions(_config(root, tmp_path / "joints.npz", tmp_path / "bvh"))
    splits: dict[str, set[str]] = {}
    for row in _rows(root, "motions"):
        if row["group"]:
            splits.setdefault(row["group"], set()).add(row["split"])
    assert {"cmu/02", "cmu/49"} <= set(splits)
    assert all(len(found) == 1 for found in splits.values())


def test_one_content_and_style_lie_in_one_split_and_stay_there(tmp_path: Path) -> None:
    names = [
        f"dataset-2_{content}_{style}_{take:03}"
        for content in ("wave-left-hand", "wave-right-hand")
        for style in ("angry", "sad", "happy")
        for take in (1, 2)
    ]
    motions: dict[str, Any] = dict(zip(names, _made(12), strict=True))
    first = {name: motion for name, motion in motions.items() if name.endswith("1")}
    np.savez(tmp_path / "first.npz", **first)
    np.savez(tmp_path / "all.npz", **motions)
    root = tmp_path / "dataset"
    config = _config(root, tmp_path / "first.npz", splits=SplitConfig(train=0.4, val=0.3, test=0.3))
    import_motions(config)
    before = {row["group"]: row["split"] for row in _rows(root, "motions")}
    assert set(before) == {f"bandai-namco/wave-side-hand/{s}" for s in ("angry", "sad", "happy")}
    import_motions(config.model_copy(update={"sources": (str(tmp_path / "all.npz"),)}))
    rows = _rows(root, "motions")
    assert len(rows) == 24
    assert all(row["split"] == before[row["group"]] for row in rows)


def test_labels_and_styles_are_worded_where_no_text_is(tmp_path: Path, texts: Path) -> None:
    np.savez(
        tmp_path / "labeled.npz",
        positions=np.concatenate([WALK[:80], JUMP[:80]]),
        offsets=[0, 80, 160],
        keys=["first", "49_02"],
        content=["walk-turn-left", "jump"],
        style=["tired", "happy"],
    )
    root = tmp_path / "dataset"
    import_motions(_config(root, tmp_path / "labeled.npz", texts=texts))
    rows = {(row["source_id"], bool(row["mirrored_of"])): row for row in _rows(root, "motions")}
    captions = {
        key: [(text["text"], text["source"]) for text in row["texts"]] for key, row in rows.items()
    }
    assert captions["first", False][0] == ("a tired person walks and turns left", "labels")
    assert captions["first", True][0] == ("a tired person walks and turns right", "labels")
    assert len(captions["first", False]) == 3
    # What a person wrote is not diluted.
    assert captions["49_02", False] == [("A person is jumping.", "kit-ml")]
    assert list(rows["first", True]["labels"]) == ["walk-turn-right", "tired"]
    assert list(rows["49_02", False]["labels"]) == ["jump", "happy"]
    assert {(text["start_s"], text["end_s"]) for text in rows["first", False]["texts"]} == {(0, 4)}
