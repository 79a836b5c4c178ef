"""Merge datasets of one recipe, such as the shards that several machines annotated.

Parts are copied byte by byte. Only those with rows that another dataset has, too, and those of a
former schema version are written anew. All rows are published together as one version.

What is merged are *items* with all of their rows: videos, and motions. An item of two datasets is
taken once if its rows are equal; where and when its file lay, and how long a service took, do not
count. The reviews of all datasets come along, each once.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import Stage
from data.schemas import KEYS, SCHEMA_VERSION, SCHEMAS
from data.store.dataset import WHOLE_BATCH_ROWS, Dataset, open_part
from data.store.manifest import STAGING, DatasetError, manifest_parts, part_name, replaced_name
from data.store.parquet import WrittenFile, read_batches, write_tables
from data.store.recipes import format_differences, recipe_differences
from data.store.reviews import Review, add_reviews, read_reviews
from data.store.versions import find_part, part_sizes, root_of_part
from data.store.writer import DatasetWriter, open_writer, part_entry
from data.upkeep.hashing import hash_rows

Prefer = Literal["first"]
_Key = tuple[str, str]

_ITEM_COLUMNS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("videos", "clips", "poses", "captions", "annotations"), "video_id"),
    **dict.fromkeys(("motions", "motion_tokens"), "motion_id"),
}
"""Column with the item that a row belongs to. A rejection belongs to a video, if to any."""
_PASSING: Final = frozenset(
    {"path", "source_path", "mtime_ns", "code_version", "latency_s", "request_id"}
)
"""Columns that differ between machines although the content is the same."""
_MAX_PARTS: Final = 9999
_COPIED_BYTES: Final = 2**22


@dataclass(frozen=True, slots=True)
class Merged:
    """Result of :func:`merge_datasets`.

    Attributes:
        rows: number of rows that were added, by table.
        known: number of items that several datasets had with equal rows, taken once.
        preferred: ids of items that differed, taken from the first dataset that has them.
        copied_parts, written_parts: number of parts copied byte by byte, and written anew.
        licenses: licenses that the datasets state; with several, the card of the result states
            none, until one is set.
        unfinished: datasets with staged work, which is not part of the merge.
        reviews: number of reviews that were added.
        reviews_left_out: number of reviews of people in items that differed and were taken from
            another dataset, where a number may stand for another person.
    """

    rows: Mapping[str, int]
    known: int
    preferred: Sequence[str]
    copied_parts: int
    written_parts: int
    licenses: Sequence[str]
    unfinished: Sequence[Path]
    reviews: int = 0
    reviews_left_out: int = 0


def merge_datasets(
    sources: Sequence[Path],
    root: Path,
    *,
    prefer: Prefer | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Merged:
    """Add the rows of several datasets to one, which is created if missing.

    Args:
        sources: folders of the datasets; they are not changed.
        root: folder of the dataset that gets the rows. Its own rows come first.
        prefer: ``first`` takes an item that differs from the first dataset that has it.
        report: called with the number of bytes that were added, and of all that will be.

    Raises:
        ValueError: there is nothing to merge, or the result is one of the sources.
        DatasetError: the datasets have different recipes, items that differ, or groups of motions
            in different splits; one is damaged; or another process writes to the result.
    """
    if not sources:
        raise ValueError("expected datasets to merge, found none. Remedy: name their folders.")
    datasets = [Dataset(source) for source in sources]
    for dataset in datasets:
        if root.exists() and dataset.root.samefile(root):
            raise ValueError(
                f"{root}: expected a dataset other than those to merge, found the same folder. "
                "Remedy: leave it out; what it holds is kept."
            )
        _require_recipe(datasets[0], dataset)
    with open_writer(root, datasets[0].manifest["recipe"]) as writer:
        before = writer.published()
        if before is not None and before.manifest["schema_version"] != SCHEMA_VERSION:
            raise DatasetError(
                f"{root}: expected schema version {SCHEMA_VERSION} to add rows, found "
                f"{before.manifest['schema_version']}. Remedy: merge it and the others into a new "
                "folder."
            )
        every = [*([before] if before is not None else []), *datasets]
        _require_splits(every)
        choice = _choose(every, prefer)
        # Before the rows: a merge that is killed between them has lost nothing, and is run again.
        reviews, left_out = _add_reviews(root, every, choice)
        merged = _add(writer, every, choice, report)
        return replace(merged, reviews=reviews, reviews_left_out=left_out)


def _add_reviews(root: Path, datasets: Sequence[Dataset], choice: "_Choice") -> tuple[int, int]:
    """Add the reviews of all datasets; return how many were added, and left out."""
    differed, none = set(choice.preferred), pa.array([], pa.string())
    kept: list[Review] = []
    left_out = 0
    for number, dataset in enumerate(datasets):
        if dataset.root == root:
            continue
        not_taken = differed & set(choice.items[number].get("video_id", none).to_pylist())
        for review in read_reviews(dataset.root):
            # Reviews of texts tell by their hash whether they apply.
            if review.level == "person" and review.video_id in not_taken:
                left_out += 1
            else:
                kept.append(review)
    return add_reviews(root, kept), left_out


def _require_recipe(first: Dataset, other: Dataset) -> None:
    changed = recipe_differences(first.manifest["recipe"], other.manifest["recipe"])
    if changed:
        raise DatasetError(
            f"{other.root}: expected the recipe of {first.root}, found another: "
            f"{format_differences(changed)}. Remedy: merge datasets of one configuration only."
        )


def _require_splits(datasets: Sequence[Dataset]) -> None:
    """Check that no group of motions is learned from in one dataset and tested on in another."""
    known: dict[str, tuple[set[str], Path]] = {}
    for dataset in datasets:
        found: dict[str, set[str]] = {}
        for group, split in dataset.counts_together("motions", ["group", "split"]):
            found.setdefault(group, set()).add(split)
        for group, splits in found.items():
            before, root = known.setdefault(group, (splits, dataset.root))
            if group and not (splits <= before or before <= splits):
                raise DatasetError(
                    f"{dataset.root}: expected the motions of the group {group!r} in the split "
                    f"{', '.join(sorted(before))}, as in {root}, found "
                    f"{', '.join(sorted(splits))}: a model would be tested on what it learned. "
                    "Remedy: import the sources of both into one folder."
                )
            known[group] = before | splits, root


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which rows are not taken, because another dataset has them.

    Attributes:
        items: ids of items by dataset, for each column of items.
        rejections: keys of rejections by dataset.
        known: number of items with equal rows in several datasets.
        preferred: ids of items that differed.
    """

    items: Sequence[Mapping[str, pa.Array]]
    rejections: Sequence[Set[_Key]]
    known: int
    preferred: Sequence[str]

    def taken(self, number: int, table: str, batch: pa.Table) -> pa.Table:
        """Keep the rows of a dataset, given by its number, that are taken from it."""
        if table == "rejections":
            left_out = self.rejections[number]
            keys = zip(*(batch[name].to_pylist() for name in KEYS[table]), strict=True)
            return batch.filter(pa.array([key not in left_out for key in keys], pa.bool_()))
        column = _ITEM_COLUMNS[table]
        if column not in self.items[number]:
            return batch
        return batch.filter(~pc.field(column).isin(self.items[number][column]))

    def may_drop(self, number: int, table: str) -> bool:
        """Whether rows of a table of a dataset are not taken."""
        if table == "rejections":
            return bool(self.rejections[number])
        return _ITEM_COLUMNS[table] in self.items[number]


