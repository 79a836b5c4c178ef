"""The public API: tables as DataFrames, motions as arrays, and what is told of mistakes."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest

import avatargpt
from data.importers.run import MotionImportConfig, import_motions
from data.motion.features import features_to_joints, joints_to_features
from data.motion_records import Pending
from data.schemas import SCHEMAS
from data.store.writer import open_published, open_writer, rows_table
from data.synthetic.activities import find_procedural, parse_procedural
from data.workers.workers import WorkerConfig

PROJECT = Path(avatargpt.__file__).parents[1]


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> avatargpt.Dataset:
    root = tmp_path_factory.mktemp("motions")
    import_motions(
        MotionImportConfig(
            sources=("procedural:2",), dataset=root, workers=WorkerConfig(num_workers=1)
        )
    )
    return avatargpt.open_dataset(str(root))


def _joints() -> np.ndarray:
    count_and_seed = parse_procedural("procedural:1")
    assert count_and_seed is not None
    (item,) = find_procedural(*count_and_seed)
    assert isinstance(item, Pending)
    motion = item.read()
    assert motion.joints_TJ3 is not None
    return np.asarray(motion.joints_TJ3, np.float32)


def test_tables_are_data_frames(motions: avatargpt.Dataset) -> None:
    assert motions.tables.keys() == SCHEMAS.keys()
    assert motions.tables["motions"] == len(motions.frame("motions")) == 4
    assert list(motions.frame("motions", ["motion_id", "split"]).columns) == ["motion_id", "split"]
    assert motions.frame("poses").empty
    assert "4 motions" in repr(motions)


def test_a_motion_row_gives_features_and_joints(motions: avatargpt.Dataset) -> None:
    row = motions.frame("motions").iloc[0]
    features = avatargpt.features(row)
    assert features.shape == (row["num_frames"], 263)
    joints = avatargpt.joints(row)
    assert joints.shape == (len(features), len(avatargpt.JOINTS), 3)
    np.testing.assert_array_equal(joints, np.asarray(features_to_joints(features), np.float32))


def test_a_pose_row_gives_joints_where_the_person_is(tmp_path: Path) -> None:
    joints_TJ3 = _joints()
    root_T3 = joints_TJ3[:, 0]
    row = dict.fromkeys(SCHEMAS["poses"].names) | {
        "clip_id": "c",
        "track_id": 0,
        "num_frames": len(joints_TJ3),
        "num_joints": joints_TJ3.shape[1],
        "joints_3d": (joints_TJ3 - root_T3[:, None]).ravel(),
        "root_trajectory": root_T3.ravel(),
    }
    with open_writer(tmp_path / "dataset", {"made": "by a test"}) as writer:
        writer.publish({"poses": rows_table("poses", [row])})
    poses = avatargpt.open_dataset(tmp_path / "dataset").frame("poses")
    read = avatargpt.joints(poses.iloc[0])
    np.testing.assert_allclose(read, joints_TJ3, atol=1e-6)
    np.testing.assert_allclose(
        avatargpt.features(poses.iloc[0]), joints_to_features(read), atol=1e-6
    )
    # The same of a row that stays in Arrow's memory, and of an older version.
    with open_published(tmp_path / "dataset") as writer:
        writer.publish({"poses": rows_table("poses", [row])})
    older = avatargpt.open_dataset(tmp_path / "dataset", version=1)
    assert older.tables["poses"] == 1
    (arrow,) = (row for _, row in older.frame("poses", arrow=True).iterrows())
    np.testing.assert_array_equal(avatargpt.joints(arrow), read)


def test_wrong_names_are_refused_with_the_valid_ones(
    motions: avatargpt.Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="expected a dataset, found no"):
        avatargpt.open_dataset(tmp_path)
    with pytest.raises(ValueError, match=r"expected one of videos, clips, .* found 'pose'"):
        motions.frame("pose")
    with pytest.raises(ValueError, match=r"columns of motions: expected some of .* found speed"):
        motions.frame("motions", ["speed"])
    with pytest.raises(ValueError, match="found none of its columns num_frames, num_features"):
        avatargpt.features(motions.frame("motions", ["features"]).iloc[0])
    with pytest.raises(ValueError, match="expected one of poses or motions"):
        avatargpt.joints(pd.Series({"clip_id": "c"}))
    with pytest.raises(AttributeError, match="no attribute 'open_datasets'"):
        _ = avatargpt.open_datasets  # pyright: ignore[reportAttributeAccessIssue]


def _python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder as a notebook runs it: the folder comes first on the path."""
    # Commands that other tests run in this process keep the folder off the path.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )


def test_importing_it_waits_for_neither_torch_nor_pandas(tmp_path: Path) -> None:
    done = _python(
        tmp_path,
        "import avatargpt, sys; dir(avatargpt); print([n for n in ('torch', 'pandas', 'prefect') "
        "if n in sys.modules])",
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("file", "name"),
    [("data/__init__.py", "data"), ("training.py", "training"), ("annotators/__init__.py", "")],
)
def test_a_package_of_the_user_that_hides_ours_is_named(
    file: str, name: str, tmp_path: Path
) -> None:
    theirs = tmp_path / file
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("raise SystemExit('ran what is not ours')")
    name = name or "annotators"
    done = _python(tmp_path, "import avatargpt")
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    place = theirs.parent if theirs.name == "__init__.py" else theirs
    assert f"package {name}: expected avatargpt's own in {PROJECT / name}, found {place}" in said
    assert "Remedy: rename that one" in said


def test_a_folder_of_files_with_our_name_is_nobodys_package(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    done = _python(tmp_path, "import avatargpt, data; print(data.__file__)")
    assert done.stdout == f"{PROJECT / 'data' / '__init__.py'}\n", done.stderr


def test_reviews_that_do_not_fit_are_named(
    motions: avatargpt.Dataset,
) -> None:
    row = {"clip_id": "c", "track_id": 0, "sample": 0}
    for given, complaint in (
        ((row, "fine", "right"), "judgment: expected one of accepted, .*found 'right'"),
        ((row, "steps", "edited"), "level: expected one of coarse, .*found 'steps'"),
        (
            ({"motion_id": "m"}, "medium", "accepted"),
            "row: expected one of annotations, found none",
        ),
        ((row, "medium", "accepted"), "row: expected one of the annotations of .*'clip_id': 'c'"),
    ):
        with pytest.raises(ValueError, match=complaint):
            motions.review(*given, reviewer="Ada")  # pyright: ignore[reportArgumentType]


def test_an_animation_is_a_gif(motions: avatargpt.Dataset) -> None:
    row = motions.frame("motions").iloc[0]
    picture = PIL.Image.open(BytesIO(avatargpt.animation(row, "a title")))
    assert getattr(picture, "n_frames", 0) > 1
