"""Write datasets: staged work and atomic publication (DESIGN §4).

Layout under the dataset root::

    dataset.json            the manifest, which lists the published parts
    README.md               the dataset card
    <table>/part-*.parquet  published rows, immutable once written
    .versions/              what older versions need beside these (data/store/versions.py)
    .lock  .staging/        used by the writer; readers ignore them

The result of every item is *staged* as one small file, so that a killed run loses only the items in
progress. A *publication* turns the staged results of complete videos into new parts. It writes the
parts to ``.staging``, then a journal that lists the parts to move and to replace; it moves the
parts, keeps the manifest if parts are replaced, writes the new one, and moves the replaced parts to
``.versions``. After a crash before the journal nothing
has changed. After a later crash the next writer completes the publication, even if the dataset was
moved in between. A finished run leaves neither ``.lock`` nor ``.staging`` behind.

A dataset on S3 is written through a linked folder (data/remote/links.py). Work is staged in the
folder; a publication is committed by replacing the manifest on S3 (data/store/pushing.py), and the
folder follows without a journal, because it can be brought up to date from S3 at any time.
"""

import functools
import hashlib
import json
import operator
import os
import shutil
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data.motion.skeleton import FPS, JOINT_NAMES
from data.records import RejectionKey
from data.remote.links import find_link
from data.schemas import CODE_VERSION, KEYS, SCHEMA_VERSION, SCHEMAS, Row
from data.store.card import CARD, check_license, dataset_card
from data.store.dataset import WHOLE_BATCH_ROWS, Dataset, open_part
from data.store.locks import LockedError, LockUnavailableError, lock_folder
from data.store.manifest import (
    MANIFEST,
    STAGING,
    DatasetError,
    Journal,
    committed_name,
    manifest_parts,
    part_name,
    read_journal,
    read_manifest,
    replaced_name,
    require_plain,
    require_plain_tree,
)
from data.store.mirrors import VERSIONS, refresh, refresh_versions, remember
from data.store.parquet import (
    TEMPORARY,
    WrittenFile,
    fresh_temporary,
    read_batches,
    write_tables,
)
from data.store.pushing import (
    COMMIT,
    ConflictError,
    collect_objects,
    manifest_bytes,
    new_commit,
    push,
)
from data.store.recipes import format_differences, plain_recipe, recipe_differences
from data.store.versions import (
    REPLACED_AT,
    find_part,
    kept_manifest,
    kept_part,
    needed_parts,
    oldest_version,
    part_sizes,
    remove_files,
    unneeded_files,
)

_NEW_FOLDER: Final = (
    "Remedy: annotate or import everything into a new folder; this dataset can still be read."
)


@dataclass(frozen=True, slots=True)
class Publication:
    """The changes of one publication.

    Attributes:
        added: number of new rows by table.
        removed: number of replaced rows by table.
    """

    added: Mapping[str, int]
    removed: Mapping[str, int]