def _choose(datasets: Sequence[Dataset], prefer: Prefer | None) -> _Choice:
    """Decide from which dataset each item of several is taken: from the first that has it.

    Raises:
        DatasetError: an item has different rows, and none is preferred.
    """
    items: list[dict[str, set[str]]] = [{} for _ in datasets]
    known, preferred = 0, list[str]()
    for column in dict.fromkeys(_ITEM_COLUMNS.values()):
        tables = [table for table, of in _ITEM_COLUMNS.items() if of == column]
        for item_id, digests in sorted(_shared(datasets, column, tables).items()):
            first, *others = sorted(digests)
            if len(set(digests.values())) == 1:
                known += 1
            elif prefer == "first":
                preferred.append(item_id)
            else:
                roots = ", ".join(str(datasets[number].root) for number in others)
                raise DatasetError(
                    f"{column.removesuffix('_id')} {item_id}: expected the same rows as in "
                    f"{datasets[first].root}, found others in {roots}. Remedy: see them with "
                    "`avatargpt diff`; --prefer first takes those of the dataset named first."
                )
            for number in others:
                items[number].setdefault(column, set()).add(item_id)
    arrays = [{c: pa.array(sorted(ids), pa.string()) for c, ids in one.items()} for one in items]
    return _Choice(arrays, _repeated_rejections(datasets), known, preferred)


