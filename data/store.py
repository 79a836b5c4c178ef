"""The dataset on disk: staged work, atomic publication, reading (DESIGN §4).

Layout under the dataset root::

    dataset.json            the manifest: what is published; always written last
    README.md               the dataset card
    <table>/part-*.parquet  published rows, immutable once written
    .lock  .staging/        a writer's own: unfinished work that readers never see

Finished pieces of work are *staged* one small file each, so that a killed run loses at most the
pieces in flight. A *publication* turns the staged pieces of complete videos into new parts. It
first writes the parts aside, then a journal that says which file goes where, then moves them, then
writes the manifest. A crash before the journal changes nothing; a crash after it is rolled forward
by the next writer.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data.locks import LockedError, lock_folder
from data.schemas import CODE_VERSION, FLOAT_LEAVES, SCHEMA_VERSION, SCHEMAS, Row
from data.skeleton import FPS, JOINT_NAMES

ROW_GROUP_ROWS: Final = 256
MANIFEST: Final = "dataset.json"
STAGING: Final = ".staging"


class DatasetError(ValueError):
    """The dataset cannot be used as asked; the message says what was found and what to do."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What one publication changed.

    Attributes:
        added: table to number of new rows.
        removed: table to number of rows taken out because newer ones replace them.
    """

    added: Mapping[str, int]
    removed: Mapping[str, int]


class Dataset:
    """A published dataset, for reading.

    Args:
        root: the dataset's folder.

    Raises:
        DatasetError: there is no dataset there, or its schema is newer than this code.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        path = root / MANIFEST
        if not path.is_file():
            raise DatasetError(
                f"{root}: expected a dataset, found no {MANIFEST}. "
                "Remedy: make one with `avatargpt annotate PATH… --dataset DIR`."
            )
        self.manifest: dict[str, Any] = json.loads(path.read_text())
        if self.manifest["schema_version"] != SCHEMA_VERSION:
            raise DatasetError(
                f"{root}: expected schema version {SCHEMA_VERSION}, found "
                f"{self.manifest['schema_version']}. Remedy: use the avatargpt version that wrote "
                f"it ({self.manifest['code_version']}), or annotate into a new folder."
            )

    def parts(self, table: str) -> list[Path]:
        """The published files of a table."""
        # Datasets from before a table existed have none of it.
        entry = self.manifest["tables"].get(table, {"parts": []})
        return [self.root / part["file"] for part in entry["parts"]]

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The published rows of a table, exactly those that the manifest lists."""
        schema = SCHEMAS[table]
        wanted = list(columns) if columns is not None else schema.names
        tables = [pq.read_table(part, columns=wanted) for part in self.parts(table)]
        if not tables:
            return pa.schema([schema.field(name) for name in wanted]).empty_table()
        return pa.concat_tables(tables)

    def frame(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The published rows of a table as a DataFrame."""
        return self.read(table, columns).to_pandas()


