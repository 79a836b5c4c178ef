"""Reviews as the page needs them: what to look at next, what was found, and who agrees."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from browser.index.catalog import Catalog, Mode, PersonKey
from data.store.reviews import (
    Judgment,
    Level,
    Review,
    ReviewedPerson,
    ReviewedStep,
    newest,
    read_reviews,
    review_files,
    review_of,
    save_review,
)
from evaluation.metrics.intervals import wilson

Row = dict[str, Any]

ENOUGH: Final = 50
"""Number of reviewed people of the random sample from which the page states the truth."""
_LEVELS: Final = ("coarse", "medium", "fine")


class Given(BaseModel):
    """A review as the page sends it."""

    model_config = ConfigDict(extra="forbid")

    clip_id: str
    track_id: int
    sample: int = 0
    level: Level
    judgment: Judgment
    reviewer: str = Field(min_length=1, max_length=100)
    text: str | None = None
    texts: list[str] | None = None
    steps: list[ReviewedStep] | None = None
    person: ReviewedPerson | None = None

    @property
    def content(self) -> Any:
        """What the level is changed to."""
        of_level = {"coarse": self.text, "medium": self.texts, "person": self.person}
        return of_level.get(self.level, self.steps)


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % Wilson interval.

    Attributes:
        level: level of the texts.
        right: number of texts that reviewers accepted as they were.
        judged: number of judged texts.
        share, low, high: the share, and the interval.
    """

    level: str
    right: int
    judged: int
    share: float
    low: float
    high: float


class Reviews:
    """The reviews of a dataset, kept in memory; those of other processes are read on request.

    Args:
        root: folder of the dataset.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._files: frozenset[str] = frozenset()
        self._all: list[Review] = []
        self._done: tuple[list[Review], frozenset[PersonKey]] = ([], frozenset())

    def all(self) -> list[Review]:
        """Return all reviews in the order of their time."""
        with self._lock:
            files = frozenset(path.name for path in review_files(self._root))
            if files != self._files:
                self._all = read_reviews(self._root)
                self._files = files
            return self._all

    def done(self) -> frozenset[PersonKey]:
        """Return the people whom a reviewer has judged completely, or called false."""
        reviews = self.all()
        of, found = self._done
        if of is not reviews:
            by = [_done(reviews, reviewer) for reviewer in {one.reviewer for one in reviews}]
            found = frozenset[PersonKey]().union(*by)
            self._done = reviews, found
        return found

    def save(self, given: Given, row: Mapping[str, Any]) -> Row:
        """Save a review at once.

        Args:
            given: the review.
            row: the annotation that it judges, as published.

        Raises:
            UnfitReviewError: it does not fit the annotation.
        """
        review = review_of(row, given.level, given.judgment, given.reviewer, given.content)
        save_review(self._root, review)
        return asdict(review)

    def of_clip(self, video_id: str, clip_id: str) -> list[Row]:
        """Return the newest reviews of a clip, and of the coarse text of its video."""
        found = newest(self.all())
        return [
            {**asdict(review), "value": review.content}
            for item, by in found.items()
            for review in by.values()
            if review.clip_id == clip_id or (item[0] == "coarse" and review.video_id == video_id)
        ]

    def next(self, catalog: Catalog, mode: Mode, reviewer: str, skipped: Sequence[int]) -> Row:
        """Return the next person to review, with how many are left of each kind.

        Args:
            catalog: index of the dataset.
            mode: order of :meth:`Catalog.reviewable`.
            reviewer: whose reviews count as done.
            skipped: numbers of entries that the reviewer passed over.
        """
        done = _done(self.all(), reviewer)
        wanted = len(done) + len(skipped) + 1
        rows = catalog.reviewable(mode, wanted)
        left = [row for row in rows if _key(row) not in done and row["entry"] not in skipped]
        counts = {"people": catalog.people, "contradicted": catalog.contradicted}
        return {"entry": left[0] if left else None, "done": len(done), **counts}

    def summary(self, catalog: Catalog) -> Row:
        """Return who reviewed what, how far reviewers agree, and the truth of the dataset."""
        reviews = self.all()
        found = newest(reviews)
        sampled, rows = self._sample(catalog)
        who = Counter(review.reviewer for by in found.values() for review in by.values())
        people = {
            review.item[1:3]
            for by in found.values()
            for review in by.values()
            if review.level != "coarse"
        }
        truth = [asdict(share) for share in _truth(found, rows)] if sampled >= ENOUGH else []
        return {
            "reviewers": [{"name": name, "reviews": count} for name, count in who.most_common()],
            "people": len(people),
            "sampled": sampled,
            "enough": ENOUGH,
            "truth": truth,
            "agreement": agreement(reviews),
        }

    def _sample(self, catalog: Catalog) -> tuple[int, list[Row]]:
        """Return the beginning of the random order that is reviewed without a gap.

        It is a random sample of all people, whatever else was reviewed in between: chance decides
        the order before anybody looks.
        """
        done = self.done()
        rows = catalog.reviewable("random", len(done) + 1)
        sampled = next((i for i, row in enumerate(rows) if _key(row) not in done), len(rows))
        return sampled, rows[:sampled]


def agreement(reviews: Iterable[Review]) -> list[Row]:
    """Return Cohen's kappa by level for every two reviewers who judged the same texts."""
    by_level: dict[tuple[str, str, str], list[tuple[bool, bool]]] = {}
    for item, by in newest(reviews).items():
        judged = {who: one for who, one in by.items() if one.judgment in _RIGHT}
        for a, b in combinations(sorted(judged), 2):
            pair = (_RIGHT[judged[a].judgment], _RIGHT[judged[b].judgment])
            by_level.setdefault((a, b, item[0]), []).append(pair)
    return [
        {"reviewers": [a, b], "level": level, "both": len(pairs), "kappa": kappa(pairs)}
        for (a, b, level), pairs in sorted(by_level.items())
    ]


def kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Return Cohen's kappa of two raters; None where chance alone makes them agree."""
    total = len(pairs)
    same = sum(a == b for a, b in pairs) / total
    yes_a, yes_b = (sum(pair[i] for pair in pairs) / total for i in (0, 1))
    chance = yes_a * yes_b + (1 - yes_a) * (1 - yes_b)
    return None if chance == 1 else (same - chance) / (1 - chance)


_RIGHT: Final[Mapping[str, bool]] = {"accepted": True, "edited": False, "rejected": False}


def _truth(found: Mapping[tuple[str, ...], Mapping[str, Review]], rows: list[Row]) -> list[Share]:
    """Return the share of texts of a sample that were right as they were written."""
    shares: list[Share] = []
    for level in _LEVELS:
        right = judged = 0
        for item in {_item(level, row) for row in rows}:
            reviews = found.get(item, {}).values()
            known = [one for one in reviews if one.judgment in _RIGHT]
            if not known:
                continue
            last = max(known, key=lambda one: one.reviewed_at)
            if level != "fine" or last.judgment != "edited":
                right, judged = right + _RIGHT[last.judgment], judged + 1
                continue
            steps = [step for step in last.content if step["judgment"] != "added"]
            right += sum(step["judgment"] == "accepted" for step in steps)
            judged += len(steps)
        if judged:
            found_share = wilson(right, judged)
            interval = (found_share.value, found_share.low, found_share.high)
            shares.append(Share(level, right, judged, *interval))
    return shares


def _item(level: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    if level == "coarse":
        return ("coarse", row["video_id"])
    return (level, row["id"], str(row["track_id"]), str(row["sample"]))


def _key(row: Mapping[str, Any]) -> PersonKey:
    return row["id"], row["track_id"], row["sample"]


def _done(reviews: Iterable[Review], reviewer: str) -> set[PersonKey]:
    """Return the people whom a reviewer has judged completely, or called false."""
    levels: dict[PersonKey, set[str]] = {}
    for by in newest(reviews).values():
        review = by.get(reviewer)
        if review is None or review.judgment == "partial" or review.level == "coarse":
            continue
        key = (review.clip_id, review.track_id, review.sample)
        if review.level == "person" and review.judgment == "rejected":
            levels.setdefault(key, set()).update(("medium", "fine"))
        levels.setdefault(key, set()).add(review.level)
    return {key for key, found in levels.items() if {"medium", "fine"} <= found}
