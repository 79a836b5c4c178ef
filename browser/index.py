"""The index of a dataset's version: one row per entry of the list, its words, and where rows lie.

Tables of a dataset are Parquet files with gigabytes of joints, in the order in which they were
published. The index holds what lists, filters and searches need, as a DuckDB file in the cache
folder::

    entries   one row per described person, undescribed clip, motion and rejection
    words     every word of the entries, in alphabetical order
    postings  number of a word and of an entry that has it, in the order of the words
    places    part and row of every row of a clip, video or motion
    facets    values of the filters with their counts

Words are numbered in alphabetical order, so that all words with a prefix are one range, and of the
postings only this range is read.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from data.schemas import FORMER_NAMES, SCHEMAS
from data.store.dataset import Dataset, open_part
from data.store.manifest import DatasetError

FORMAT: Final = 2
"""Raised whenever the tables of the index change."""
MEMORY: Final = "2GB"
"""Memory limit of DuckDB, which spills to the cache folder beyond it."""

FACETS: Final = (
    *("kind", "activity", "object", "people", "camera", "verdict", "outcome", "split", "source"),
    *("reason", "stage"),
)
"""Filters of the list."""

_ENTRY_COLUMNS: Final = """
    kind VARCHAR, id VARCHAR, track_id SMALLINT, sample SMALLINT, video_id VARCHAR, path VARCHAR,
    start_s DOUBLE, end_s DOUBLE, title VARCHAR, activity VARCHAR, objects VARCHAR,
    people SMALLINT, camera VARCHAR, verdict VARCHAR, supported SMALLINT, contradicted SMALLINT,
    not_measurable SMALLINT, score DOUBLE, outcome VARCHAR, split VARCHAR, source VARCHAR,
    reason VARCHAR, stage VARCHAR, quality DOUBLE, text VARCHAR
