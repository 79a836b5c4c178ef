"""Datasets as DataFrames, and the motions in their rows as arrays.

Shapes: T frames at 20 fps, J = 22 joints (``JOINTS`` names them), D = 263 features.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast, get_args

import numpy as np
import pandas as pd

from data.arrays import FloatArray
from data.motion.features import features_to_joints, joints_to_features
from data.motion.skeleton import FPS as FRAMES_PER_S
from data.motion.skeleton import JOINT_NAMES
from data.remote.addresses import is_s3
from data.remote.links import DEFAULT_HOME, link_folder
from data.schemas import SCHEMAS, load_features, load_motion
from data.store import dataset
from data.store.reviews import Judgment, Level, review_of, save_review
from data.upkeep.accepted import accepted_annotations

JOINTS: Final = tuple(JOINT_NAMES)
"""Names of the joints in the order of the joint axis."""
FPS: Final = FRAMES_PER_S
"""Frames per second of every motion."""

Row = Mapping[str, Any] | pd.Series
"""A row of a table, as returned by pandas or pyarrow."""


class Dataset:
    """A published dataset, opened for reading.

    Attributes:
        folder: folder of the dataset.
        tables: number of rows of each table by name.
    """

    def __init__(self, folder: Path, version: int | None = None, *, reviews: bool = True) -> None:
        self._published = dataset.Dataset(folder, version, reviews=reviews)
        self.folder = folder
        self._version = version
        counts = self._published.manifest["tables"]
        self.tables: dict[str, int] = {
            name: counts[name]["rows"] if name in counts else 0 for name in SCHEMAS
        }

    def __repr__(self) -> str:
        rows = ", ".join(f"{count} {name}" for name, count in self.tables.items() if count)
        return f"Dataset({str(self.folder)!r}: {rows or 'empty'})"

    def frame(
        self, table: str, columns: Sequence[str] | None = None, *, arrow: bool = False
    ) -> pd.DataFrame:
        """Read a table.

        Args:
            table: name in :attr:`tables`; docs/dataset.md lists the columns.
            columns: columns to read; None reads all.
            arrow: keep texts and lists in Arrow's memory, which is several times as fast.

        Raises:
            ValueError: the table or a column does not exist.
        """
        if table not in SCHEMAS:
            raise ValueError(
                f"table: expected one of {', '.join(SCHEMAS)}, found {table!r}. "
                "Remedy: choose one of them."
            )
        missing = [name for name in columns or () if name not in SCHEMAS[table].names]
        if missing:
            raise ValueError(
                f"columns of {table}: expected some of {', '.join(SCHEMAS[table].names)}, found "
                f"{', '.join(missing)}. Remedy: choose among those."
            )
        return self._published.frame(table, columns, arrow=arrow)

    def accepted(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read the annotations whose activity and steps a reviewer accepted or edited.

        Args:
            columns: columns to read; None reads all.
        """
        known = accepted_annotations(self.folder, self._version)
        opened = dataset.Dataset(self.folder, self._version, reviews=True)
        frame = opened.frame("annotations")
        keys = zip(frame["clip_id"], frame["track_id"], frame["sample"], strict=True)
        kept = frame.loc[[key in known for key in keys]].reset_index(drop=True)
        return kept if columns is None else kept.loc[:, list(columns)]

    def review(
        self,
        row: Row,
        level: Level,
        judgment: Judgment,
        value: Any = None,
        *,
        reviewer: str,
    ) -> None:
        """Save what a person found about one level of an annotation, as `avatargpt browse` does.

        Tables that are read after this show it. The published files stay as they are, and a review
        with the judgment ``withdrawn`` takes the reviewer's last one back.

        Args:
            row: row of ``annotations``.
            level: ``coarse``, ``medium``, ``fine``, or ``person``: whether the person is one.
            judgment: ``accepted``, ``edited`` to ``value``, ``rejected``, ``partial`` if only some
                steps are judged, ``unsure`` or ``withdrawn``.
            value: of ``coarse`` a text; of ``medium`` a list of texts; of ``fine`` a list of steps
                with ``text``, ``start_s``, ``end_s``, ``judgment`` and ``of``, the index of the
                original step or None for a missed one; of ``person`` an object with a ``name``.
            reviewer: name of the person.

        Raises:
            ValueError: the row is of another table or dataset, or the value does not fit it.
            OSError: the disk is full or read-only.
            data.remote.errors.RemoteError: the dataset is on S3, and nothing was saved there.
        """
        _known("level", level, Level)
        _known("judgment", judgment, Judgment)
        given = _with(row, "clip_id", "track_id", "sample", table="annotations")
        key: dict[str, Any] = {"clip_id": str(given["clip_id"])}
        key |= {name: int(given[name]) for name in ("track_id", "sample")}
        # Reviews judge what was published, and this row may have reviews in it.
        published = dataset.Dataset(self.folder, self._version)
        where = {name: [value] for name, value in key.items()}
        found = next(published.rows("annotations", where=where), None)
        if found is None:
            raise ValueError(
                f"row: expected one of the annotations of {self.folder}, found {key}. "
                "Remedy: read the row again."
            )
        save_review(self.folder, review_of(found, level, judgment, reviewer, value))


