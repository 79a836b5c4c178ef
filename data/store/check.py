"""Whether a dataset is as it was written: what is missing, damaged, left over or does not join.

Every byte of every part is read: its size and SHA-256 are compared with the manifest, its pages
with their checksums, its schema and its number of rows with what they must be. Nothing is changed.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data.schemas import SCHEMAS
from data.store.dataset import Dataset, open_part
from data.store.locks import lock_holder
from data.store.manifest import (
    MANIFEST,
    STAGING,
    DatasetError,
    manifest_parts,
    require_plain,
    require_plain_tree,
)
from data.store.parquet import current_schema, read_batches, table_rows

_RESTORE: Final = (
    "Restore this file from a copy of the dataset. Without one, make the dataset again from its "
    "sources into a new folder."
)
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "videos": ("video_id",),
    "clips": ("clip_id",),
    "poses": ("clip_id", "track_id"),
    "motions": ("motion_id",),
    "motion_tokens": ("motion_id", "tokenizer_id"),
}
"""Columns that no two rows of a table have in common."""
_REFERENCES: Final = (
    ("clips", "video_id", "videos"),
    ("poses", "clip_id", "clips"),
    ("captions", "video_id", "videos"),
    ("captions", "clip_id", "clips"),
    ("annotations", "clip_id", "clips"),
    ("motions", "mirrored_of", "motions"),
    ("motion_tokens", "motion_id", "motions"),
)
"""Table, column, and the table whose (first) key the column names; null names nothing."""
_LENGTHS: Final[Mapping[str, Mapping[str, Callable[[Mapping[str, Any]], int]]]] = {
    "poses": {
        "joints_3d": lambda row: row["num_frames"] * row["num_joints"] * 3,
        "joints_2d": lambda row: row["num_frames"] * row["num_joints"] * 2,
        "confidence": lambda row: row["num_frames"] * row["num_joints"],
        "root_trajectory": lambda row: row["num_frames"] * 3,
        "valid": lambda row: row["num_frames"],
        "pts_s": lambda row: row["num_frames"],
    },
    "motions": {"features": lambda row: row["num_frames"] * row["num_features"]},
    "motion_tokens": {"codes": lambda row: row["num_tokens"] * row["num_quantizers"]},
}
"""How many values the flat lists of a row must have."""
_SHOWN: Final = 3
"""Ids named in a finding."""


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """The dataset is not what was written."""
    NOTE = "note"
    """Nothing is lost: unfinished work, or what cannot be verified."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        severity: how bad it is.
        file: relative to the dataset's folder.
        found: what was expected and what was found.
        remedy: what to do.
    """

    severity: Severity
    file: str
    found: str
    remedy: str


def check_dataset(root: Path, report: Callable[[int, int], None] | None = None) -> list[Finding]:
    """Verify all of a dataset.

    Args:
        root: the dataset's folder.
        report: told after every part how many of how many are verified.

    Returns:
        What is wrong, worst first; nothing when all is as it was written.

    Raises:
        DatasetError: there is no dataset.
    """
    if not os.path.lexists(root / MANIFEST):
        Dataset(root)  # raises, with the remedy
    try:
        dataset = Dataset(root)
    except DatasetError as error:
        found, _, remedy = str(error).partition(" Remedy: ")
        return [Finding(Severity.ERROR, MANIFEST, found, remedy)]
    findings = [*_left_over(dataset), *_counts(dataset)]
    ids = _Ids(dataset)
    parts = [
        (table, entry) for table in SCHEMAS for entry in manifest_parts(dataset.manifest, table)
    ]
    for number, (table, entry) in enumerate(parts, 1):
        findings += _check_part(root, table, entry, ids)
        if report is not None:
            report(number, len(parts))
    findings += ids.findings()
    return sorted(findings, key=lambda finding: list(Severity).index(finding.severity))


def _left_over(dataset: Dataset) -> Iterator[Finding]:
    """Files beside the published ones."""
    root = dataset.root
    holder = lock_holder(root)
    if holder:
        yield Finding(
            Severity.NOTE,
            ".lock",
            f"expected nobody to write here, found {holder} at work.",
            "Check again when it has ended.",
        )
    try:
        require_plain_tree(root / STAGING)
    except DatasetError as error:
        found, _, _ = str(error).partition(" Remedy: ")
        yield Finding(Severity.ERROR, STAGING, found, "Look at what it is, and remove it.")
    else:
        yield from _staged(root / STAGING)
    for table in SCHEMAS:
        listed = {entry["file"] for entry in manifest_parts(dataset.manifest, table)}
        for path in sorted((root / table).glob("*")):
            file = f"{table}/{path.name}"
            if file not in listed:
                yield Finding(
                    Severity.ERROR,
                    file,
                    "expected only the parts that the manifest lists, found a file that it does "
                    "not: whoever reads the folder reads it too.",
                    "Move it out of the folder."
                    if not (root / STAGING / "journal.json").exists()
                    else "Finish the interrupted publication first, see there.",
                )


def _staged(staging: Path) -> Iterator[Finding]:
    if (staging / "journal.json").exists():
        yield Finding(
            Severity.ERROR,
            f"{STAGING}/journal.json",
            "expected no unfinished publication, found one that was interrupted.",
            "Run the command that made the dataset again: it finishes the publication first.",
        )
    work = [path for path in staging.glob("work-*/**/*") if path.is_file()]
    if work:
        yield Finding(
            Severity.NOTE,
            STAGING,
            f"expected a finished dataset, found unfinished work in {len(work)} files.",
            "Run the same command again to go on, or remove the folder to give the work up.",
        )


def _counts(dataset: Dataset) -> Iterator[Finding]:
    for table, entry in dataset.manifest["tables"].items():
        rows = dataset.num_rows(table)
        if entry["rows"] != rows:
            yield Finding(
                Severity.ERROR,
                MANIFEST,
                f"{table}: expected {entry['rows']} rows, found parts of {rows} rows.",
                _RESTORE,
            )


def _check_part(root: Path, table: str, entry: Mapping[str, Any], ids: "_Ids") -> Iterator[Finding]:
    """Verify one part, and note its ids."""
    file = entry["file"]
    path = root / file
    try:
        require_plain(path.parent, folder=True)
        require_plain(path)
    except DatasetError as error:
        found = str(error).partition(" Remedy: ")[0]
        yield Finding(Severity.ERROR, file, found, _RESTORE)
        ids.incomplete.add(table)
        return
    if path.stat().st_size != entry["bytes"]:
        found = f"expected {entry['bytes']} bytes, found {path.stat().st_size}."
        yield Finding(Severity.ERROR, file, found, _RESTORE)
    elif entry.get("sha256") is None:
        yield Finding(
            Severity.NOTE,
            file,
            "expected a SHA-256 in the manifest, found none: the part is from before they were "
            "kept, and only its form can be verified.",
            "Nothing to do.",
        )
    elif (sha256 := _sha256(path)) != entry["sha256"]:
        found = f"expected SHA-256 {entry['sha256'][:16]}…, found {sha256[:16]}…."
        yield Finding(Severity.ERROR, file, found, _RESTORE)
    try:
        for found in _check_rows(path, table, entry, ids):
            yield Finding(Severity.ERROR, file, found, _RESTORE)
    except DatasetError as error:
        found = str(error).partition(" Remedy: ")[0].removeprefix(f"{path}: ")
        yield Finding(Severity.ERROR, file, found, _RESTORE)
        ids.incomplete.add(table)


def _check_rows(path: Path, table: str, entry: Mapping[str, Any], ids: "_Ids") -> Iterator[str]:
    """Read all of a part; what is wrong with it."""
    with open_part(path) as part:
        schema = current_schema(part)
        if not schema.equals(SCHEMAS[table]):
            wrong = [
                f"{field.name} ({field.type})"
                for field in SCHEMAS[table]
                if field.name not in schema.names or schema.field(field.name).type != field.type
            ]
            more = sorted(set(schema.names) - set(SCHEMAS[table].names))
            yield f"expected the columns of {table}, found {wrong or more} not to be so."
            ids.incomplete.add(table)
            return
        if part.metadata.num_rows != entry["rows"]:
            yield f"expected {entry['rows']} rows, found {part.metadata.num_rows}."
        bad_lengths = 0
        for batch in read_batches(part, SCHEMAS[table].names):
            ids.add(table, batch)
            bad_lengths += _bad_lengths(table, batch)
        if bad_lengths:
            yield f"expected lists as long as their frames say, found others in {bad_lengths} rows."


def _bad_lengths(table: str, batch: pa.Table) -> int:
    lengths = _LENGTHS.get(table)
    if lengths is None:
        return 0
    bad = 0
    for row in table_rows(batch):
        bad += any(
            row[column] is None or len(row[column]) != length(row)
            for column, length in lengths.items()
        )
    return bad


class _Ids:
    """The ids of all tables: which are there twice, and which name nothing.

    Attributes:
        incomplete: tables of which a part could not be read; what names them is not judged.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.incomplete: set[str] = set()
        # Plans and imported motions have texts of no clip: their datasets have no videos.
        self._no_videos = not dataset.num_rows("videos")
        self._seen: dict[str, set[tuple[Any, ...]]] = {table: set() for table in _KEYS}
        self._twice: dict[str, list[str]] = {table: [] for table in _KEYS}
        self._named: dict[tuple[str, str], set[str]] = {}

    def add(self, table: str, batch: pa.Table) -> None:
        """Note the ids of some rows."""
        if table in _KEYS:
            columns = [batch[name].to_pylist() for name in _KEYS[table]]
            for key in zip(*columns, strict=True):
                if key in self._seen[table]:
                    self._twice[table].append("/".join(map(str, key)))
                self._seen[table].add(key)
        for child, column, _ in _REFERENCES:
            if child == table:
                named = self._named.setdefault((child, column), set())
                named.update(one for one in batch[column].to_pylist() if one)

    def findings(self) -> Iterator[Finding]:
        """What is wrong with them."""
        for table, twice in self._twice.items():
            if twice:
                found = f"expected each row once, found {len(twice)} again ({_some(twice)})."
                yield Finding(Severity.ERROR, table, found, _RESTORE)
        for table, column, parent in _REFERENCES:
            if parent in self.incomplete or (self._no_videos and parent in {"videos", "clips"}):
                continue
            known = {key[0] for key in self._seen[parent]}
            lost = sorted(self._named.get((table, column), set()) - known)
            if lost:
                found = (
                    f"expected every {column} in {parent}, found {len(lost)} that are not "
                    f"({_some(lost)})."
                )
                yield Finding(Severity.ERROR, table, found, _RESTORE)


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
