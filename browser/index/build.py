"""Build the index of a dataset's version: one row per entry of the list, its words, and places.

Tables of a dataset are Parquet files with gigabytes of joints, in the order in which they were
published. The index is a folder in the cache with what lists, filters and searches need, as files
that are mapped into memory::

    entries.arrow      what the list shows of each described person, undescribed clip, motion and
                       rejection, except what can be filtered
    filter-*.npy       number of an entry's value of a filter; 0 for none
    order-*.npy        entries in the orders of the list, and of the people to review
    word*              see words.py
    places-*.arrow     part and row of every row of a clip, video or motion; entries by kind and id
    about.json         values of the filters with their counts

DuckDB reads the tables and joins them; its rows pass in batches, so that memory holds a few short
columns, and the distinct words and ids.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from browser.index.files import BATCH, Array, RowFile, Sorted, compute, write_array
from browser.index.words import WordsBuilder
from data.schemas import FORMER_NAMES, SCHEMAS
from data.store.dataset import Dataset, open_part
from data.store.manifest import DatasetError

FORMAT: Final = 3
"""Raised whenever the files of the index change."""
_MEMORY: Final = "2GB"
"""Memory limit of DuckDB, which spills to the cache folder beyond it."""
_THREADS: Final = 4
"""Most threads of DuckDB: the page is used while a newer version is indexed."""

FACETS: Final = (
    *("kind", "activity", "people", "camera", "verdict", "outcome", "split", "source"),
    *("reason", "stage"),
)
"""Filters of which an entry has one value; it can have several objects."""
SHOWN: Final = (
    *("id", "track_id", "sample", "video_id", "path", "start_s", "end_s", "title", "supported"),
    *("contradicted", "not_measurable", "score", "quality"),
)
"""Columns of ``entries.arrow``."""
ORDERS: Final = ("file", "score", "contradicted", "quality", "longest", "shortest")
"""Orders of the list."""


def index_path(root: Path, manifest: Mapping[str, object], cache: Path) -> Path:
    """Return where the index of a version lies: in a folder per dataset, a folder per version.

    Args:
        root: folder of the dataset.
        manifest: manifest of the version.
        cache: cache folder.
    """
    folder = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    state = json.dumps([FORMAT, manifest["created_at"], manifest["updated_at"], manifest["tables"]])
    return cache / "browser" / folder / hashlib.sha256(state.encode()).hexdigest()[:16]


def build_index(dataset: Dataset, path: Path, progress: Callable[[str], None]) -> Path:
    """Build the index of a version, unless it exists; indexes of older versions are removed.

    Args:
        dataset: the dataset, opened at the version.
        path: see :func:`index_path`.
        progress: called with what is done next; the building ends if it raises.

    Raises:
        DatasetError: a part cannot be read.
        OSError: the cache folder cannot be written.
    """
    if path.is_dir():
        return path
    building = path.with_suffix(".building")
    shutil.rmtree(building, ignore_errors=True)
    made, parts = building / "index", building / "parts"
    for folder in (made, parts):
        folder.mkdir(parents=True)
    try:
        with closing(duckdb.connect()) as db:
            db.execute(f"SET memory_limit = '{_MEMORY}'")
            db.execute(f"SET threads = least({_THREADS}, current_setting('threads'))")
            db.execute("SET temp_directory = ?", [str(building / "spill")])
            _Build(db, dataset, made, parts, progress).run()
    except (duckdb.Error, pa.ArrowException) as error:
        raise DatasetError(
            f"{dataset.root}: expected tables that can be indexed, found: "
            f"{' '.join(str(error).split())[:300]} Remedy: `avatargpt check {dataset.root}` shows "
            "what is damaged, and what to do."
        ) from error
    made.replace(path)
    for older in set(path.parent.iterdir()) - {path}:
        if older.is_dir():
            shutil.rmtree(older, ignore_errors=True)
        else:
            older.unlink(missing_ok=True)
    return path


class _Build:
    """One build of the index.

    Args:
        db: database in memory.
        dataset: the dataset.
        made: folder of the index.
        parts: folder for what is only needed meanwhile.
        progress: called with what is done next.
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        dataset: Dataset,
        made: Path,
        parts: Path,
        progress: Callable[[str], None],
    ) -> None:
        self._db = db
        self._dataset = dataset
        self._made = made
        self._progress = progress
        self._words = WordsBuilder(parts)
        self._codes: dict[str, dict[str, int]] = {name: {} for name in FACETS}
        self._filters: dict[str, list[Array]] = {name: [] for name in FACETS}
        self._draws: list[Array] = []

    def run(self) -> None:
        for table, key in PLACED.items():
            self._progress(f"locating {table}")
            self._places(table, key)
        for table, columns in _TABLES.items():
            self._progress(f"reading {table}")
            self._view(f"stored_{table}", table)
            self._db.execute(f"CREATE TEMP TABLE {table} AS SELECT {columns} FROM stored_{table}")
        for table in ("annotations", "motions"):
            self._view(table, table)
        self._read()
        self._progress("sorting words")
        self._words.write(self._made)
        self._progress("sorting entries")
        self._sort()

    def _places(self, table: str, key: str) -> None:
        """Write where the rows of each item are."""
        ids: list[pa.ChunkedArray] = []
        for part in self._dataset.parts(table):
            with open_part(part) as file:
                ids.append(file.read([key]).column(0).combine_chunks())
        lengths = [len(one) for one in ids]
        found = pa.chunked_array(ids, pa.string()).combine_chunks()
        Sorted.write(
            self._made / f"places-{table}.arrow",
            found,
            part=np.repeat(np.arange(len(ids)), lengths),
            row=np.concatenate([np.arange(0), *(np.arange(length) for length in lengths)]),
        )
        if table == "annotations":
            described = pa.table({"clip_id": found.unique()})
            self._db.register("described", described)

    def _view(self, name: str, table: str) -> None:
        """Create a view of a table with the columns of the current schema."""
        parts = self._dataset.parts(table)
        schema = SCHEMAS[table]
        if not parts:
            self._db.register(name, schema.empty_table())
            return
        stored = _stored_columns(parts, table)
        columns = ", ".join(
            f'"{found}" AS "{name}"' if found else f'{_EMPTY_LISTS.get(name, "NULL")} AS "{name}"'
            for name, found in stored.items()
        )
        self._db.execute(f"CREATE TEMP VIEW {name} AS SELECT {columns} FROM {_parquet(parts)}")

    def _read(self) -> None:
        """Write what the list shows of every entry, and collect what it is found by."""
        rows = 0
        schema = pa.schema([_FIELDS[name] for name in SHOWN])
        with (
            pa.OSFile(str(self._made / "entries.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, schema) as writer,
        ):
            for name, (source, columns) in _ENTRIES.items():
                self._progress(f"reading {name}")
                for batch in self._db.sql(_select(source, columns)).to_arrow_reader(BATCH):
                    self._progress(f"reading {name} ({rows:,} entries)")
                    shown = [batch.column(name).cast(schema.field(name).type) for name in SHOWN]
                    writer.write_batch(pa.RecordBatch.from_arrays(shown, schema=schema))
                    self._words.add(batch.column("text").cast(pa.string()), batch.column("objects"))
                    for facet in FACETS:
                        self._filters[facet].append(self._coded(facet, batch.column(facet)))
                    self._draws.append(batch.column("draw").to_numpy())
                    rows += batch.num_rows

    def _coded(self, facet: str, values: pa.Array) -> Array:
        """Return the number of each value, from 1; 0 for none."""
        encoded = values.cast(pa.string()).dictionary_encode()
        codes = self._codes[facet]
        of_value = [
            codes.setdefault(value, len(codes) + 1) if value else 0
            for value in encoded.dictionary.to_pylist()
        ]
        indices = compute.fill_null(encoded.indices, len(of_value)).to_numpy()
        return np.array([*of_value, 0], np.uint32)[indices]

    def _sort(self) -> None:
        """Write filters and orders, and where entries are by their kind and id."""
        entries = RowFile(self._made / "entries.arrow")
        empty = np.zeros(0, np.uint32)
        filters = {name: np.concatenate([empty, *of]) for name, of in self._filters.items()}
        counts: dict[str, dict[str, int]] = {}
        for name, codes in filters.items():
            write_array(self._made / f"filter-{name}.npy", codes)
            numbers = np.bincount(codes, minlength=len(self._codes[name]) + 1).tolist()
            counts[name] = dict(zip(self._codes[name], numbers[1:], strict=True))
        kinds = pa.array(["", *self._codes["kind"]], pa.large_string()).take(
            pa.array(filters["kind"])
        )
        space = pa.scalar(" ", pa.large_string())
        names = compute.binary_join_element_wise(kinds, _whole(entries, "id"), space)
        numbers = np.arange(len(entries))
        Sorted.write(self._made / "places-entries.arrow", names, row=numbers)
        rejected = filters["kind"] == self._codes["kind"].get("rejection", -1)
        orders = _orders(entries, rejected)
        draws = np.concatenate([np.zeros(0, np.uint64), *self._draws])
        people = filters["kind"] == self._codes["kind"].get("person", -1)
        described = people & (compute.utf8_length(_whole(entries, "title")).to_numpy() > 0)
        contradicted = _numbers(entries, "contradicted", 0) > 0
        at_random = np.argsort(draws, kind="stable")
        at_random = at_random[described[at_random]]
        # Contradicted texts first, then little supported ones, then by chance.
        score = np.minimum(_numbers(entries, "score", 1), 1)
        worth = np.lexsort((score[at_random], ~contradicted[at_random]))
        orders |= {"random": at_random, "worth": at_random[worth]}
        for name, order in orders.items():
            write_array(self._made / f"order-{name}.npy", order)
        about = {
            "filters": counts,
            "people": int(described.sum()),
            "contradicted": int((described & contradicted).sum()),
        }
        (self._made / "about.json").write_text(json.dumps(about))


def _orders(entries: RowFile, rejected: Array) -> dict[str, Array]:
    """Return the numbers of all entries in each order; that of files settles ties."""
    keys = ("path", "start_s", "id", "track_id", "sample")
    table = pa.table({"rejected": pa.array(rejected)} | {k: _whole(entries, k) for k in keys})
    files = compute.sort_indices(
        table, [(name, "ascending") for name in table.column_names]
    ).to_numpy()
    seconds = _numbers(entries, "end_s", np.nan) - _numbers(entries, "start_s", np.nan)
    by: dict[str, Array] = {
        "score": _numbers(entries, "score", 2),
        "contradicted": -_numbers(entries, "contradicted", 0),
        "quality": _numbers(entries, "quality", 2),
        "longest": -np.nan_to_num(seconds, nan=0.0),
        "shortest": seconds,
    }
    orders = {name: files[np.argsort(key[files], kind="stable")] for name, key in by.items()}
    return {"file": files} | orders


def _whole(entries: RowFile, name: str) -> pa.Array:
    column = entries.column(name)
    return column.cast(pa.large_string()).combine_chunks() if name in _TEXTS else column


def _numbers(entries: RowFile, name: str, missing: float) -> Array:
    """Return a column of numbers; those that are missing have the given value."""
    return compute.fill_null(entries.column(name).cast(pa.float64()), missing).to_numpy()


_TEXTS: Final = ("id", "video_id", "path", "title")
_FIELDS: Final = (
    {name: pa.field(name, pa.string()) for name in _TEXTS}
    | {name: pa.field(name, pa.float64()) for name in ("start_s", "end_s", "score", "quality")}
    | {
        name: pa.field(name, pa.int16())
        for name in ("track_id", "sample", "supported", "contradicted", "not_measurable")
    }
)

PLACED: Final = {
    "videos": "video_id",
    "clips": "clip_id",
    "poses": "clip_id",
    "captions": "clip_id",
    "annotations": "clip_id",
    "motions": "motion_id",
    "rejections": "item_id",
}
"""Tables whose rows are looked up, with the column of the id."""

_EMPTY_LISTS: Final = {"objects": "[]", "events": "[]", "others": "[]", "credible": "[]"}

_DRAW: Final = (
    "md5_number_lower(id || '/' || coalesce(track_id, -1) || '/' || coalesce(sample, -1)) AS draw"
)
"""A number by chance, equal whenever the index is built."""

_OBJECTS: Final = "list_distinct([o.name for o in objects if o.name <> 'person'])"

_SPAN: Final = (
    "try_cast(regexp_extract(r.item, '([0-9.]+)-([0-9.]+) s( person [0-9]+)?$', {}) AS DOUBLE)"
)
"""Start (1) or end (2) of the span that ends the name of a rejected item."""

_TABLES: Final = {
    "videos": "video_id, path, coarse",
    "clips": "clip_id, video_id, start_s, end_s, coalesce(people_count, num_people) AS people, "
    f"camera, quality, coalesce({_OBJECTS}, []) AS objects",
    "rejections": "item_id, video_id, item, stage, reason, detail",
}
"""Short columns that are kept while the index is built."""

_VERDICTS: Final = (
    "list_concat([s.grounding.verdict for s in a.fine], [g.verdict for g in a.medium_grounding])"
)
_COUNTS: Final = {
    name: f"coalesce(len([v for v in {_VERDICTS} if v = '{name}']), 0)"
    for name in ("supported", "contradicted", "not_measurable")
}

_DEFAULTS: Final = {"objects": "[]::VARCHAR[]"} | dict.fromkeys(_COUNTS, "0")
"""What an entry has that its kind does not define; else null."""

_OF_CLIP: Final = {
    "start_s": "c.start_s",
    "end_s": "c.end_s",
    "people": "c.people",
    "camera": "c.camera",
    "quality": "c.quality",
}

_ENTRIES: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "annotations": (
        "annotations a LEFT JOIN clips c ON a.clip_id = c.clip_id "
        "LEFT JOIN videos v ON a.video_id = v.video_id",
        {
            **_OF_CLIP,
            "kind": "'person'",
            "id": "a.clip_id",
            "track_id": "a.track_id",
            "sample": "a.sample",
            "video_id": "a.video_id",
            "path": "v.path",
            "start_s": "a.start_s",
            "end_s": "a.end_s",
            "title": "coalesce(a.medium[1], '')",
            "activity": "a.activity",
            "objects": "list_concat([o.name for o in a.objects if o.name <> 'person'], c.objects)",
            **_COUNTS,
            # These are the counts of the same row.
            "verdict": "CASE WHEN contradicted > 0 THEN 'contradicted' WHEN supported > 0 "
            "THEN 'supported' WHEN not_measurable > 0 THEN 'not_measurable' END",
            "score": "a.grounding_score",
            "outcome": "a.outcome",
            "source": "'video'",
            "text": "concat_ws(' ', array_to_string(a.medium, ' '), "
            "array_to_string([s.text for s in a.fine], ' '), "
            "a.coarse, a.activity, parse_filename(v.path), a.clip_id)",
        },
    ),
    "clips": (
        "clips c LEFT JOIN videos v ON c.video_id = v.video_id "
        "WHERE c.clip_id NOT IN (FROM described WHERE clip_id IS NOT NULL) AND c.clip_id NOT IN "
        "(SELECT item_id FROM rejections WHERE item_id IS NOT NULL)",
        {
            **_OF_CLIP,
            "kind": "'clip'",
            "id": "c.clip_id",
            "video_id": "c.video_id",
            "path": "v.path",
            "title": "''",
            "objects": "c.objects",
            "source": "'video'",
            "text": "concat_ws(' ', v.coarse, parse_filename(v.path), c.clip_id)",
        },
    ),
    "motions": (
        "motions m",
        {
            "kind": "'motion'",
            "id": "m.motion_id",
            "video_id": "m.video_id",
            "path": "m.source_path",
            "start_s": "0",
            "end_s": "m.num_frames / 20.0",
            "title": "coalesce([t.text for t in m.texts if t.level <> 'coarse'][1], "
            "m.texts[1].text, array_to_string(m.labels, ', '), '')",
            "activity": "m.labels[1]",
            "people": "1",
            "split": "m.split",
            "source": "m.source",
            "quality": "m.quality",
            "text": "concat_ws(' ', array_to_string([t.text for t in m.texts], ' '), "
            "array_to_string(m.labels, ' '), parse_filename(m.source_path), m.source_id, "
            "m.motion_id)",
        },
    ),
    "rejections": (
        "rejections r LEFT JOIN clips c ON split_part(r.item_id, '/', 1) = c.clip_id "
        "LEFT JOIN videos v ON r.video_id = v.video_id",
        {
            **_OF_CLIP,
            "kind": "'rejection'",
            "id": "r.item_id",
            "track_id": "try_cast(split_part(r.item_id, '/', 2) AS SMALLINT)",
            "video_id": "r.video_id",
            "path": "coalesce(v.path, r.item)",
            "start_s": f"coalesce(c.start_s, {_SPAN.format(1)})",
            "end_s": f"coalesce(c.end_s, {_SPAN.format(2)})",
            "title": "r.detail",
            "reason": "r.reason",
            "stage": "r.stage",
            "text": "concat_ws(' ', r.item, r.detail, r.reason, r.item_id)",
        },
    ),
}
"""Where the entries of each table come from, and what they have, in SQL."""


def _select(source: str, columns: Mapping[str, str]) -> str:
    """Return SQL that reads entries, with all columns and a number by chance."""
    names = (*SHOWN, *FACETS, "objects", "text")
    values = (f"{columns.get(name, _DEFAULTS.get(name, 'NULL'))} AS {name}" for name in names)
    return f"SELECT *, {_DRAW} FROM (SELECT {', '.join(values)} FROM {source})"


def _parquet(parts: Sequence[Path]) -> str:
    """Return SQL that reads parts. Their names are those of the manifest, checked."""
    names = ", ".join("'" + str(part).replace("'", "''") + "'" for part in parts)
    return f"read_parquet([{names}], union_by_name = true)"


def _stored_columns(parts: Sequence[Path], table: str) -> dict[str, str]:
    """Map the columns of a table to their names in its parts; empty for those that all lack."""
    stored: set[str] = set()
    for part in parts:
        with open_part(part) as file:
            stored.update(file.schema_arrow.names)
    return {
        name: next((n for n in (name, FORMER_NAMES.get(name, name)) if n in stored), "")
        for name in SCHEMAS[table].names
    }
