"""What reviews change in the rows that readers get; the published parts stay as they are."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data.records import Verdict
from data.schemas import SCHEMAS, Row
from data.store.manifest import DatasetError
from data.store.reviews import Level, Review, hash_text, newest, read_reviews

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "videos": ("video_id", "coarse"),
    "annotations": (
        *("video_id", "clip_id", "track_id", "sample", "coarse", "medium", "fine"),
        *("medium_grounding", "grounding_score"),
    ),
    "poses": ("clip_id", "track_id"),
    "captions": ("clip_id", "track_id"),
    "motions": ("clip_id", "track_id"),
}
"""Columns by table that decide on an override, or are changed by one."""
_OF_PEOPLE: Final = ("annotations", "poses", "captions", "motions")


class Overrides:
    """The newest reviews of a dataset, applied to its tables.

    Of several reviewers of one text the last one decides. A review of a text that was replaced
    since does not apply.

    Args:
        reviews: all reviews, in the order of their time.
    """

    def __init__(self, reviews: Iterable[Review]) -> None:
        self._texts: dict[tuple[str, ...], Review] = {}
        self._false: set[tuple[str, int]] = set()
        for item, by_reviewer in newest(reviews).items():
            review = max(by_reviewer.values(), key=lambda one: one.reviewed_at)
            if review.level == "person":
                if review.judgment == "rejected":
                    self._false.add((review.clip_id, review.track_id))
            elif review.judgment in {"edited", "rejected", "partial"}:
                self._texts[item] = review

    def columns(self, table: str, wanted: Sequence[str]) -> list[str]:
        """Return the columns to read so that :meth:`apply` can change the wanted ones."""
        needed = _NEEDED.get(table, ()) if self._texts or self._false else ()
        return list(dict.fromkeys((*wanted, *needed)))

    def apply(self, table: str, batch: pa.Table) -> pa.Table:
        """Return the rows of a batch with the reviews; those of false people are left out.

        Args:
            table: name of the table.
            batch: rows with the columns of :meth:`columns`.
        """
        if self._false and table in _OF_PEOPLE:
            people = zip(batch["clip_id"].to_pylist(), batch["track_id"].to_pylist(), strict=True)
            batch = batch.filter(pa.array([one not in self._false for one in people], pa.bool_()))
        if not self._texts or table not in {"annotations", "videos"}:
            return batch
        names = [name for name in _NEEDED[table] if name in batch.column_names]
        rows = batch.select(names).to_pylist()
        changed = [self._changed(table, row) for row in rows]
        if not any(changed):
            return batch
        for name in names:
            values = [row[name] for row in rows]
            column = pa.array(values, SCHEMAS[table].field(name).type)
            batch = batch.set_column(batch.column_names.index(name), name, column)
        return batch

    def _changed(self, table: str, row: Row) -> bool:
        """Change a row in place; return whether a review applied."""
        if table == "videos":
            return self._apply("coarse", ("coarse", row["video_id"]), row)
        key = (row["clip_id"], str(row["track_id"]), str(row["sample"]))
        changed = [
            self._apply("coarse", ("coarse", row["video_id"]), row),
            self._apply("medium", ("medium", *key), row),
            self._apply("fine", ("fine", *key), row),
        ]
        if changed[1] or changed[2]:
            row["grounding_score"] = _score(
                [*(step["grounding"] for step in row["fine"]), *row["medium_grounding"]]
            )
        return any(changed)

    def _apply(self, level: Level, item: tuple[str, ...], row: Row) -> bool:
        review = self._texts.get(item)
        if review is None or hash_text(level, row) != review.text_hash:
            return False
        try:
            self._put(level, review, row)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise DatasetError(
                f"review {review.review_id}: expected a {level} text as avatargpt saves it, found "
                f"{(review.value or '')[:100]!r}. Remedy: move its file out of the folder reviews, "
                "or read the dataset without reviews."
            ) from error
        return True

    @staticmethod
    def _put(level: Level, review: Review, row: Row) -> None:
        content = None if review.judgment == "rejected" else review.content
        if level == "coarse":
            row["coarse"] = content or ""
        elif level == "medium":
            row["medium"] = content or []
            row["medium_grounding"] = [_unchecked(review, 0.0, 0.0) for _ in row["medium"]]
        else:
            row["fine"] = _steps(content or [], row["fine"], review)


def read_overrides(root: Path) -> Overrides:
    """Read the reviews of a dataset as overrides.

    Raises:
        DatasetError: a file of the reviews is damaged.
    """
    return Overrides(read_reviews(root))


def _steps(judged: Sequence[Row], stored: Sequence[Row], review: Review) -> list[Row]:
    """Return the steps of an annotation after a review, in the order of time."""
    steps: list[Row] = []
    for step in judged:
        if step["judgment"] == "rejected":
            continue
        origin = stored[step["of"]] if step.get("of") is not None else None
        same = origin is not None and all(
            step[name] == origin[name] for name in ("text", "start_s", "end_s")
        )
        steps.append(
            dict(origin)
            if same and origin is not None
            else {
                "text": step["text"],
                "start_s": step["start_s"],
                "end_s": step["end_s"],
                "grounding": step.get("grounding")
                or _unchecked(review, step["start_s"], step["end_s"]),
            }
        )
    return sorted(steps, key=lambda step: (step["start_s"], step["end_s"]))


def _unchecked(review: Review, start_s: float, end_s: float) -> Row:
    return {
        "verdict": Verdict.NOT_MEASURABLE.value,
        "measurement": f"written by the reviewer {review.reviewer}",
        "start_s": start_s,
        "end_s": end_s,
    }


def _score(groundings: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the share of the measurable texts that the motion supports; None without any."""
    verdicts = [one["verdict"] for one in groundings]
    measured = [one for one in verdicts if one != Verdict.NOT_MEASURABLE.value]
    if not measured:
        return None
    return sum(one == Verdict.SUPPORTED.value for one in measured) / len(measured)
