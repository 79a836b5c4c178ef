"""Older versions of a dataset, which stay readable until they are collected.

A version is the state after a publication, and has its number. A publication that only adds rows
keeps all older parts, so that an older version is a part of the newer manifest. One that replaces
rows keeps the manifest before it and the parts that it replaces beside the tables, since readers of
a table's folder take it as one table::

    .versions/dataset-000005.json       the manifest before publication 6 replaced rows
    .versions/<table>/part-*.parquet    parts that no longer belong to their tables
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from data.schemas import SCHEMAS
from data.store.manifest import (
    DatasetError,
    read_manifest,
    read_manifest_file,
    require_plain,
    require_plain_tree,
)
from data.store.mirrors import VERSIONS, fetch_missing

REPLACED_AT: Final = "replaced_at"
"""Field of a kept manifest: when the next version was published, ISO 8601, UTC."""

_KEPT_MANIFEST: Final = re.compile(r"dataset-(?P<number>[0-9]{6,9})\.json")


@dataclass(frozen=True, slots=True)
class Version:
    """Versions of a dataset between two replacements of rows.

    Attributes:
        number: number of the newest of them.
        oldest: number of the oldest; those from it to ``number`` only added rows.
        updated_at: when ``number`` was published, ISO 8601, UTC.
        replaced_at: when the next version replaced rows of it; empty for the current version.
        rows: number of rows by table.
        held_bytes: size of the parts that only this and older versions need.
    """

    number: int
    oldest: int
    updated_at: str
    replaced_at: str
    rows: Mapping[str, int]
    held_bytes: int


def kept_manifest(root: Path, number: int) -> Path:
    """Return the file that holds the manifest of an older version."""
    return root / VERSIONS / f"dataset-{number:06d}.json"


def kept_part(part: Path) -> Path:
    """Return where a part of a table lies after it was replaced."""
    return part.parent.parent / VERSIONS / part.parent.name / part.name


def root_of_part(part: Path) -> Path:
    """Return the folder of the dataset that a part belongs to, replaced or not."""
    folder = part.parent.parent
    return folder.parent if folder.name == VERSIONS else folder


def find_part(part: Path) -> Path:
    """Return where a part of a table lies: in its table, or since it was replaced beside it.

    A part of a dataset on S3 is downloaded.

    Raises:
        DatasetError: it is in neither place, or a symbolic link.
        data.remote.errors.RemoteError: it cannot be downloaded.
    """
    ensure_part(part)
    try:
        require_plain(part)
    except DatasetError as error:
        kept = kept_part(part)
        # A part only ever moves in this direction, so that it cannot be missed between the looks.
        if not isinstance(error.__cause__, FileNotFoundError) or not os.path.lexists(kept):
            raise
        require_plain(kept.parent.parent, folder=True)
        require_plain(kept.parent, folder=True)
        require_plain(kept)
        return kept
    return part


def ensure_part(part: Path) -> None:
    """Download a part of a dataset on S3 that is not here; other datasets have all of theirs.

    Raises:
        data.remote.errors.RemoteError: it cannot be downloaded.
    """
    fetch_missing(part.parent.parent, f"{part.parent.name}/{part.name}")


def read_version(root: Path, number: int) -> dict[str, Any]:
    """Read the manifest of a version.

    Args:
        root: folder of the dataset.
        number: number of the version, ``publications`` of its manifest.

    Raises:
        DatasetError: there is no such version (any more), or its manifest is damaged.
    """
    manifest = read_manifest(root)
    newer = [kept for kept in _kept_numbers(root) if kept >= number]
    base = _read_kept(root, min(newer)) if newer else manifest
    # Read again, since a collection first tells which versions go, and then removes them.
    current = read_manifest(root)
    oldest, newest = oldest_version(current), current["publications"]
    if not oldest <= number <= newest:
        raise DatasetError(
            f"{root}: expected a version from {oldest} to {newest}, found {number}. Older ones "
            f"were collected or never kept. Remedy: `avatargpt versions {root}` shows the readable."
        )
    return base if base["publications"] == number else _before_additions(base, number)


def read_versions(root: Path) -> list[Version]:
    """List the versions that can be read, oldest first.

    Raises:
        DatasetError: there is no dataset, or a manifest is damaged.
    """
    current = read_manifest(root)
    oldest = oldest_version(current)
    manifests = [_read_kept(root, kept) for kept in _kept_numbers(root) if kept >= oldest]
    manifests += [current] if current["publications"] else []
    versions: list[Version] = []
    for index, manifest in enumerate(manifests):
        after = (
            part_sizes(manifests[index + 1]) if index + 1 < len(manifests) else part_sizes(manifest)
        )
        held = sum(size for file, size in part_sizes(manifest).items() if file not in after)
        versions.append(
            Version(
                number=manifest["publications"],
                oldest=oldest,
                updated_at=manifest["updated_at"],
                replaced_at=manifest.get(REPLACED_AT, ""),
                rows={name: table["rows"] for name, table in manifest["tables"].items()},
                held_bytes=held,
            )
        )
        oldest = manifest["publications"] + 1
    return versions


def oldest_version(manifest: Mapping[str, Any]) -> int:
    """Return the number of the oldest version that a dataset keeps, from its manifest.

    Earlier code kept no versions: only the current one of its datasets can be read.
    """
    return manifest.get("oldest_version", manifest["publications"])


def part_sizes(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes of all parts of a manifest by file."""
    return {part["file"]: part["bytes"] for part in _parts(manifest)}


