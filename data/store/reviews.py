"""Reviews of annotations by people: saved one by one, folded into few files, never lost.

Reviews lie beside the tables, but outside of the manifest: a dataset has one writer at a time, and
people review while it writes. Each review is a small Parquet file of its own, which appears
complete or not at all::

    reviews/review-<time>-<random>.parquet    one review
    reviews/reviews-<time>-<random>.parquet   many, folded together

Nobody waits for anybody, and two reviewers cannot overwrite each other. A fold that is killed
leaves reviews twice; their ids tell. ``pd.read_parquet(root / "reviews")`` reads the table.

Those of a dataset on S3 are objects of the same names. A review is saved once it is there, and the
linked folder has copies only. They are not folded.

A review judges one level of an annotation. Of several by one reviewer the newest holds, so that an
undo is a review as well.
"""

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, TypeAdapter, ValidationError

from data.config import Config
from data.plain_text import plain_text
from data.remote.errors import RemoteError
from data.remote.links import find_link
from data.schemas import CODE_VERSION
from data.store.locks import LockedError, LockUnavailableError, lock_folder
from data.store.manifest import DatasetError, require_plain
from data.store.mirrors import fetch_loose, send_loose

REVIEWS: Final = "reviews"
"""Folder of the reviews, in the folder of the dataset."""
FOLD_AT: Final = 256
"""Number of files from which they are folded together."""

Level = Literal["coarse", "medium", "fine", "person"]
Judgment = Literal["accepted", "edited", "rejected", "partial", "unsure", "withdrawn"]

