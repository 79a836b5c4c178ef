"""Questions that the list asks about a dataset: entries by filter, words and order, and counts."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field

from browser.index.build import FACETS, ORDERS, PLACED
from browser.index.files import Array, Row, RowFile, Sorted, map_array
from browser.index.words import Words
from data.config import Config

Sort = Literal["file", "score", "contradicted", "quality", "longest", "shortest"]
Mode = Literal["worth", "random"]
Reviewed = Literal["yes", "no"]
PersonKey = tuple[str, int, int]
"""Clip, track and sample of a person who is described."""

PAGE: Final = 48
_WORD: Final = re.compile(r"[^\W_]+")
_SCANNED: Final = 65_536
"""Entries of an order that are looked at together."""
_KEPT: Final = 32
"""Filtered sets that are kept for their next page, each with a byte per entry."""


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
    reviewed: tuple[Reviewed, ...] = ()
    q: str = Field(default="", max_length=200, description="Words that texts or names start with.")
    sort: Sort = "file"
    after: int = Field(default=0, ge=0, description="Place in the order where the page begins.")
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
    next: int | None


class Catalog:
    """The index of one version, open for queries from several threads.

    What is asked for is read from files that are mapped into memory. A filter compares one or two
    bytes of every entry, and a word marks its entries.

    Args:
        path: folder of the index.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        about = json.loads((path / "about.json").read_text())
        self.people: int = about["people"]
        """Number of people who can be reviewed."""
        self.contradicted: int = about["contradicted"]
        """Number of those with a contradicted text."""
        self._counts: dict[str, dict[str, int]] = about["filters"]
        self._values: dict[str, list[str | None]] = {
            name: [None, *values] for name, values in self._counts.items()
        }
        self._entries = RowFile(path / "entries.arrow")
        self._filters = {name: map_array(path / f"filter-{name}.npy") for name in FACETS}
        self._orders = {
            name: map_array(path / f"order-{name}.npy") for name in (*ORDERS, "worth", "random")
        }
        self._words = Words(path)
        self._places = {
            table: Sorted(path / f"places-{table}.arrow") for table in (*PLACED, "entries")
        }
        self._kept = lru_cache(maxsize=_KEPT)(self._chosen)
        self._kept_done = lru_cache(maxsize=2)(self._done)

    def facets(self, done: frozenset[PersonKey] = frozenset()) -> dict[str, list[Row]]:
        """Return the values of every filter with the number of entries that have them.

        Args:
            done: the people who are reviewed.
        """
        counts = self._counts | {"object": self._words.objects()}
        found = {
            name: [
                {"value": value, "count": count}
                for value, count in sorted(of.items(), key=lambda one: (-one[1], one[0]))
            ]
            for name, of in counts.items()
        }
        found["people"].sort(key=lambda row: int(row["value"]))
        reviewed = int(np.count_nonzero(self._kept_done(done)))
        counted = {"yes": reviewed, "no": self.people - reviewed}
        found["reviewed"] = [
            {"value": value, "count": count} for value, count in counted.items() if count
        ]
        return found

    def page(self, query: ListQuery, done: frozenset[PersonKey] = frozenset()) -> Page:
        """Return one page of the entries that match a query.

        Args:
            query: what is asked for.
            done: the people who are reviewed.
        """
        filters = [(name, getattr(query, name)) for name in (*FACETS, "object")]
        words = frozenset(_WORD.findall(query.q.lower()))
        chosen, total = self._kept(tuple((name, of) for name, of in filters if of), words)
        if query.reviewed:
            known = self._kept_done(done)
            people = np.zeros(len(self._entries), bool)
            people[self._orders["random"]] = True
            of = {"yes": known, "no": people & ~known}
            found = np.any([of[one] for one in query.reviewed], axis=0)
            chosen = found if chosen is None else chosen & found
            total = int(np.count_nonzero(chosen))
        order = self._orders[query.sort]
        numbers: list[int] = []
        place = query.after
        while place < len(order) and len(numbers) < query.limit:
            scanned = order[place : place + (_SCANNED if chosen is not None else query.limit)]
            found = np.arange(len(scanned)) if chosen is None else np.flatnonzero(chosen[scanned])
            found = found[: query.limit - len(numbers)]
            numbers += scanned[found].tolist()
            full = len(numbers) == query.limit
            place += int(found[-1]) + 1 if full else len(scanned)
        rest = order[place:] if len(numbers) == query.limit else order[:0]
        more = len(rest) > 0 if chosen is None else self._any(chosen, rest)
        return Page(self.entries(numbers), total, place if more else None)

    def entries(self, numbers: Sequence[int]) -> list[Row]:
        """Return entries by number, in the requested order."""
        found = self._entries.rows(numbers)
        for number, entry in zip(numbers, found, strict=True):
            entry["entry"] = number
            for name in FACETS:
                entry[name] = self._values[name][int(self._filters[name][number])]
            entry["people"] = int(entry["people"]) if entry["people"] is not None else None
        return found

    def entry(self, kind: str, item_id: str) -> Row | None:
        """Return the first entry of an item; None if there is none."""
        places = self._places["entries"].equal(f"{kind} {item_id}")
        return self.entries([places[0]["row"]])[0] if places else None

    def reviewable(self, mode: Mode, limit: int) -> list[Row]:
        """Return the first of the people who can be reviewed, as entries.

        Args:
            mode: ``worth``: contradicted texts first, then little supported ones, then by chance.
                ``random``: by chance only.
            limit: number of people.
        """
        return self.entries(self._orders[mode][:limit].tolist())

    def places(self, table: str, item_id: str) -> list[tuple[int, int]]:
        """Return part and row of the rows of an item in a table."""
        return [(row["part"], row["row"]) for row in self._places[table].equal(item_id)]

    def ids(self, table: str, prefix: str) -> list[str]:
        """Return the ids of a table that start with a prefix."""
        places = self._places[table]
        return list(dict.fromkeys(places.keys(*places.prefixed(prefix))))

    def _chosen(
        self, filters: tuple[tuple[str, tuple[Any, ...]], ...], words: frozenset[str]
    ) -> tuple[Array | None, int]:
        """Return which entries match, None for all, and their number."""
        chosen: Array | None = None
        for name, values in filters:
            if name == "object":
                found = self._marked([self._words.with_object(value) for value in values])
            else:
                known = self._values[name]
                wanted = np.zeros(len(known), bool)
                wanted[[known.index(str(one)) for one in values if str(one) in known]] = True
                found = wanted[self._filters[name]]
            chosen = found if chosen is None else chosen & found
        for word in words:
            found = self._marked([self._words.starting_with(word)])
            chosen = found if chosen is None else chosen & found
        total = len(self._entries) if chosen is None else int(np.count_nonzero(chosen))
        return chosen, total

    def _done(self, done: frozenset[PersonKey]) -> Array:
        """Return which entries are of people who are reviewed."""
        clips = {clip for clip, *_ in done}
        places = [self._places["entries"].equal(f"person {clip}") for clip in clips]
        numbers = [place["row"] for of_clip in places for place in of_clip]
        rows = self.entries(numbers)
        known = [row for row in rows if (row["id"], row["track_id"], row["sample"]) in done]
        return self._marked([np.array([row["entry"] for row in known], np.int64)])

    def _marked(self, entries: Sequence[Array]) -> Array:
        """Return which entries are in any of some lists."""
        marked = np.zeros(len(self._entries), bool)
        for some in entries:
            marked[some] = True
        return marked

    def _any(self, chosen: Array, order: Array) -> bool:
        """Return whether any entry of the rest of an order is chosen."""
        starts = range(0, len(order), _SCANNED)
        return any(chosen[order[start : start + _SCANNED]].any() for start in starts)