class DatasetWriter:
    """The one writer of a dataset at a time. Use :func:`open_writer`.

    Args:
        root: the dataset's folder; made when missing.
        recipe: everything that decides what the rows contain. A dataset has one recipe.
    """

    def __init__(self, root: Path, recipe: Mapping[str, Any]) -> None:
        self.root = root
        self.recipe = json.loads(json.dumps(recipe))
        self._staging = root / STAGING
        self._journal = self._staging / "journal.json"
        if self._journal.exists():
            self._roll_forward(json.loads(self._journal.read_text()))
        self._discard_unfinished_parts()
        self._manifest: dict[str, Any] = self._load_or_start_manifest()
        # Staged work of another recipe could never be published: it does not survive.
        recipe_id = hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()
        self.work = self._staging / f"work-{recipe_id[:12]}"
        for stale in self._staging.glob("work-*"):
            if stale != self.work:
                shutil.rmtree(stale)
        self.work.mkdir(parents=True, exist_ok=True)
        # What a killed run was writing: no name tells that it exists, so nobody would remove it.
        for unfinished in self.work.rglob("*.tmp-*"):
            unfinished.unlink(missing_ok=True)

    def published(self) -> Dataset | None:
        """What is published now, or None before the first publication."""
        return Dataset(self.root) if (self.root / MANIFEST).is_file() else None

    def publish(
        self,
        tables: Mapping[str, pa.Table],
        *,
        replace_rejections: Sequence[str] = (),
        replace_videos: Sequence[str] = (),
    ) -> Publication:
        """Append rows as one new part per table, atomically.

        Old parts are not touched, unless they hold rows that are replaced.

        Args:
            tables: table name to its new rows; a table that gets none may be left out.
            replace_rejections: ``item_id`` of rejections that no longer hold.
            replace_videos: ``video_id`` whose older rows, in every table, give way to the new ones.

        Returns:
            What changed.
        """
        serial = self._manifest["publications"] + 1
        aside = self._staging / "parts"
        moves: list[tuple[str, str]] = []
        deletes: list[str] = []
        entries: dict[str, list[dict[str, Any]]] = {}
        removed: dict[str, int] = {}
        added: dict[str, int] = {}
        for name, schema in SCHEMAS.items():
            parts: list[dict[str, Any]] = []
            # Datasets from before a table existed have none of it.
            for part in self._manifest["tables"].get(name, {"parts": []})["parts"]:
                kept, dropped = self._without(
                    name, part, set(replace_videos), set(replace_rejections)
                )
                removed[name] = removed.get(name, 0) + dropped
                if not dropped:
                    parts.append(part)
                elif kept.num_rows:
                    parts.append(self._write_part(aside, part["file"], name, kept, serial))
                    moves.append((str(aside / part["file"]), part["file"]))
                else:
                    deletes.append(part["file"])
            table = tables.get(name, schema.empty_table())
            added[name] = table.num_rows
            if table.num_rows:
                file = f"{name}/part-{serial:06d}.parquet"
                parts.append(self._write_part(aside, file, name, table, serial))
                moves.append((str(aside / file), file))
            entries[name] = parts
        manifest = {
            **self._manifest,
            "publications": serial,
            "code_version": CODE_VERSION,
            "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "tables": {
                name: {"rows": sum(part["rows"] for part in parts), "parts": parts}
                for name, parts in entries.items()
            },
        }
        write_json(self._journal, {"moves": moves, "deletes": deletes, "manifest": manifest})
        self._roll_forward({"moves": moves, "deletes": deletes, "manifest": manifest})
        self._manifest = manifest
        return Publication(added, {name: count for name, count in removed.items() if count})

    def _without(
        self, name: str, part: Mapping[str, Any], videos: set[str], rejections: set[str]
    ) -> tuple[pa.Table, int]:
        """The part's rows that stay, and how many do not."""
        empty = SCHEMAS[name].empty_table()
        by_video = videos and "video_id" in SCHEMAS[name].names
        if not by_video and (name != "rejections" or not rejections):
            return empty, 0
        path = self.root / part["file"]
        keys = pq.read_table(path, columns=_key_columns(name)).to_pandas()
        gone = keys["video_id"].isin(videos)
        if "item_id" in keys:
            gone |= keys["item_id"].isin(rejections)
        dropped = int(gone.sum())
        kept = pq.read_table(path).filter(pa.array(~gone)) if dropped else empty
        return kept, dropped

    def _write_part(
        self, aside: Path, file: str, name: str, table: pa.Table, serial: int
    ) -> dict[str, Any]:
        path = aside / file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(path, name, table)
        return {
            "file": file,
            "rows": table.num_rows,
            "bytes": path.stat().st_size,
            "publication": serial,
        }

    def _roll_forward(self, journal: dict[str, Any]) -> None:
        """Carry out a journal; harmless when part of it, or all of it, was done before."""
        for source, file in journal["moves"]:
            target = self.root / file
            target.parent.mkdir(parents=True, exist_ok=True)
            # A source that is gone was moved before the crash.
            if Path(source).exists():
                Path(source).replace(target)
        for file in journal["deletes"]:
            (self.root / file).unlink(missing_ok=True)
        write_text(self.root / "README.md", dataset_card(journal["manifest"]))
        write_json(self.root / MANIFEST, journal["manifest"])
        self._journal.unlink(missing_ok=True)

    def _discard_unfinished_parts(self) -> None:
        shutil.rmtree(self._staging / "parts", ignore_errors=True)

    def _load_or_start_manifest(self) -> dict[str, Any]:
        if (self.root / MANIFEST).is_file():
            manifest = Dataset(self.root).manifest
            changed = sorted(
                stage
                for stage in {*self.recipe, *manifest["recipe"]}
                if self.recipe.get(stage) != manifest["recipe"].get(stage)
            )
            if changed:
                raise DatasetError(
                    f"{self.root}: this dataset was made with another configuration of "
                    f"{', '.join(changed)} (expected {[manifest['recipe'].get(c) for c in changed]}"
                    f", found {[self.recipe.get(c) for c in changed]}). "
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
            "skeleton": {"name": "smpl22", "joint_names": JOINT_NAMES},
            "fps": FPS,
            "units": "metres, pixels, seconds",
            "up_axis": "y",
            "recipe": self.recipe,
            "tables": {name: {"rows": 0, "parts": []} for name in SCHEMAS},
        }