"""


def index_path(root: Path, manifest: Mapping[str, object], cache: Path) -> Path:
    """Return where the index of a version lies: in a folder per dataset, a file per version.

    Args:
        root: folder of the dataset.
        manifest: manifest of the version.
        cache: cache folder.
    """
    folder = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    state = json.dumps([FORMAT, manifest["created_at"], manifest["updated_at"], manifest["tables"]])
    return cache / "browser" / folder / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.duckdb"


def build_index(dataset: Dataset, path: Path, progress: Callable[[str], None]) -> Path:
    """Build the index of a version, unless it exists; indexes of older versions are removed.

    Args:
        dataset: the dataset, opened at the version.
        path: see :func:`index_path`.
        progress: called with what is done next.

    Raises:
        DatasetError: a part cannot be read.
        OSError: the cache folder cannot be written.
    """
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_suffix(".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    made = building / "index.duckdb"
    try:
        with closing(duckdb.connect(made)) as db:
            db.execute(f"SET memory_limit = '{MEMORY}'")
            db.execute("SET temp_directory = ?", [str(building / "spill")])
            _Build(db, dataset, progress).run()
    except duckdb.Error as error:
        raise DatasetError(
            f"{dataset.root}: expected tables that can be indexed, found: "
            f"{' '.join(str(error).split())[:300]} Remedy: `avatargpt check {dataset.root}` shows "
            "what is damaged, and what to do."
        ) from error
    for older in path.parent.glob("*.duckdb"):
        older.unlink()
    made.replace(path)
    shutil.rmtree(building, ignore_errors=True)
    return path


class _Build:
    """One build of the index."""

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        dataset: Dataset,
        progress: Callable[[str], None],
    ) -> None:
        self._db = db
        self._dataset = dataset
        self._progress = progress

    def run(self) -> None:
        for table in ("videos", "clips", "annotations", "motions", "rejections"):
            self._view(table)
        self._db.execute(f"CREATE TEMP TABLE raw ({_ENTRY_COLUMNS})")
        for name, select in _ENTRIES.items():
            self._progress(f"reading {name}")
            self._db.execute(f"INSERT INTO raw {select}")
        self._progress("sorting")
        self._db.execute(
            """CREATE TABLE entries AS SELECT
            (row_number() OVER (ORDER BY kind = 'rejection', path, start_s, id, track_id, sample)
             - 1)::INTEGER AS entry, * EXCLUDE (text),
            md5_number_lower(id || '/' || coalesce(track_id, -1) || '/' || coalesce(sample, -1))
             AS draw
            FROM raw ORDER BY entry"""
        )
        self._progress("indexing words")
        self._words()
        self._progress("counting")
        self._facets()
        self._progress("locating rows")
        self._places()

    def _view(self, table: str) -> None:
        """Create a view of a table with the columns of the current schema."""
        parts = self._dataset.parts(table)
        schema = SCHEMAS[table]
        if not parts:
            empty = schema.empty_table()
            self._db.register(f"empty_{table}", empty)
            self._db.execute(f"CREATE TEMP VIEW {table} AS SELECT * FROM empty_{table}")
            return
        stored = _stored_columns(parts, table)
        columns = ", ".join(
            f'"{found}" AS "{name}"' if found else f'{_EMPTY_LISTS.get(name, "NULL")} AS "{name}"'
            for name, found in stored.items()
        )
        self._db.execute(f"CREATE TEMP VIEW {table} AS SELECT {columns} FROM {_parquet(parts)}")

    def _words(self) -> None:
        # The entries are joined again by their keys, since the long texts are not kept.
        self._db.execute(
            """CREATE TEMP TABLE found AS
            SELECT e.entry, unnest(list_distinct(regexp_extract_all(lower(r.text), '[\\pL\\pN]+')))
             AS word
            FROM raw r JOIN entries e ON r.kind = e.kind AND r.id = e.id
             AND r.track_id IS NOT DISTINCT FROM e.track_id
             AND r.sample IS NOT DISTINCT FROM e.sample AND r.stage IS NOT DISTINCT FROM e.stage"""
        )
        self._db.execute(
            """CREATE TABLE words AS SELECT
            (row_number() OVER (ORDER BY word) - 1)::INTEGER AS number, word
            FROM (SELECT DISTINCT word FROM found) ORDER BY word"""
        )
        self._db.execute(
            """CREATE TABLE postings AS SELECT w.number AS word, f.entry
            FROM found f JOIN words w ON f.word = w.word ORDER BY w.number, f.entry"""
        )
        self._db.execute("DROP TABLE found")
        self._db.execute("DROP TABLE raw")

    def _facets(self) -> None:
        self._db.execute("CREATE TABLE facets (name VARCHAR, value VARCHAR, count BIGINT)")
        for name in FACETS:
            value = "unnest(string_split(objects[2:-2], '|'))" if name == "object" else name
            self._db.execute(
                f"""INSERT INTO facets SELECT '{name}', value, count(*) FROM
                (SELECT {value}::VARCHAR AS value FROM entries) WHERE value IS NOT NULL
                AND value <> '' GROUP BY value"""
            )

    def _places(self) -> None:
        self._db.execute(
            'CREATE TABLE places ("table" VARCHAR, id VARCHAR, part INTEGER, row BIGINT)'
        )
        for table, key in PLACED:
            parts = self._dataset.parts(table)
            if not parts:
                continue
            numbers = pa.table(
                {"file": [str(part) for part in parts], "part": list(range(len(parts)))}
            )
            self._db.register("numbers", numbers)
            self._db.execute(
                f"""INSERT INTO places SELECT '{table}', {key}, n.part, file_row_number
                FROM {_parquet(parts)} p JOIN numbers n ON p.filename = n.file
                WHERE {key} IS NOT NULL ORDER BY {key}"""
            )
            self._db.unregister("numbers")


PLACED: Final = (
    ("videos", "video_id"),
    ("clips", "clip_id"),
    ("poses", "clip_id"),
    ("captions", "clip_id"),
    ("annotations", "clip_id"),
    ("motions", "motion_id"),
    ("rejections", "item_id"),
)
"""Tables whose rows are looked up, with the column of the id."""

_EMPTY_LISTS: Final = {"objects": "[]", "events": "[]", "others": "[]", "credible": "[]"}

_VERDICT: Final = """CASE WHEN {contradicted} > 0 THEN 'contradicted' WHEN {supported} > 0
    THEN 'supported' WHEN {not_measurable} > 0 THEN 'not_measurable' END"""


def _verdicts(verdict: str) -> str:
    """Return SQL that counts the texts of an annotation that have a verdict."""
    return (
        f"(len([s for s in a.fine if s.grounding.verdict = '{verdict}'])"
        f" + len([g for g in a.medium_grounding if g.verdict = '{verdict}']))"
    )


_COUNTS: Final = {name: _verdicts(name) for name in ("supported", "contradicted", "not_measurable")}

_OBJECTS: Final = (
    "'|' || array_to_string(list_distinct([o.name for o in {} if o.name <> 'person']), '|') || '|'"
)

_SPAN: Final = (
    "try_cast(regexp_extract(r.item, '([0-9.]+)-([0-9.]+) s( person [0-9]+)?$', {}) AS DOUBLE)"
)
"""Start (1) or end (2) of the span that ends the name of a rejected item."""

_ENTRIES: Final = {
    "annotations": f"""
    SELECT 'person', a.clip_id, a.track_id, a.sample, a.video_id, v.path, a.start_s, a.end_s,
     coalesce(a.medium[1], ''), a.activity,
     {_OBJECTS.format("list_concat(a.objects, c.objects)")},
     coalesce(c.people_count, c.num_people), c.camera,
     {_VERDICT.format(**_COUNTS)}, {_COUNTS["supported"]}, {_COUNTS["contradicted"]},
     {_COUNTS["not_measurable"]}, a.grounding_score, a.outcome, NULL, 'video', NULL, NULL,
     c.quality,
     concat_ws(' ', array_to_string(a.medium, ' '), array_to_string([s.text for s in a.fine], ' '),
      a.coarse, a.activity, parse_filename(v.path), a.clip_id)
    FROM annotations a LEFT JOIN clips c ON a.clip_id = c.clip_id
    LEFT JOIN videos v ON a.video_id = v.video_id""",
    "clips": f"""
    SELECT 'clip', c.clip_id, NULL, NULL, c.video_id, v.path, c.start_s, c.end_s, '', NULL,
     {_OBJECTS.format("c.objects")}, coalesce(c.people_count, c.num_people), c.camera, NULL, 0, 0,
     0, NULL, NULL, NULL, 'video', NULL, NULL, c.quality,
     concat_ws(' ', v.coarse, parse_filename(v.path), c.clip_id)
    FROM clips c LEFT JOIN videos v ON c.video_id = v.video_id
    WHERE c.clip_id NOT IN (SELECT clip_id FROM annotations WHERE clip_id IS NOT NULL)
     AND c.clip_id NOT IN (SELECT item_id FROM rejections WHERE item_id IS NOT NULL)""",
    "motions": """
    SELECT 'motion', m.motion_id, NULL, NULL, m.video_id, m.source_path, 0, m.num_frames / 20.0,
     coalesce([t.text for t in m.texts if t.level <> 'coarse'][1], m.texts[1].text,
      array_to_string(m.labels, ', '), ''), m.labels[1], '', 1, NULL,
     NULL, 0, 0, 0, NULL, NULL, m.split, m.source, NULL, NULL, m.quality,
     concat_ws(' ', array_to_string([t.text for t in m.texts], ' '),
      array_to_string(m.labels, ' '), parse_filename(m.source_path), m.source_id, m.motion_id)
    FROM motions m""",
    "rejections": f"""
    SELECT 'rejection', r.item_id, try_cast(split_part(r.item_id, '/', 2) AS SMALLINT), NULL,
     r.video_id, coalesce(v.path, r.item),
     coalesce(c.start_s, {_SPAN.format(1)}), coalesce(c.end_s, {_SPAN.format(2)}), r.detail, NULL,
     '', coalesce(c.people_count, c.num_people), c.camera, NULL, 0, 0, 0,
     NULL, NULL, NULL, NULL, r.reason, r.stage, c.quality,
     concat_ws(' ', r.item, r.detail, r.reason, r.item_id)
    FROM rejections r LEFT JOIN clips c ON split_part(r.item_id, '/', 1) = c.clip_id
    LEFT JOIN videos v ON r.video_id = v.video_id""",
}


def _parquet(parts: Sequence[Path]) -> str:
    """Return SQL that reads parts. Their names are those of the manifest, checked."""
    names = ", ".join("'" + str(part).replace("'", "''") + "'" for part in parts)
    return f"read_parquet([{names}], union_by_name = true, filename = true, file_row_number = true)"


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