def _shared(
    datasets: Sequence[Dataset], column: str, tables: Sequence[str]
) -> dict[str, dict[int, int]]:
    """Find the items of several datasets, each with a digest of its rows by dataset."""
    seen = set[str]()
    shared: dict[str, dict[int, int]] = {}
    for dataset in datasets:
        own = {
            item_id
            for table in tables
            for batch in dataset.batches(table, [column], batch_rows=WHOLE_BATCH_ROWS)
            for item_id in batch[column].unique().to_pylist()
        }
        shared |= {item_id: {} for item_id in own & seen}
        seen |= own
    for number, dataset in enumerate(datasets if shared else ()):
        for table in tables:
            compared = [name for name in SCHEMAS[table].names if name not in _PASSING]
            salt = np.uint64(zlib.crc32(table.encode()))
            for batch in dataset.batches(table, compared, {column: shared}):
                hashes = hash_rows(batch, compared) ^ salt
                for item_id, row in zip(batch[column].to_pylist(), hashes.tolist(), strict=True):
                    # A sum does not depend on the order of the rows.
                    digest = shared[item_id].get(number, 0) + row
                    shared[item_id][number] = digest % 2**64
    return shared


def _repeated_rejections(datasets: Sequence[Dataset]) -> list[Set[_Key]]:
    """Find rejections that an earlier dataset has, and those of videos that another one annotated.

    A file that ingest rejected is another matter than the video that it may hold.
    """
    columns = [*KEYS["rejections"], "video_id"]
    rejected = {
        row["video_id"]
        for dataset in datasets
        for row in dataset.rows("rejections", columns)
        if row["stage"] != Stage.INGEST and row["video_id"]
    }
    annotated_by: dict[str, int] = {}
    for number, dataset in enumerate(datasets if rejected else ()):
        for row in dataset.rows("videos", ["video_id"], {"video_id": rejected}):
            annotated_by.setdefault(row["video_id"], number)
    taken, repeated = set[_Key](), list[Set[_Key]]()
    for number, dataset in enumerate(datasets):
        own, others = set[_Key](), set[_Key]()
        for row in dataset.rows("rejections", columns):
            key = row["item_id"], row["stage"]
            elsewhere = (
                row["stage"] != Stage.INGEST and annotated_by.get(row["video_id"], number) != number
            )
            (others if elsewhere or key in taken else own).add(key)
        taken |= own
        repeated.append(others)
    return repeated