@contextmanager
def open_writer(root: Path, recipe: Mapping[str, Any]) -> Generator[DatasetWriter]:
    """Open a dataset for writing; a second writer at the same time is refused.

    Args:
        root: the dataset's folder; made when missing.
        recipe: everything that decides what the rows contain, JSON-serialisable.

    Raises:
        DatasetError: another process writes to it, it was made with another recipe, or the folder
            cannot be made.
    """
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root}: expected a folder, found a file. Remedy: choose another one.")
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(root))
        except LockedError as error:
            raise DatasetError(
                f"{root}: another run is writing to this dataset ({error}). "
                "Remedy: wait until it ends, or choose another folder."
            ) from error
        yield DatasetWriter(root, recipe)


@contextmanager
def open_published(root: Path) -> Generator[DatasetWriter]:
    """Open a dataset to add what is derived from its rows, such as motion tokens.

    Raises:
        DatasetError: there is no dataset, or another process writes to it.
    """
    with open_writer(root, Dataset(root).manifest["recipe"]) as writer:
        yield writer


def rows_table(name: str, rows: Iterable[Row]) -> pa.Table:
    """Rows as an Arrow table of the named schema; a column that a row lacks is an error."""
    schema = SCHEMAS[name]
    listed = list(rows)
    for row in listed:
        if row.keys() != set(schema.names):
            raise ValueError(
                f"{name}: expected columns {sorted(schema.names)}, found {sorted(row)}"
            )
    return pa.Table.from_pylist(listed, schema)


def write_table(path: Path, name: str, table: pa.Table) -> None:
    """Write one Parquet file of a table with the dataset's encodings, durably."""
    leaves = [f"{column}.list.element" for column in FLOAT_LEAVES.get(name, ())]
    dictionary = [field.name for field in SCHEMAS[name] if pa.types.is_string(field.type)]
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    pq.write_table(
        table.cast(SCHEMAS[name]),
        temporary,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        # The stubs know only booleans here; both take column names.
        use_dictionary=dictionary,  # pyright: ignore[reportArgumentType]
        use_byte_stream_split=leaves or False,  # pyright: ignore[reportArgumentType]
    )
    _sync(temporary)
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically and durably."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically and durably."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_bytes(content)
    _sync(temporary)
    temporary.replace(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _key_columns(name: str) -> list[str]:
    return ["video_id", "item_id"] if name == "rejections" else ["video_id"]


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """The dataset's README: a Hugging Face card with one configuration per table, and counts."""
    tables = manifest["tables"]
    configs = "\n".join(
        f"- config_name: {name}\n  data_files: {name}/*.parquet"
        + ("\n  default: true" if name == "annotations" else "")
        for name, table in tables.items()
        if table["parts"]
    )
    rows = "\n".join(
        f"| {name} | {table['rows']:,} | {sum(p['bytes'] for p in table['parts']) / 1e6:,.2f} |"
        for name, table in tables.items()
    )
    return f"""---
configs:
{configs}
---
# Text + 3-D motion dataset

Made by avatargpt {manifest["code_version"]}, last published {manifest["updated_at"]}.
Motion: {len(manifest["skeleton"]["joint_names"])} joints ({manifest["skeleton"]["name"]}),
{manifest["fps"]} frames per second, {manifest["units"]}, {manifest["up_axis"]} up.

| table | rows | MB |
|---|---:|---:|
{rows}

```python
import pandas as pd
annotations = pd.read_parquet("annotations")   # coarse, medium, fine of every clip
```
"""