class DatasetWriter:
    """Writes a dataset. There is at most one writer at a time; use :func:`open_writer`.

    Args:
        root: folder of the dataset; created if missing.
        recipe: all settings that affect the rows. A dataset has one recipe.
    """

    def __init__(self, root: Path, recipe: Mapping[str, Any]) -> None:
        self.root = root
        self.recipe = plain_recipe(json.loads(json.dumps(recipe)))
        self._staging = root / STAGING
        self._aside = self._staging / "parts"
        self._journal = self._staging / "journal.json"
        self._link = find_link(root)
        refresh(root, MANIFEST)
        self._require_plain()
        if self._journal.exists():
            self._roll_forward(read_journal(self._journal))
        if self._aside.exists():
            shutil.rmtree(self._aside)
        self._manifest: dict[str, Any] = self._load_or_start_manifest()
        # Staged work of another recipe can never be published.
        recipe_id = hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()
        self.work = self._staging / f"work-{recipe_id[:12]}"
        for stale in self._staging.glob("work-*"):
            if stale != self.work:
                shutil.rmtree(stale)
        self.work.mkdir(parents=True, exist_ok=True)
        # Partial files of a killed run, which nothing else would remove.
        for unfinished in (
            *self._staging.rglob(f"*{TEMPORARY}*"),
            *root.glob(f"{MANIFEST}{TEMPORARY}*"),
            *root.glob(f"{CARD}{TEMPORARY}*"),
            *root.glob(f"{VERSIONS}/*{TEMPORARY}*"),
        ):
            unfinished.unlink(missing_ok=True)

    def _require_plain(self) -> None:
        """Check that no write can leave the dataset's folder through a symbolic link."""
        require_plain_tree(self._staging)
        require_plain_tree(self.root / VERSIONS)
        for name in SCHEMAS:
            if os.path.lexists(self.root / name):
                require_plain(self.root / name, folder=True)
        if os.path.lexists(self.root / MANIFEST):
            read_manifest(self.root)

    def published(self) -> Dataset | None:
        """Open the published dataset; None before the first publication."""
        return Dataset(self.root) if (self.root / MANIFEST).is_file() else None

    def publish(
        self,
        tables: Mapping[str, pa.Table],
        *,
        replace_rejections: Collection[RejectionKey] = (),
        replace_videos: Sequence[str] = (),
    ) -> Publication:
        """Append rows as one new part per table, atomically.

        Existing parts are immutable. If rows of a part are replaced, its remaining rows are written
        to a new part.

        Args:
            tables: new rows by table; tables without new rows may be left out.
            replace_rejections: rejections to remove.
            replace_videos: ids of videos whose existing rows are removed from all tables.

        Returns:
            The changes.

        Raises:
            DatasetError: a part with rows that are replaced is damaged, or the rows have columns
                that the table's older parts lack or spell differently.
            data.remote.errors.RemoteError: the dataset is on S3 and cannot be written.
        """
        rows = dict(tables)
        while True:
            try:
                return self._publish(rows, replace_rejections, replace_videos)
            except ConflictError:
                # On S3 only. The rows are added to the version that another run has published.
                rows = self._continue(rows, replace_rejections, replace_videos)

    def _publish(
        self,
        tables: Mapping[str, pa.Table],
        replace_rejections: Collection[RejectionKey],
        replace_videos: Sequence[str],
    ) -> Publication:
        self._require_current_columns(tables)
        serial = self.next_publication
        entries: dict[str, list[Mapping[str, Any]]] = {}
        removed: dict[str, int] = {}
        added: dict[str, int] = {}
        for name, schema in SCHEMAS.items():
            gone = _replaced_rows(name, replace_videos, replace_rejections)
            parts: list[Mapping[str, Any]] = []
            for part in manifest_parts(self._manifest, name):
                kept, dropped = self._without(name, part, gone, serial)
                removed[name] = removed.get(name, 0) + dropped
                if kept is not None:
                    parts.append(kept)
            table = tables.get(name, schema.empty_table())
            added[name] = table.num_rows
            if table.num_rows:
                file = part_name(name, serial)
                parts.append(part_entry(file, self._write_aside(file, name, [table]), serial))
            entries[name] = parts
        self.commit(entries, self._licenses_with(tables.get("motions")))
        return Publication(added, {name: count for name, count in removed.items() if count})

    @property
    def next_publication(self) -> int:
        """The number of the version that the next publication makes."""
        return self._manifest["publications"] + 1

    def aside(self, file: str) -> Path:
        """Return where a new part is written before :meth:`commit`; its folder exists."""
        path = self._aside / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def commit(
        self,
        entries: Mapping[str, Sequence[Mapping[str, Any]]],
        licenses: Sequence[str],
        license_id: str | None = None,
    ) -> None:
        """Publish the next version, atomically.

        Args:
            entries: entries of the parts of every table. Those that the dataset does not have yet
                lie :meth:`aside`.
            licenses: licenses of all motions.
            license_id: license that the card states; None keeps the present one.
        """
        previous = self._manifest
        before = set(part_sizes(previous))
        commit = new_commit()
        if self._link is not None:
            entries = {
                table: [
                    part if part["file"] in before else self._with_token(part, commit)
                    for part in parts
                ]
                for table, parts in entries.items()
            }
        tables = {
            name: {"rows": sum(part["rows"] for part in parts), "parts": list(parts)}
            for name, parts in entries.items()
        }
        manifest: dict[str, Any] = {
            **previous,
            "publications": self.next_publication,
            "oldest_version": max(oldest_version(previous), 1),
            "code_version": CODE_VERSION,
            "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "licenses": list(licenses),
            "tables": tables,
        }
        if license_id is not None:
            manifest["license"] = license_id
        if self._link is not None:
            manifest[COMMIT] = commit
        after = set(part_sizes(manifest))
        retires = sorted(before.difference(after))
        journal = Journal(
            moves=sorted(after.difference(before)),
            retires=retires,
            manifest=manifest,
            previous=previous if retires else None,
        )
        if self._link is None:
            write_json(self._journal, journal.model_dump(mode="json"))
            self._roll_forward(journal)
        else:
            etag = self._push(journal)
            self._roll_forward(journal)
            remember(self._link, etag)
        self._manifest = manifest

    def _with_token(self, part: Mapping[str, Any], commit: str) -> dict[str, Any]:
        """Rename a new part that lies aside, so that its key on S3 is that of no other writer."""
        name = committed_name(part["file"], commit[:8])
        self.aside(part["file"]).replace(self.aside(name))
        return {**part, "file": name}

    def _push(self, journal: Journal) -> str:
        """Publish a version on S3; return the identifier of its manifest."""
        assert self._link is not None  # noqa: S101 - the caller looked
        kept = None
        if journal.previous is not None:
            name = f"{VERSIONS}/{kept_manifest(self.root, journal.previous['publications']).name}"
            kept = name, manifest_bytes(_kept(journal.previous, journal.manifest))
        return push(
            self._link,
            self._manifest,
            journal.manifest,
            files={file: self._aside / file for file in journal.moves},
            retires=journal.retires,
            kept=kept,
            card=(CARD, dataset_card(journal.manifest).encode()),
        )

    def _continue(
        self,
        tables: Mapping[str, pa.Table],
        replace_rejections: Collection[RejectionKey],
        replace_videos: Sequence[str],
    ) -> dict[str, pa.Table]:
        """Continue the version that another run has published.

        Returns:
            The rows without those of videos, motions and rejections that the version has already
            and that are not replaced.
        """
        shutil.rmtree(self._aside, ignore_errors=True)
        refresh(self.root, MANIFEST)
        self._manifest = self._load_or_start_manifest()
        published = Dataset(self.root)
        replaced = {"video_id": set(replace_videos), "motion_id": set[str]()}
        left = dict(tables)
        for table, column in (("videos", "video_id"), ("motions", "motion_id")):
            if table not in tables:
                continue
            ours = set(tables[table][column].to_pylist()) - replaced[column]
            found = {row[column] for row in published.rows(table, [column], {column: ours})}
            for name, rows in left.items():
                if found and column in rows.column_names:
                    left[name] = rows.filter(~_is_in(column, found))
        if "rejections" in left:
            keys = KEYS["rejections"]
            gone = {(key.item_id, key.stage.value) for key in replace_rejections}
            known = {tuple(row[key] for key in keys) for row in published.rows("rejections", keys)}
            rows = zip(*(left["rejections"][key].to_pylist() for key in keys), strict=True)
            new = [row in gone or row not in known for row in rows]
            left["rejections"] = left["rejections"].filter(pa.array(new, pa.bool_()))
        return left

    def forget_versions(self, before: int) -> int:
        """Free what only older versions need; they can no longer be read.

        Args:
            before: number of the oldest version to keep; at most the current one.

        Returns:
            The number of bytes that were freed.

        Raises:
            DatasetError: the folder of the versions is damaged.
        """
        oldest = min(max(before, oldest_version(self._manifest)), self._manifest["publications"])
        if oldest > oldest_version(self._manifest):
            # First, so that nobody opens a version whose parts are about to go.
            self._replace_manifest({**self._manifest, "oldest_version": oldest})
        if self._link is None:
            return remove_files(self.root, unneeded_files(self.root))
        manifests = {
            f"{VERSIONS}/{kept_manifest(self.root, number).name}"
            for number in range(oldest, self._manifest["publications"])
        }
        needed = manifests | needed_parts(self.root).keys()
        freed = collect_objects(self._link, part_sizes(self._manifest), needed)
        refresh_versions(self._link)
        remove_files(self.root, unneeded_files(self.root))
        return freed

    def _replace_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest by one of the same version."""
        card, etag = dataset_card(manifest), ""
        if self._link is not None:
            manifest = {**manifest, COMMIT: new_commit()}
            sent = CARD, card.encode()
            etag = push(self._link, self._manifest, manifest, files={}, card=sent)
        write_text(self.root / CARD, card)
        write_json(self.root / MANIFEST, manifest)
        if self._link is not None:
            remember(self._link, etag)
        self._manifest = manifest

    def _require_current_columns(self, tables: Mapping[str, pa.Table]) -> None:
        """Refuse parts with different columns: other readers take a folder as one table."""
        if self._manifest["schema_version"] == SCHEMA_VERSION:
            return
        for name, table in tables.items():
            if table.num_rows and any(map(self._has_former_columns, self._parts_of(name))):
                raise DatasetError(
                    f"{self.root}: expected schema version {SCHEMA_VERSION} to add {name}, found "
                    f"{self._manifest['schema_version']}. {_NEW_FOLDER}"
                )

    def _parts_of(self, name: str) -> list[Path]:
        return [self.root / part["file"] for part in manifest_parts(self._manifest, name)]

    def _has_former_columns(self, path: Path) -> bool:
        with open_part(find_part(path)) as file:
            return file.schema_arrow.names != SCHEMAS[path.parent.name].names

    def set_license(self, license_id: str) -> None:
        """Set the license of the dataset, which its card states.

        Args:
            license_id: identifier of Hugging Face, such as ``cc-by-4.0``.

        Raises:
            ValueError: the identifier is unknown.
        """
        self._replace_manifest({**self._manifest, "license": check_license(license_id)})

    def _licenses_with(self, motions: pa.Table | None) -> list[str]:
        """Return the licenses of all motions, including the new ones."""
        known = set(self._manifest.get("licenses", ()))
        new = [] if motions is None else motions["license"].unique().to_pylist()
        return sorted(known | {text for text in new if text})

    def _without(
        self, name: str, part: Mapping[str, Any], gone: "_ReplacedRows | None", serial: int
    ) -> tuple[Mapping[str, Any] | None, int]:
        """Write the remaining rows of a part to a new one.

        Returns:
            The entry of the part that remains, if any, and the number of removed rows.
        """
        if gone is None:
            return part, 0
        path = find_part(self.root / part["file"])
        with open_part(path) as file:
            keys = read_batches(file, name, gone.columns, batch_rows=WHOLE_BATCH_ROWS)
            dropped = sum(batch.filter(gone.condition).num_rows for batch in keys)
            if not dropped:
                return part, 0
            if dropped == part["rows"]:
                return None, dropped
            kept = (
                batch.filter(~gone.condition)
                for batch in read_batches(file, name, SCHEMAS[name].names)
            )
            target = replaced_name(part["file"], serial)
            return part_entry(target, self._write_aside(target, name, kept), serial), dropped

    def _write_aside(self, file: str, name: str, tables: Iterable[pa.Table]) -> WrittenFile:
        return write_tables(self.aside(file), name, tables)

    def _roll_forward(self, journal: Journal) -> None:
        """Execute a journal. Steps that were already done are skipped.

        Raises:
            DatasetError: a part to move is missing.
        """
        for file in journal.moves:
            # A part that is not in `.staging` was moved before the crash.
            if not (self._aside / file).exists():
                require_plain(self.root / file)
        for file in journal.moves:
            target = self.root / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if (self._aside / file).exists():
                (self._aside / file).replace(target)
        if journal.previous is not None:
            kept = _kept(journal.previous, journal.manifest)
            write_json(kept_manifest(self.root, kept["publications"]), kept)
        write_text(self.root / CARD, dataset_card(journal.manifest))
        write_json(self.root / MANIFEST, journal.manifest)
        # Last, because readers of the folder have nothing else until the new parts are whole.
        for part in (self.root / file for file in journal.retires):
            if part.exists():
                kept_part(part).parent.mkdir(parents=True, exist_ok=True)
                part.replace(kept_part(part))
        for file in journal.deletes:
            (self.root / file).unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)

    def remove_empty_staging(self) -> None:
        """Remove the staging folder if it holds no unfinished work."""
        for folder, _, _ in os.walk(self._staging, topdown=False):
            _remove_if_empty(Path(folder))

    def _load_or_start_manifest(self) -> dict[str, Any]:
        if (self.root / MANIFEST).is_file():
            manifest = Dataset(self.root).manifest
            changed = recipe_differences(manifest["recipe"], self.recipe)
            if changed and manifest["schema_version"] != SCHEMA_VERSION:
                raise DatasetError(
                    f"{self.root}: expected schema version {SCHEMA_VERSION} to add rows of another "
                    f"configuration, found {manifest['schema_version']}. {_NEW_FOLDER}"
                )
            if changed:
                raise DatasetError(
                    f"{self.root}: this dataset was made with another configuration: "
                    f"{format_differences(changed)}. "
                    "Remedy: use the same configuration, or another --dataset folder."
                )
            return manifest
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return {
            "format": "avatargpt-dataset",
            "schema_version": SCHEMA_VERSION,
            "code_version": CODE_VERSION,
            "created_at": now,
            "updated_at": now,
            "publications": 0,
            "skeleton": {"name": "smpl22", "joint_names": list(JOINT_NAMES)},
            "fps": FPS,
            "units": "meters, pixels, seconds",
            "up_axis": "y",
            "recipe": self.recipe,
            "tables": {name: {"rows": 0, "parts": []} for name in SCHEMAS},
        }


@contextmanager
def open_writer(root: Path, recipe: Mapping[str, Any]) -> Generator[DatasetWriter]:
    """Open a dataset for writing. Only one process can write at a time.

    On exit, an empty staging folder is removed, and so is a new dataset without content.

    Args:
        root: folder of the dataset; created if missing.
        recipe: all settings that affect the rows, JSON-serializable.

    Raises:
        DatasetError: another process writes to the dataset, it was made with another recipe, the
            folder cannot be created or locked, or it contains symbolic links.
    """
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root}: expected a folder, found a file. Remedy: choose another one.")
    is_new = not root.exists()
    try:
        with ExitStack() as stack:
            try:
                stack.enter_context(lock_folder(root))
            except LockedError as error:
                raise DatasetError(
                    f"{root}: another run is writing to this dataset ({error}). "
                    "Remedy: wait until it ends, or choose another folder."
                ) from error
            except LockUnavailableError as error:
                raise DatasetError(str(error)) from error
            writer = DatasetWriter(root, recipe)
            stack.callback(writer.remove_empty_staging)
            yield writer
    finally:
        if is_new:
            _remove_if_empty(root)


@contextmanager
def open_published(root: Path) -> Generator[DatasetWriter]:
    """Open a dataset to add rows that are derived from its rows, such as motion tokens.

    Raises:
        DatasetError: there is no dataset, or another process writes to it.
    """
    with open_writer(root, Dataset(root).manifest["recipe"]) as writer:
        yield writer


def _kept(previous: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a manifest for the older versions."""
    return {**previous, REPLACED_AT: manifest["updated_at"]}


