"""Tell which annotations reviewers accepted, and export a dataset of nothing else."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data.schemas import SCHEMAS
from data.store.dataset import Dataset
from data.store.manifest import DatasetError, part_name
from data.store.parquet import write_tables
from data.store.reviews import Review, add_reviews, hash_text, newest, read_reviews
from data.store.writer import open_writer, part_entry

Annotated = tuple[str, int | None, int]
"""An annotation: clip_id, track_id, sample."""
Report = Callable[[int, int], None]

EXPORT: Final = "export"
"""Field of a recipe that says which rows of another dataset were taken."""

_LEVELS: Final = ("medium", "fine")
_KEY: Final = ("clip_id", "track_id", "sample")


def accepted_annotations(root: Path, version: int | None = None) -> set[Annotated]:
    """Return the annotations whose medium and fine texts the last reviewer accepted or edited.

    A review of a text that was replaced since does not count.

    Args:
        root: folder of the dataset.
        version: number of an older version; by default the current one.

    Raises:
        DatasetError: there is no such dataset or version, or it is damaged.
    """
    return _accepted(Dataset(root, version), read_reviews(root))


def _accepted(published: Dataset, reviews: list[Review]) -> set[Annotated]:
    last: dict[tuple[str, ...], Review] = {}
    for item, by_reviewer in newest(reviews).items():
        review = max(by_reviewer.values(), key=lambda one: one.reviewed_at)
        if review.level in _LEVELS and review.judgment in {"accepted", "edited"}:
            last[item] = review
    found = set[Annotated]()
    clips = {"clip_id": sorted({review.clip_id for review in last.values()})}
    rows = published.rows("annotations", [*_KEY, *_LEVELS], clips) if last else ()
    for row in rows:
        key = tuple(row[name] for name in _KEY)
        judged = [last.get((level, *map(str, key))) for level in _LEVELS]
        if all(one and one.text_hash == hash_text(one.level, row) for one in judged):
            found.add(key)
    return found


@dataclass(frozen=True, slots=True)
class _Kept:
    """What belongs to the accepted annotations.

    Attributes:
        annotations: the annotations.
        people: clip_id and track_id of who they describe.
        clips, videos, motions: ids.
    """

    annotations: set[Annotated]
    people: set[tuple[str, int | None]]
    clips: set[str]
    videos: set[str]
    motions: set[str]

    def rows(self, table: str, batch: pa.Table) -> pa.Table:
        """Keep the rows of a batch that belong to them."""
        belongs: Mapping[str, tuple[tuple[str, ...], Callable[..., bool]]] = {
            "annotations": (_KEY, lambda *key: key in self.annotations),
            "poses": (_KEY[:2], lambda *person: person in self.people),
            "captions": (
                _KEY[:2],
                lambda clip, track: (
                    clip in self.clips and (track is None or (clip, track) in self.people)
                ),
            ),
            "clips": (("clip_id",), lambda clip: clip in self.clips),
            "videos": (("video_id",), lambda video: video in self.videos),
            "motions": (("motion_id",), lambda motion: motion in self.motions),
            "motion_tokens": (("motion_id",), lambda motion: motion in self.motions),
        }
        if table not in belongs:
            return batch.slice(0, 0)
        names, is_kept = belongs[table]
        values = zip(*(batch[name].to_pylist() for name in names), strict=True)
        return batch.filter(pa.array([is_kept(*one) for one in values], pa.bool_()))


def write_accepted(root: Path, out: Path, report: Report | None = None) -> dict[str, int]:
    """Write a dataset of the accepted annotations only, with their people, clips and videos.

    Texts are those that reviewers left. Reviews of what is kept come along.

    Args:
        root: folder of the dataset.
        out: folder of the new dataset.
        report: called with the number of rows that were read, and of all that will be.

    Returns:
        Number of rows by table.

    Raises:
        DatasetError: nothing is accepted, the dataset is damaged, or the new folder is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(
            f"{out}: expected a new or empty folder, found one with content. Remedy: name another "
            "one."
        )
    reviews = read_reviews(root)
    dataset = Dataset(root, reviews=True)
    accepted = _accepted(Dataset(root), reviews)
    kept = _kept(dataset, accepted)
    if not kept.annotations:
        raise DatasetError(
            f"{root}: expected annotations whose activity and steps a reviewer accepted or edited, "
            f"found none in {len(reviews)} reviews. Remedy: review some with `avatargpt browse "
            f"{root}`; `a` accepts."
        )
    recipe = {**dataset.manifest["recipe"], EXPORT: "accepted"}
    total, done = sum(dataset.num_rows(table) for table in SCHEMAS), 0

    def read(table: str) -> Iterator[pa.Table]:
        nonlocal done
        for batch in dataset.batches(table):
            yield kept.rows(table, batch)
            done += batch.num_rows
            if report is not None:
                report(done, total)

    with open_writer(out, recipe) as writer:
        serial = writer.next_publication
        entries: dict[str, list[dict[str, Any]]] = {}
        for table in SCHEMAS:
            name = part_name(table, serial)
            file = write_tables(writer.aside(name), table, read(table))
            entries[table] = [part_entry(name, file, serial)] if file.rows else []
            if not file.rows:
                writer.aside(name).unlink()
        manifest = dataset.manifest
        writer.commit(entries, manifest.get("licenses", []), manifest.get("license", ""))
        add_reviews(out, [one for one in reviews if _is_of(one, kept)])
    return {table: Dataset(out).num_rows(table) for table in SCHEMAS if entries[table]}


def _kept(dataset: Dataset, accepted: set[Annotated]) -> _Kept:
    kept = _Kept(set(), set(), set(), set(), set())
    for row in dataset.rows("annotations", [*_KEY, "video_id"]):
        key = (row["clip_id"], row["track_id"], row["sample"])
        if key in accepted:
            kept.annotations.add(key)
            kept.people.add(key[:2])
            kept.clips.add(row["clip_id"])
            kept.videos.add(row["video_id"])
    for row in dataset.rows("motions", ["motion_id", "clip_id", "track_id"]):
        if (row["clip_id"], row["track_id"]) in kept.people:
            kept.motions.add(row["motion_id"])
    return kept


def _is_of(review: Review, kept: _Kept) -> bool:
    if review.level == "coarse":
        return review.video_id in kept.videos
    if review.level == "person":
        return (review.clip_id, review.track_id) in kept.people
    return (review.clip_id, review.track_id, review.sample) in kept.annotations
