"""Questions that the list asks about a dataset: entries by filter, words and order, and counts."""

import re
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import duckdb
from pydantic import Field

from browser.index import FACETS, MEMORY
from data.config import Config

Sort = Literal["file", "score", "contradicted", "quality", "longest", "shortest"]
_KEYS: Final[Mapping[Sort, str]] = {
    "file": "0",
    "score": "coalesce(score, 2)",
    "contradicted": "-contradicted",
    "quality": "coalesce(quality, 2)",
    "longest": "coalesce(start_s - end_s, 0)",
    "shortest": "coalesce(end_s - start_s, 1e9)",
}
"""What each order sorts by, ascending; the number of the entry settles ties."""

PAGE: Final = 48
_WORD: Final = re.compile(r"\w+")
_SHOWN: Final = (
    *("entry", "kind", "id", "track_id", "sample", "video_id", "path", "start_s", "end_s"),
    *("title", "activity", "people", "camera", "verdict", "supported", "contradicted"),
    *("not_measurable", "score", "outcome", "split", "source", "reason", "stage", "quality"),
)

Row = dict[str, Any]


class ListQuery(Config):
    """What the list shows.

    Filters with several values show entries with any of them.
    """

    kind: tuple[str, ...] = ()
    activity: tuple[str, ...] = ()
    object: tuple[str, ...] = ()
    people: tuple[int, ...] = ()
    camera: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    reason: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()
    q: str = Field(default="", max_length=200, description="Words that texts or names start with.")
    sort: Sort = "file"
    after: tuple[float, int] | None = Field(
        default=None, description="Key and number of the entry before the page."
    )
    limit: int = Field(default=PAGE, ge=1, le=200)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list.

    Attributes:
        entries: the rows.
        total: number of entries of all pages.
        next: ``after`` of the next page; None on the last one.
    """

    entries: list[Row]
    total: int
    next: tuple[float, int] | None


@dataclass(slots=True)
class _Condition:
    sql: list[str] = field(default_factory=list[str])
    values: list[Any] = field(default_factory=list[Any])

    def add(self, sql: str, *values: Any) -> None:
        self.sql.append(sql)
        self.values.extend(values)

    @property
    def where(self) -> str:
        return " AND ".join(self.sql) or "true"


class Catalog:
    """The index of one version, open for queries from several threads.

    Args:
        path: file of the index.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = duckdb.connect(path, read_only=True, config={"memory_limit": MEMORY})
        self._lock = threading.Lock()
        self._total = lru_cache(maxsize=256)(self._count)

    def close(self) -> None:
        """Close the index."""
        self._db.close()

    @contextmanager
    def _cursor(self) -> Generator[duckdb.DuckDBPyConnection]:
        with self._lock:
            cursor = self._db.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return the rows of a query as dictionaries."""
        with self._cursor() as cursor:
            found = cursor.execute(sql, list(values))
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def facets(self) -> dict[str, list[Row]]:
        """Return the values of every filter with the number of entries that have them."""
        found: dict[str, list[Row]] = {name: [] for name in FACETS}
        for row in self.rows(
            "SELECT name, value, count FROM facets ORDER BY name, count DESC, value"
        ):
            found[row["name"]].append({"value": row["value"], "count": row["count"]})
        found["people"].sort(key=lambda row: int(row["value"]))
        return found

    def page(self, query: ListQuery) -> Page:
        """Return one page of the entries that match a query."""
        condition = self._condition(query)
        total = self._total(condition.where, tuple(condition.values))
        key = _KEYS[query.sort]
        where, values = condition.where, list(condition.values)
        if query.after is not None and query.sort == "file":
            # Entries are stored in this order, so that those before are not read.
            where += " AND entry > ?"
            values.append(query.after[1])
        elif query.after is not None:
            where += f" AND ({key}, entry) > (?, ?)"
            values += query.after
        # The wide columns are read of the page only.
        numbers = self.rows(
            f"SELECT {key} AS key, entry FROM entries WHERE {where} ORDER BY key, entry LIMIT ?",
            [*values, query.limit + 1],
        )
        shown = numbers[: query.limit]
        entries = self.entries([row["entry"] for row in shown])
        more = len(numbers) > query.limit
        after = (float(shown[-1]["key"]), int(shown[-1]["entry"])) if more else None
        return Page(entries, total, after)

    def entries(self, numbers: Sequence[int]) -> list[Row]:
        """Return entries by number, in the requested order."""
        if not numbers:
            return []
        marks = ", ".join("?" * len(numbers))
        found = self.rows(
            f"SELECT {', '.join(_SHOWN)} FROM entries WHERE entry IN ({marks})", numbers
        )
        by_number = {row["entry"]: row for row in found}
        return [by_number[number] for number in numbers]

    def places(self, table: str, item_id: str) -> list[tuple[int, int]]:
        """Return part and row of the rows of an item in a table."""
        rows = self.rows(
            'SELECT part, row FROM places WHERE "table" = ? AND id = ? ORDER BY part, row',
            (table, item_id),
        )
        return [(row["part"], row["row"]) for row in rows]

    def _count(self, where: str, values: tuple[Any, ...]) -> int:
        return self.rows(f"SELECT count(*) AS n FROM entries WHERE {where}", values)[0]["n"]

    def _condition(self, query: ListQuery) -> _Condition:
        condition = _Condition()
        for name in FACETS:
            values = getattr(query, name)
            if not values:
                continue
            if name == "object":
                any_of = " OR ".join("contains(objects, ?)" for _ in values)
                condition.add(f"({any_of})", *(f"|{value}|" for value in values))
            else:
                condition.add(f"{name} IN ({', '.join('?' * len(values))})", *values)
        for word in _WORD.findall(query.q.lower()):
            # Words that start with the same letters are consecutive numbers.
            first, last = self._range(word)
            condition.add(
                "entry IN (SELECT entry FROM postings WHERE word BETWEEN ? AND ?)", first, last
            )
        return condition

    def _range(self, prefix: str) -> tuple[int, int]:
        """Return the first and last number of the words with a prefix; an empty range if none."""
        (found,) = self.rows(
            "SELECT min(number) AS first, max(number) AS last FROM words"
            " WHERE starts_with(word, ?)",
            (prefix,),
        )
        return (found["first"], found["last"]) if found["first"] is not None else (0, -1)