def part_entry(file: str, written: WrittenFile, publication: int) -> dict[str, Any]:
    """Create the manifest entry of a part that a publication adds."""
    return {
        "file": file,
        "rows": written.rows,
        "bytes": written.bytes,
        "sha256": written.sha256,
        "publication": publication,
    }


@dataclass(frozen=True, slots=True)
class _ReplacedRows:
    """The rows of a table that a publication removes.

    Attributes:
        condition: true for these rows; never null, so that its negation is true for all others.
        columns: columns that the condition reads.
    """

    condition: pc.Expression
    columns: tuple[str, ...]


def _replaced_rows(
    table: str, video_ids: Collection[str], rejections: Collection[RejectionKey]
) -> _ReplacedRows | None:
    conditions: list[pc.Expression] = []
    columns: list[str] = []
    if video_ids and "video_id" in SCHEMAS[table].names:
        conditions.append(_is_in("video_id", video_ids))
        columns.append("video_id")
    if rejections and table == "rejections":
        for stage in sorted({key.stage for key in rejections}):
            item_ids = [key.item_id for key in rejections if key.stage == stage]
            conditions.append(_is_in("stage", [stage.value]) & _is_in("item_id", item_ids))
        columns += ["item_id", "stage"]
    if not conditions:
        return None
    return _ReplacedRows(functools.reduce(operator.or_, conditions), tuple(columns))


def _is_in(column: str, values: Collection[str]) -> pc.Expression:
    return pc.field(column).isin(pa.array(list(values), pa.string()))


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def rows_table(name: str, rows: Iterable[Row]) -> pa.Table:
    """Create an Arrow table from rows, which must have exactly the columns of the schema.

    Raises:
        ValueError: a row has other columns.
    """
    schema = SCHEMAS[name]
    listed = list(rows)
    for row in listed:
        if row.keys() != set(schema.names):
            raise ValueError(
                f"{name}: expected columns {sorted(schema.names)}, found {sorted(row)}"
            )
    return pa.Table.from_pylist(listed, schema)


def write_table(path: Path, name: str, table: pa.Table) -> None:
    """Write one table to a Parquet file, see :func:`data.store.parquet.write_tables`."""
    write_tables(path, name, [table])


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically and durably."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically and durably."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = fresh_temporary(path)
    with temporary.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
