"""Verify a dataset: find what is missing, damaged, left over or does not join.

Every byte of every part is read. Size and SHA-256 are compared with the manifest, pages with their
checksums, and the schema and the number of rows with the expected ones. Reviews, which the manifest
does not list, must be readable. Nothing is changed.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_args

import pyarrow as pa

from data.schemas import KEYS, SCHEMAS
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
from data.store.reviews import REVIEWS, Judgment, Level, Review, read_review_file, review_files
from data.store.versions import VERSIONS, ensure_part, find_part, needed_parts, unneeded_files

_RESTORE: Final = (
    "Restore this file from a copy of the dataset. Without one, make the dataset again from its "
    "sources into a new folder."
)
_UNIQUE: Final = ("videos", "clips", "poses", "annotations", "motions", "motion_tokens")
"""Tables whose keys are checked; earlier code could write a caption or a rejection twice."""
_REFERENCES: Final = (
    ("clips", "video_id", "videos"),
    ("poses", "clip_id", "clips"),
    ("captions", "video_id", "videos"),
    ("captions", "clip_id", "clips"),
    ("annotations", "clip_id", "clips"),
    ("motions", "mirrored_of", "motions"),
    ("motion_tokens", "motion_id", "motions"),
)
"""Table, column, and the table whose (first) key the column refers to. Null refers to nothing."""
_LENGTHS: Final[Mapping[str, Mapping[str, Callable[[Mapping[str, Any]], int]]]] = {
    "poses": {
        "joints_3d": lambda row: row["num_frames"] * row["num_joints"] * 3,
        "joints_2d": lambda row: row["num_frames"] * row["num_joints"] * 2,
        "confidence": lambda row: row["num_frames"] * row["num_joints"],
        "root_trajectory": lambda row: row["num_frames"] * 3,
        "valid": lambda row: row["num_frames"],
        "pts_s": lambda row: row["num_frames"],
        "boxes": lambda row: row["num_frames"] * 4 if len(row["boxes"]) else 0,
    },
    "motions": {"features": lambda row: row["num_frames"] * row["num_features"]},
    "motion_tokens": {"codes": lambda row: row["num_tokens"] * row["num_quantizers"]},
}
"""Expected lengths of the flat lists of a row."""
_SHOWN: Final = 3
"""Maximum number of ids in a finding."""


class Severity(StrEnum):
    """Severity of a finding."""

    ERROR = "error"
    """The dataset differs from what was written."""
    NOTE = "note"
    """Nothing is lost: there is unfinished work, or something cannot be verified."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem that a check found.

    Attributes:
        severity: severity of the problem.
        file: path relative to the dataset's folder.
        found: what was expected and what was found.
        remedy: what to do.
    """

    severity: Severity
    file: str
    found: str
    remedy: str


def check_dataset(root: Path, report: Callable[[int, int], None] | None = None) -> list[Finding]:
    """Verify a whole dataset.

    Args:
        root: folder of the dataset.
        report: called after every part with the number of verified parts and of all parts.

    Returns:
        The problems, worst first.

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
    findings = [*_left_over(dataset), *_counts(dataset), *_older_versions(dataset)]
    ids = _Ids(dataset)
    parts = [
        (table, entry) for table in SCHEMAS for entry in manifest_parts(dataset.manifest, table)
    ]
    for number, (table, entry) in enumerate(parts, 1):
        findings += _check_part(root, table, entry, ids)
        if report is not None:
            report(number, len(parts))
    findings += [*ids.findings(), *_reviews(root)]
    return sorted(findings, key=lambda finding: list(Severity).index(finding.severity))


def _left_over(dataset: Dataset) -> Iterator[Finding]:
    """Find files that do not belong to the published dataset."""
    root = dataset.root
    holder = lock_holder(root)
    if holder:
        yield Finding(
            Severity.NOTE,
            ".lock",
            f"expected no writer, found that {holder} is writing.",
            "Check again after it has finished.",
        )
    try:
        require_plain_tree(root / STAGING)
    except DatasetError as error:
        yield Finding(Severity.ERROR, STAGING, _problem(error), "Inspect it and remove it.")
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
                    "expected only the parts that the manifest lists, found another file, which "
                    "readers of the folder would read, too.",
                    "Move it out of the folder."
                    if not (root / STAGING / "journal.json").exists()
                    else "Finish the interrupted publication first, see .staging/journal.json.",
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
            "Run the same command again to continue, or remove the folder to discard the work.",
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


def _older_versions(dataset: Dataset) -> Iterator[Finding]:
    """Verify the parts that only older versions need."""
    root = dataset.root
    free = f"`avatargpt collect {root}` frees the older versions; the current one is not affected."
    try:
        needed = needed_parts(root)
        unneeded = unneeded_files(root)
    except DatasetError as error:
        yield Finding(Severity.ERROR, VERSIONS, _problem(error), free)
        return
    for file, entry in needed.items():
        try:
            part = find_part(root / file)
        except DatasetError as error:
            yield Finding(Severity.ERROR, f"{VERSIONS}/{file}", _problem(error), free)
            continue
        for finding in _check_bytes(part, f"{VERSIONS}/{file}", entry):
            yield replace(finding, remedy=free)
    if unneeded and not (root / STAGING / "journal.json").exists():
        yield Finding(
            Severity.NOTE,
            VERSIONS,
            f"expected only what older versions need, found {len(unneeded)} other files.",
            f"`avatargpt collect {root}` removes them.",
        )


