"""Seconds that annotations take into a DataFrame, beside what pyarrow takes for the same bytes.

The store's own writer makes the annotations: two medium texts, five steps with grounding and eight
events a row, as in annotated videos, with 5,000 rows per publication. Each way of reading is
measured in a process of its own, the median of three. Compared are CPU seconds, which other work on
the machine affects less than wall-clock time.

- pyarrow: `pq.read_table` on the folder of the table, with page checksums verified.
- arrow: `Dataset(DIR).frame("annotations", arrow=True)`.
- pandas_arrow: `pd.read_parquet(DIR / "annotations", dtype_backend="pyarrow")`.
- polars: `pl.read_parquet(DIR / "annotations")`.
- duckdb: `SELECT *` from the files of the table into an Arrow table.
- objects: `pd.read_parquet(DIR / "annotations")`, whose lists and texts are Python objects.

    .venv/bin/python benchmarks/frames.py [--clips 1000000]
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.scale import item_id, table
from benchmarks.support.separate import measured, print_measured
from data.store.dataset import Dataset
from data.store.writer import open_writer

ROWS_PER_PUBLICATION = 5_000
REPEATS = 3
MAX_RATIO = 1.5
"""Maximum seconds of an Arrow-backed DataFrame relative to pyarrow."""


def make(root: Path, clips: int) -> None:
    """Make the annotations through the store's own writer; publications differ by their ids."""
    texts = annotations(range(min(clips, ROWS_PER_PUBLICATION)))
    schema = texts.schema
    with open_writer(root, {}) as writer:
        for first in range(0, clips, ROWS_PER_PUBLICATION):
            numbers = range(first, min(first + ROWS_PER_PUBLICATION, clips))
            rows = texts.slice(0, len(numbers))
            ids = {"clip_id": ("clip", 1), "video_id": ("video", 10)}
            for name, (kind, per) in ids.items():
                column = pa.array([item_id(kind, n // per) for n in numbers])
                rows = rows.set_column(schema.get_field_index(name), schema.field(name), column)
            writer.publish({"annotations": rows})


def annotations(numbers: range) -> pa.Table:
    """Make annotations: two medium texts, five steps with grounding and eight events each."""
    sides = ("left", "right")
    parts = ("arm", "leg", "hand", "head")
    begins = [n % 100 * 8.0 for n in numbers]
    told = [
        f"A person raises the {sides[n % 2]} {parts[n % 4]} after {n % 997} steps." for n in numbers
    ]
    grounding = {"verdict": "supported", "measurement": "0.42 m", "start_s": 0.5, "end_s": 2.0}
    columns: dict[str, Any] = {
        "track_id": [0] * len(numbers),
        "start_s": begins,
        "end_s": [begin + 8 for begin in begins],
        "coarse": told,
        "medium": [[text, text[:20]] for text in told],
        "medium_grounding": [[grounding] * 2] * len(numbers),
        "fine": [
            [
                {
                    "text": text,
                    "start_s": begin + k,
                    "end_s": begin + k + 1,
                    "grounding": grounding,
                }
                for k in range(5)
            ]
            for text, begin in zip(told, begins, strict=True)
        ],
        "events": [
            [
                {"kind": "raise", "part": parts[k % 4], "side": sides[n % 2], "start_s": k / 2}
                for k in range(8)
            ]
            for n in numbers
        ],
        "outcome": ["success"] * len(numbers),
        "annotator": ["rules"] * len(numbers),
    }
    return table("annotations", columns, len(numbers))


def pyarrow(root: Path) -> int:
    """Read the folder of the table as one Arrow table."""
    return pq.read_table(root / "annotations", page_checksum_verification=True).num_rows


def arrow(root: Path) -> int:
    """Read an Arrow-backed DataFrame through this package."""
    return len(Dataset(root).frame("annotations", arrow=True))


def pandas_arrow(root: Path) -> int:
    """Read an Arrow-backed DataFrame by plain pandas."""
    return len(pd.read_parquet(root / "annotations", dtype_backend="pyarrow"))


def polars(root: Path) -> int:
    """Read a DataFrame of polars."""
    return len(pl.read_parquet(root / "annotations"))


def duck(root: Path) -> int:
    """Read an Arrow table through DuckDB."""
    files = str(root / "annotations" / "*.parquet").replace("'", "''")
    with duckdb.connect() as db:
        return db.sql(f"SELECT * FROM '{files}'").to_arrow_table().num_rows  # noqa: S608


def objects(root: Path) -> int:
    """Read a DataFrame of Python objects by plain pandas."""
    return len(pd.read_parquet(root / "annotations"))


CASES: dict[str, Callable[[Path], int]] = {
    "pyarrow": pyarrow,
    "arrow": arrow,
    "pandas_arrow": pandas_arrow,
    "polars": polars,
    "duckdb": duck,
    "objects": objects,
}


def measure(case: str, root: Path) -> None:
    """Run one case, or make a dataset of so many rows, in this process, and print its figures."""
    print_measured(lambda: make(root, int(case)) if case.isdecimal() else CASES[case](root))


def main() -> None:
    """Run all cases, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--case", nargs=2, metavar=("CASE", "DATASET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        measure(arguments.case[0], Path(arguments.case[1]))
        return
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="frames-") as folder:
        root = Path(folder) / "dataset"
        made = measured(__file__, str(arguments.clips), root)
        print(f"{arguments.clips} annotations: made in {made['seconds']:.1f} s", flush=True)
        for case in CASES:
            runs = [measured(__file__, case, root) for _ in range(REPEATS)]
            for name in ("seconds", "cpu_s", "peak_mb"):
                figures[f"{case}_{name}"] = statistics.median(run[name] for run in runs)
            print(f"  {case:12} {figures[f'{case}_cpu_s']:8.2f} s CPU", flush=True)
    for case in list(CASES)[1:]:
        ratio = figures[f"{case}_cpu_s"] / figures["pyarrow_cpu_s"]
        figures[f"{case}_over_pyarrow"] = round(ratio, 2)
    result = {
        "name": "frames",
        "figures": figures,
        "targets": {"arrow_over_pyarrow": MAX_RATIO, "pandas_arrow_over_pyarrow": MAX_RATIO},
        "ok": max(figures["arrow_over_pyarrow"], figures["pandas_arrow_over_pyarrow"]) <= MAX_RATIO,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