def needed_parts(root: Path) -> dict[str, Mapping[str, Any]]:
    """Return the entries of the parts that older versions need and no table holds, by file.

    Raises:
        DatasetError: a manifest is damaged.
    """
    current = read_manifest(root)
    published = part_sizes(current)
    return {
        part["file"]: part
        for kept in _kept_numbers(root)
        if kept >= oldest_version(current)
        for part in _parts(_read_kept(root, kept))
        if part["file"] not in published
    }


def unneeded_files(root: Path) -> list[Path]:
    """List the files in the folder of versions that no version needs, such as collected ones.

    Raises:
        DatasetError: the folder holds symbolic links, or a manifest is damaged.
    """
    folder = root / VERSIONS
    require_plain_tree(folder)
    oldest = oldest_version(read_manifest(root))
    needed = {folder / file for file in needed_parts(root)}
    needed |= {kept_manifest(root, kept) for kept in _kept_numbers(root) if kept >= oldest}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path not in needed)


def remove_files(root: Path, files: Collection[Path]) -> int:
    """Remove files of the folder of versions, and folders that are left empty; return the bytes."""
    freed = 0
    for path in files:
        freed += path.stat().st_size
        path.unlink()
    for folder in (*(root / VERSIONS / name for name in SCHEMAS), root / VERSIONS):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return freed


def _kept_numbers(root: Path) -> list[int]:
    """Return the numbers of the versions whose manifests were kept, in order."""
    folder = root / VERSIONS
    if not os.path.lexists(folder):
        return []
    require_plain(folder, folder=True)
    matches = (_KEPT_MANIFEST.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match["number"]) for match in matches if match)


def _read_kept(root: Path, number: int) -> dict[str, Any]:
    path = kept_manifest(root, number)
    manifest = read_manifest_file(path)
    if manifest["publications"] != number:
        raise DatasetError(
            f"{path}: expected the manifest of version {number}, found that of "
            f"{manifest['publications']}. Remedy: `avatargpt collect {root}` frees the older "
            "versions; the current one is not affected."
        )
    return manifest


def _before_additions(manifest: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the manifest of an older version, to which later ones only added rows."""
    tables: dict[str, Any] = {}
    for name, table in manifest["tables"].items():
        parts = [part for part in table["parts"] if part["publication"] <= number]
        tables[name] = {"rows": sum(part["rows"] for part in parts), "parts": parts}
    # When it was published is not known any more.
    return {**manifest, "publications": number, "updated_at": "", "tables": tables}


def _parts(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for table in manifest["tables"].values():
        yield from table["parts"]