def _reviews(root: Path) -> Iterator[Finding]:
    """Verify that every review can be read, and is one that readers know."""
    remedy = "Restore this file from a copy of the dataset, or move it out of its folder."
    try:
        paths = review_files(root)
    except DatasetError as error:
        yield Finding(Severity.ERROR, REVIEWS, _problem(error), "Put the folder itself there.")
        return
    for path in paths:
        file = f"{REVIEWS}/{path.name}"
        try:
            reviews = read_review_file(path)
        except FileNotFoundError:  # folded meanwhile
            continue
        except DatasetError as error:
            yield Finding(Severity.ERROR, file, _problem(error), remedy)
            continue
        for review in reviews:
            problem = _review_problem(review)
            if problem:
                yield Finding(Severity.ERROR, file, f"{review.review_id}: {problem}", remedy)


def _review_problem(review: Review) -> str:
    if review.level not in get_args(Level) or review.judgment not in get_args(Judgment):
        known = ", ".join((*get_args(Level), *get_args(Judgment)))
        found = f"{review.level} and {review.judgment}"
        return f"expected a level and a judgment of {known}, found {found}."
    try:
        _ = review.content
    except ValueError:
        return f"expected JSON as its value, found {(review.value or '')[:60]!r}."
    return ""


def _problem(error: DatasetError) -> str:
    return str(error).partition(" Remedy: ")[0]


def _check_part(root: Path, table: str, entry: Mapping[str, Any], ids: "_Ids") -> Iterator[Finding]:
    """Verify one part and collect its ids."""
    file = entry["file"]
    path = root / file
    try:
        ensure_part(path)
        require_plain(path.parent, folder=True)
        require_plain(path)
    except DatasetError as error:
        yield Finding(Severity.ERROR, file, _problem(error), _RESTORE)
        ids.incomplete.add(table)
        return
    yield from _check_bytes(path, file, entry)
    try:
        for found in _check_rows(path, table, entry, ids):
            yield Finding(Severity.ERROR, file, found, _RESTORE)
    except DatasetError as error:
        found = _problem(error).removeprefix(f"{path}: ")
        yield Finding(Severity.ERROR, file, found, _RESTORE)
        ids.incomplete.add(table)


def _check_bytes(path: Path, file: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare the size and the hash of a part with its entry."""
    if path.stat().st_size != entry["bytes"]:
        found = f"expected {entry['bytes']} bytes, found {path.stat().st_size}."
        yield Finding(Severity.ERROR, file, found, _RESTORE)
    elif entry.get("sha256") is None:
        yield Finding(
            Severity.NOTE,
            file,
            "expected a SHA-256 in the manifest, found none: an earlier version wrote the part, "
            "and only its schema and rows can be verified.",
            "Nothing to do.",
        )
    elif (sha256 := _sha256(path)) != entry["sha256"]:
        found = f"expected SHA-256 {entry['sha256'][:16]}…, found {sha256[:16]}…."
        yield Finding(Severity.ERROR, file, found, _RESTORE)


def _check_rows(path: Path, table: str, entry: Mapping[str, Any], ids: "_Ids") -> Iterator[str]:
    """Read a whole part and yield its problems."""
    with open_part(path) as part:
        schema = current_schema(part, table)
        if not schema.equals(SCHEMAS[table]):
            wrong = [
                f"{field.name} ({field.type})"
                for field in SCHEMAS[table]
                if field.name not in schema.names or schema.field(field.name).type != field.type
            ]
            more = sorted(set(schema.names) - set(SCHEMAS[table].names))
            yield f"expected the columns of {table}, found a difference in {wrong or more}."
            ids.incomplete.add(table)
            return
        if part.metadata.num_rows != entry["rows"]:
            yield f"expected {entry['rows']} rows, found {part.metadata.num_rows}."
        bad_lengths = 0
        for batch in read_batches(part, table, SCHEMAS[table].names):
            ids.add(table, batch)
            bad_lengths += _bad_lengths(table, batch)
        if bad_lengths:
            yield f"expected lists that match their frames, found others in {bad_lengths} rows."


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
    """Collects the ids of all tables, to find duplicates and broken references.

    Attributes:
        incomplete: tables with an unreadable part; references to them are not checked.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.incomplete: set[str] = set()
        # Texts of plans and of imported motions have no clip: such datasets have no videos.
        self._no_videos = not dataset.num_rows("videos")
        self._seen: dict[str, set[tuple[Any, ...]]] = {table: set() for table in _UNIQUE}
        self._twice: dict[str, list[str]] = {table: [] for table in _UNIQUE}
        self._named: dict[tuple[str, str], set[str]] = {}

    def add(self, table: str, batch: pa.Table) -> None:
        """Collect the ids of a batch of rows."""
        if table in _UNIQUE:
            columns = [batch[name].to_pylist() for name in KEYS[table]]
            for key in zip(*columns, strict=True):
                if key in self._seen[table]:
                    self._twice[table].append("/".join(map(str, key)))
                self._seen[table].add(key)
        for child, column, _ in _REFERENCES:
            if child == table:
                named = self._named.setdefault((child, column), set())
                named.update(one for one in batch[column].to_pylist() if one)

    def findings(self) -> Iterator[Finding]:
        """Yield duplicates and broken references."""
        for table, twice in self._twice.items():
            if twice:
                found = f"expected each row once, found {len(twice)} duplicates ({_some(twice)})."
                yield Finding(Severity.ERROR, table, found, _RESTORE)
        for table, column, parent in _REFERENCES:
            if parent in self.incomplete or (self._no_videos and parent in {"videos", "clips"}):
                continue
            known = {key[0] for key in self._seen[parent]}
            lost = sorted(self._named.get((table, column), set()) - known)
            if lost:
                found = (
                    f"expected every {column} in {parent}, found {len(lost)} that are missing "
                    f"({_some(lost)})."
                )
                yield Finding(Severity.ERROR, table, found, _RESTORE)


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