def _add(
    writer: DatasetWriter,
    datasets: Sequence[Dataset],
    choice: _Choice,
    report: Callable[[int, int], None] | None,
) -> Merged:
    """Write the parts of the result aside, and publish them."""
    serial = writer.next_publication
    entries: dict[str, list[Mapping[str, Any]]] = {}
    rows: dict[str, int] = {}
    copied = written = done = 0
    sizes = (size for dataset in datasets for size in part_sizes(dataset.manifest).values())
    total = sum(sizes)
    for table in SCHEMAS:
        parts = [
            (number, entry)
            for number, dataset in enumerate(datasets)
            for entry in manifest_parts(dataset.manifest, table)
        ]
        if len(parts) > _MAX_PARTS:
            raise DatasetError(
                f"{table}: expected at most {_MAX_PARTS} parts to merge, found {len(parts)}. "
                "Remedy: `avatargpt compact` each dataset first."
            )
        entries[table] = []
        rows[table] = 0
        for piece, (number, entry) in enumerate(parts, 1):
            root = datasets[number].root
            is_own = root == writer.root
            name = (
                replaced_name(entry["file"], serial)
                if is_own
                else part_name(table, serial, piece if len(parts) > 1 else None)
            )
            part = find_part(root / entry["file"])
            num_dropped, is_current = _inspect(part, table, number, choice)
            if num_dropped == entry["rows"]:
                continue
            if is_own and not num_dropped:
                entries[table].append(entry)
                continue
            if num_dropped or not is_current:
                file = write_tables(
                    writer.aside(name), table, _taken_rows(part, table, number, choice)
                )
                written += 1
            else:
                file = _copy(part, writer.aside(name), entry)
                copied += 1
            entries[table].append(part_entry(name, file, serial))
            rows[table] += 0 if is_own else file.rows
            done += entry["bytes"]
            if report is not None:
                report(done, total)
    manifests = [dataset.manifest for dataset in datasets]
    stated = sorted({manifest.get("license", "") for manifest in manifests})
    if copied or written:
        licenses = {one for manifest in manifests for one in manifest.get("licenses", ())}
        writer.commit(entries, sorted(licenses), stated[0] if len(stated) == 1 else "")
    unfinished = [
        dataset.root
        for dataset in datasets
        if any(path.is_file() for path in dataset.root.glob(f"{STAGING}/work-*/**/*"))
    ]
    return Merged(
        {table: count for table, count in rows.items() if count},
        choice.known,
        choice.preferred,
        copied,
        written,
        stated,
        unfinished,
    )


def _inspect(part: Path, table: str, number: int, choice: _Choice) -> tuple[int, bool]:
    """Return how many rows of a part are not taken, and whether it has the current columns."""
    with open_part(part) as file:
        dropped = 0
        if choice.may_drop(number, table):
            columns = KEYS[table] if table == "rejections" else [_ITEM_COLUMNS[table]]
            for batch in read_batches(file, table, columns, batch_rows=WHOLE_BATCH_ROWS):
                dropped += batch.num_rows - choice.taken(number, table, batch).num_rows
        return dropped, file.schema_arrow.equals(SCHEMAS[table])


def _taken_rows(part: Path, table: str, number: int, choice: _Choice) -> Iterator[pa.Table]:
    with open_part(part) as file:
        for batch in read_batches(file, table, SCHEMAS[table].names):
            yield choice.taken(number, table, batch)


def _copy(part: Path, target: Path, entry: Mapping[str, Any]) -> WrittenFile:
    """Copy a part byte by byte, durably.

    Raises:
        DatasetError: it is not what its dataset's manifest says.
    """
    sha256, size = hashlib.sha256(), 0
    with part.open("rb") as source, target.open("xb") as file:
        while block := source.read(_COPIED_BYTES):
            sha256.update(block)
            size += file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if entry.get("sha256", sha256.hexdigest()) != sha256.hexdigest():
        raise DatasetError(
            f"{part}: expected the SHA-256 that the manifest states, found another. Remedy: "
            f"`avatargpt check {root_of_part(part)}` shows what is damaged, and what to do."
        )
    return WrittenFile(entry["rows"], size, sha256.hexdigest())