REVIEW_SCHEMA: Final = pa.schema(
    [
        pa.field("review_id", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("clip_id", pa.string()),
        pa.field("track_id", pa.int16()),
        pa.field("sample", pa.int16()),
        pa.field("level", pa.string()),
        pa.field("judgment", pa.string()),
        pa.field("value", pa.string()),
        pa.field("text_hash", pa.string()),
        pa.field("reviewer", pa.string()),
        pa.field("reviewed_at", pa.string()),
        pa.field("code_version", pa.string()),
    ]
)

_MAX_TEXT: Final = 2000

_FILE: Final = re.compile(r"review[A-Za-z0-9_.-]{0,200}\.parquet")
_NAME: Final = "{kind}-{time_ns:020d}-{token}.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a person found about one level of an annotation: a row of the table ``reviews``.

    Attributes:
        review_id: random id.
        video_id, clip_id, track_id, sample: the annotation.
        level: ``coarse`` (of the whole video), ``medium``, ``fine``, or ``person``: whether the
            person is one.
        judgment: ``accepted`` as it is; ``edited`` to ``value``; ``rejected``, which leaves
            nothing of the level; ``partial`` if only some steps are judged; ``unsure``;
            ``withdrawn`` if the reviewer took the review back.
        value: JSON. Of ``coarse`` a text; of ``medium`` a list of texts; of ``fine`` a list of
            steps with text, start_s, end_s, judgment and ``of``, the index of the original step or
            null for a missed one; of ``person`` an object with a name. Null if nothing changed.
        text_hash: :func:`hash_text` of what was judged. A review does not apply to another text.
        reviewer: name of the person.
        reviewed_at: ISO 8601, UTC, with microseconds.
        code_version: version of the code that saved it.
    """

    review_id: str
    video_id: str
    clip_id: str
    track_id: int
    sample: int
    level: Level
    judgment: Judgment
    value: str | None
    text_hash: str
    reviewer: str
    reviewed_at: str
    code_version: str = CODE_VERSION

    @property
    def item(self) -> tuple[str, ...]:
        """What is judged: the level of an annotation, or the coarse text of a video."""
        if self.level == "coarse":
            return ("coarse", self.video_id)
        if self.level == "person":
            return ("person", self.clip_id, str(self.track_id))
        return (self.level, self.clip_id, str(self.track_id), str(self.sample))

    @property
    def content(self) -> Any:
        """The parsed ``value``; None without one."""
        return None if self.value is None else json.loads(self.value)


class UnfitReviewError(ValueError):
    """A review does not fit the annotation that it judges; the message says why."""


_Text = Annotated[str, Field(max_length=_MAX_TEXT)]


class ReviewedStep(Config):
    """A step after its review; ``of`` is the index of the original step, None for a missed one."""

    text: _Text
    start_s: float = Field(ge=0, le=1e6)
    end_s: float = Field(ge=0, le=1e6)
    judgment: Literal["accepted", "edited", "rejected", "added", "open"]
    of: int | None = Field(default=None, ge=0, le=10_000)


class ReviewedPerson(Config):
    """A person after the review."""

    name: str = Field(default="", max_length=200)


_CONTENTS: Final[Mapping[Level, TypeAdapter[Any]]] = {
    "coarse": TypeAdapter(_Text),
    "medium": TypeAdapter(Annotated[tuple[_Text, ...], Field(max_length=10)]),
    "fine": TypeAdapter(Annotated[tuple[ReviewedStep, ...], Field(max_length=200)]),
    "person": TypeAdapter(ReviewedPerson),
}


def review_of(
    row: Mapping[str, Any], level: Level, judgment: Judgment, reviewer: str, content: Any = None
) -> Review:
    """Create a review of now, checked against the annotation that it judges.

    Args:
        row: row of ``annotations`` as published, without reviews.
        level: level that is judged.
        judgment: the judgment.
        reviewer: name of the person.
        content: parsed ``value`` of :class:`Review`: of ``edited`` and ``partial``, and of
            ``person``.

    Raises:
        UnfitReviewError: it does not fit the annotation.
    """
    who = plain_text(reviewer).strip()
    if not who:
        raise UnfitReviewError("reviewer: expected a name, found none. Remedy: enter yours.")
    changes = judgment in {"edited", "partial"} or (level == "person" and content is not None)
    return new_review(
        **{name: row[name] for name in ("video_id", "clip_id", "track_id", "sample")},
        level=level,
        judgment=judgment,
        value=json.dumps(_checked(level, content, row)) if changes else None,
        text_hash=hash_text(level, row),
        reviewer=who,
    )


def _checked(level: Level, content: Any, row: Mapping[str, Any]) -> Any:
    """Return what a review changes a level to, without control characters."""
    try:
        found = _CONTENTS[level].validate_python(content)
    except ValidationError as error:
        (first, *_) = error.errors()
        place = ".".join(str(part) for part in (level, *first["loc"]))
        raise UnfitReviewError(
            f"{place}: {first['msg']}, found {str(first['input'])[:60]!r}. Remedy: correct it."
        ) from error
    if level == "person":
        return found.model_dump()
    if level == "coarse":
        if not (text := plain_text(found).strip()):
            raise UnfitReviewError("text: expected one, found none. Remedy: reject it instead.")
        return text
    if level == "medium":
        if not (texts := [text for one in found if (text := plain_text(one).strip())]):
            raise UnfitReviewError("texts: expected one, found none. Remedy: reject them instead.")
        return texts
    return [_checked_step(step, len(row["fine"])) for step in found]


def _checked_step(step: ReviewedStep, count: int) -> dict[str, Any]:
    text = plain_text(step.text).strip()
    if step.end_s <= step.start_s or not text:
        raise UnfitReviewError(
            f"step {step.text!r}: expected a text and an end after its start, found "
            f"{step.start_s:.2f}-{step.end_s:.2f} s. Remedy: correct it."
        )
    if (step.of is None) != (step.judgment == "added") or (step.of or 0) >= count > 0:
        raise UnfitReviewError(
            f"step {step.text!r}: expected one of the {count} steps or a missed one, "
            f"found number {step.of}. Remedy: read the annotation again (reload the page)."
        )
    return {**step.model_dump(), "text": text}


def new_review(**values: Any) -> Review:
    """Create a review of now with a new id; see :class:`Review` for the values."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return Review(review_id=secrets.token_hex(8), reviewed_at=now, **values)


def hash_text(level: Level, row: Mapping[str, Any]) -> str:
    """Hash what a review of a level judges in a row of ``annotations``."""
    if level == "fine":
        judged: Any = [
            [step["text"], round(step["start_s"], 3), round(step["end_s"], 3)]
            for step in row["fine"]
        ]
    elif level == "medium":
        judged = list(row["medium"])
    else:
        judged = row["coarse"] if level == "coarse" else None
    return hashlib.sha256(json.dumps(judged).encode()).hexdigest()[:16]


def save_review(root: Path, review: Review) -> None:
    """Save a review durably.

    Args:
        root: folder of the dataset.
        review: the review.

    Raises:
        DatasetError: the folder of the reviews is a link.
        OSError: the disk is full or read-only.
        data.remote.errors.RemoteError: the dataset is on S3, and nothing was saved there.
    """
    _write(root, "review", [review])
    if find_link(root) is None and sum(1 for _ in root.glob(f"{REVIEWS}/review-*")) >= FOLD_AT:
        fold_reviews(root)


def add_reviews(root: Path, reviews: Iterable[Review]) -> int:
    """Save the reviews of another dataset in one file; those that are there are left out.

    Args:
        root: folder of the dataset.
        reviews: the reviews.

    Returns:
        The number of reviews that were added.

    Raises:
        DatasetError, OSError, data.remote.errors.RemoteError: see :func:`save_review`.
    """
    known = {review.review_id for review in read_reviews(root)}
    added = _unique([[review for review in reviews if review.review_id not in known]])
    if added:
        _write(root, "reviews", added)
    return len(added)


def review_files(root: Path) -> list[Path]:
    """Return the files of the reviews of a dataset; those on S3 are downloaded.

    Raises:
        DatasetError: the folder of the reviews is a link.
        data.remote.errors.RemoteError: the dataset is on S3 and cannot be read.
    """
    folder = root / REVIEWS
    if os.path.lexists(folder):
        require_plain(folder, folder=True)
    stored = fetch_loose(root, REVIEWS, _FILE)
    return sorted(folder.glob("review*.parquet")) if stored is None else stored


def read_reviews(root: Path) -> list[Review]:
    """Read all reviews of a dataset, in the order of their time.

    Raises:
        DatasetError: a file is damaged or foreign.
        data.remote.errors.RemoteError: the dataset is on S3 and cannot be read.
    """
    while True:
        try:
            return _unique(read_review_file(path) for path in review_files(root))
        except FileNotFoundError:  # folded meanwhile
            continue


def fold_reviews(root: Path) -> None:
    """Fold the files of the reviews into one; without effect while another process does it."""
    folder = root / REVIEWS
    with suppress(LockedError, LockUnavailableError), lock_folder(folder):
        paths = sorted(folder.glob("review*.parquet"))
        _write(root, "reviews", _unique(read_review_file(path) for path in paths))
        for path in paths:
            path.unlink()


def newest(reviews: Iterable[Review]) -> dict[tuple[str, ...], dict[str, Review]]:
    """Return what holds: by item and reviewer the newest review that was not withdrawn."""
    found: dict[tuple[str, ...], dict[str, Review]] = {}
    for review in reviews:
        found.setdefault(review.item, {})[review.reviewer] = review
    kept = {
        item: {who: one for who, one in by.items() if one.judgment != "withdrawn"}
        for item, by in found.items()
    }
    return {item: by for item, by in kept.items() if by}


def _unique(files: Iterable[list[Review]]) -> list[Review]:
    by_id = {review.review_id: review for reviews in files for review in reviews}
    return sorted(by_id.values(), key=lambda review: (review.reviewed_at, review.review_id))


def read_review_file(path: Path) -> list[Review]:
    """Read the reviews of one of the files of :func:`review_files`.

    Raises:
        DatasetError: it is damaged or foreign.
        FileNotFoundError: it was folded into another one meanwhile.
    """
    require_plain(path)
    try:
        rows = pq.read_table(path, schema=REVIEW_SCHEMA).to_pylist()
        return [Review(**row) for row in rows]
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, TypeError) as error:
        link = find_link(path.parent.parent)
        place = path if link is None else link.address.child(f"{REVIEWS}/{path.name}")
        raise DatasetError(
            f"{place}: expected reviews that avatargpt saved, found: "
            f"{' '.join(str(error).split())[:200]} Remedy: restore the file from a copy of the "
            "dataset, or move it out of its folder."
        ) from error


def _write(root: Path, kind: str, reviews: Sequence[Review]) -> None:
    folder = root / REVIEWS
    folder.mkdir(exist_ok=True)
    require_plain(folder, folder=True)
    name = _NAME.format(kind=kind, time_ns=time.time_ns(), token=secrets.token_hex(4))
    temporary = folder / f".{name}"
    table = pa.Table.from_pylist([asdict(review) for review in reviews], REVIEW_SCHEMA)
    with temporary.open("xb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    try:
        send_loose(root, f"{REVIEWS}/{name}", temporary)
    except RemoteError:
        temporary.unlink()  # else a reviewer who tries again has saved it twice
        raise
    temporary.replace(folder / name)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