def _known(name: str, value: str, kind: Any) -> None:
    if value not in get_args(kind):
        raise ValueError(
            f"{name}: expected one of {', '.join(get_args(kind))}, found {value!r}. "
            "Remedy: choose one of them."
        )


def open_dataset(
    folder: str | Path,
    version: int | None = None,
    cache: str | Path = DEFAULT_HOME,
    *,
    reviews: bool = True,
) -> Dataset:
    """Open a dataset that ``annotate`` or ``import-motions`` made.

    Args:
        folder: folder of the dataset, or ``s3://bucket/prefix``.
        version: number of an older version to read; by default the current one.
        cache: folder in which parts from S3 are kept, in a folder ``s3``.
        reviews: apply what people corrected in `avatargpt browse`; False shows what was published.

    Raises:
        ValueError: the folder is not a dataset, or was written by newer code, or it has no such
            version.
        data.remote.errors.RemoteError: the dataset is on S3 and cannot be read.
    """
    if is_s3(str(folder)):
        return Dataset(link_folder(str(folder), Path(cache)), version, reviews=reviews)
    return Dataset(Path(folder).expanduser(), version, reviews=reviews)


def joints(row: Row) -> FloatArray:
    """Return the joints of a row of ``poses`` or ``motions``.

    Returns:
        Positions, (T, 22, 3), in meters, y up, including the path of the root.

    Raises:
        ValueError: the row is of another table, or its columns were not read.
    """
    if "features" in row:
        return np.asarray(features_to_joints(features(row)), np.float32)
    return load_motion(_with(row, "joints_3d", "root_trajectory", "num_frames", "num_joints"))


def features(row: Row) -> FloatArray:
    """Return the HumanML3D features of a row of ``poses`` or ``motions``.

    Returns:
        Features, (T, 263), not normalized. A row of ``poses`` has one frame less than its joints,
        because each frame contains the velocity to the next one.

    Raises:
        ValueError: the row is of another table, or its columns were not read.
    """
    if "features" in row:
        return load_features(_with(row, "features", "num_frames", "num_features"))
    return np.asarray(joints_to_features(joints(row)), np.float32)


def animation(row: Row, title: str = "") -> bytes:
    """Draw the motion of a row of ``poses`` or ``motions`` as a stick figure.

    Args:
        row: the row.
        title: text above the figure.

    Returns:
        A GIF at 20 fps with the measured steps below the figure; docs/browse.ipynb shows one.

    Raises:
        ValueError: the row is of another table, or its columns were not read.
    """
    from annotators.pictures.stick_figure import (  # noqa: PLC0415 - slow
        describe_steps,
        draw_motion,
        save_moving,
    )

    joints_TJ3 = joints(row)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "motion.gif"
        save_moving(draw_motion(joints_TJ3, title, describe_steps(joints_TJ3)), file)
        return file.read_bytes()


def _with(row: Row, *columns: str, table: str = "poses or motions") -> Mapping[str, Any]:
    missing = [name for name in columns if name not in row]
    if missing:
        raise ValueError(
            f"row: expected one of {table}, found none of its columns "
            f"{', '.join(missing)}. Remedy: read the table with them, or with all columns."
        )
    return cast("Mapping[str, Any]", row)
