"""A dataset as DataFrames, and the motions in their rows.

Shapes: T frames at 20 fps, J = 22 joints (``JOINTS`` names them), D = 263 features.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pandas as pd

from data.arrays import FloatArray
from data.motion.features import features_to_joints, joints_to_features
from data.motion.skeleton import FPS as FRAMES_PER_S
from data.motion.skeleton import JOINT_NAMES
from data.schemas import SCHEMAS, load_features, load_motion
from data.store import dataset

JOINTS: Final = tuple(JOINT_NAMES)
"""Names of the joints, in their order."""
FPS: Final = FRAMES_PER_S
"""Frames per second of every motion."""

Row = Mapping[str, Any] | pd.Series
"""A row of a table, as pandas or pyarrow give it."""


class Dataset:
    """A published dataset, for reading.

    Attributes:
        folder: its folder.
        tables: name of each table to its number of rows.
    """

    def __init__(self, folder: Path) -> None:
        self._published = dataset.Dataset(folder)
        self.folder = folder
        counts = self._published.manifest["tables"]
        self.tables: dict[str, int] = {
            name: counts[name]["rows"] if name in counts else 0 for name in SCHEMAS
        }

    def __repr__(self) -> str:
        rows = ", ".join(f"{count} {name}" for name, count in self.tables.items() if count)
        return f"Dataset({str(self.folder)!r}: {rows or 'empty'})"

    def frame(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The rows of a table.

        Args:
            table: one of :attr:`tables`; the columns of each are in docs/dataset.md.
            columns: those to read; None: all.

        Raises:
            ValueError: there is no such table or column.
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
        return self._published.frame(table, columns)


def open_dataset(folder: str | Path) -> Dataset:
    """Open a dataset that ``annotate`` or ``import-motions`` made.

    Raises:
        ValueError: there is none, or it is of a newer version.
    """
    return Dataset(Path(folder).expanduser())


def joints(row: Row) -> FloatArray:
    """Joints of a row of ``poses`` or ``motions``.

    Returns:
        (T, 22, 3) metres, y up, with the person's way through the scene.

    Raises:
        ValueError: the row is of another table, or its columns were left out.
    """
    if "features" in row:
        return np.asarray(features_to_joints(features(row)), np.float32)
    return load_motion(_with(row, "joints_3d", "root_trajectory", "num_frames", "num_joints"))


def features(row: Row) -> FloatArray:
    """HumanML3D's motion features of a row of ``poses`` or ``motions``.

    Returns:
        (T, 263), not normalized; of a row of ``poses`` one fewer than its frames, as each holds
        the velocity to the next one.

    Raises:
        ValueError: the row is of another table, or its columns were left out.
    """
    if "features" in row:
        return load_features(_with(row, "features", "num_frames", "num_features"))
    return np.asarray(joints_to_features(joints(row)), np.float32)


def _with(row: Row, *columns: str) -> Mapping[str, Any]:
    missing = [name for name in columns if name not in row]
    if missing:
        raise ValueError(
            f"row: expected one of poses or motions, found none of its columns "
            f"{', '.join(missing)}. Remedy: read the table with them, or with all columns."
        )
    return cast("Mapping[str, Any]", row)
