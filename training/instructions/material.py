"""Reads the material of instructions from datasets: tokenized motions with captions, and plans.

A motion has one token, with one or several codes, per ``FRAMES_PER_CODE`` frames at 20 fps.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.importers.plans import SOURCE as TEXT_PLAN
from data.motion.skeleton import FPS
from data.motion.splits import Split, SplitConfig, split_of
from data.records import Outcome
from data.store.dataset import Dataset
from training.instructions.goals import goal_key, plan_key
from training.instructions.tasks import CODES_PER_S, Codes, Token, clean_steps, codes_of

WHOLE_START_S: Final = 0.5
WHOLE_SHARE: Final = 0.9
"""A text describes the whole motion if it starts within ``WHOLE_START_S`` and ends after
``WHOLE_SHARE`` of the motion."""

CAPTION_LEVELS: Final = frozenset(("medium", "fine"))
"""Annotation levels whose texts are captions. Coarse texts describe the scene of a video."""

_Row = dict[str, Any]
_PLAN_COLUMNS: Final = (
    *("clip_id", "video_id", "track_id", "sample", "start_s", "coarse", "medium", "fine"),
    *("grounding_score", "annotator", "outcome"),
)


@dataclass(frozen=True, slots=True)
class MotionItem:
    """A motion, or a part of one, with its captions.

    Attributes:
        motion_id: id of the whole motion.
        codes: motion codes of the motion, or of the part.
        captions: captions that describe all of ``codes``.
        part: half-open range of codes in the whole motion; None: the whole motion.
    """

    motion_id: str
    codes: Codes
    captions: tuple[str, ...]
    part: tuple[int, int] | None = None

    @property
    def source_id(self) -> str:
        """Id of the motion, followed by the range of codes if it is a part: ``3f…:10-22``."""
        return (
            self.motion_id if self.part is None else "{}:{}-{}".format(self.motion_id, *self.part)
        )


@dataclass(frozen=True, slots=True)
class PlanItem:
    """The activity of one person in one clip, or of one text plan.

    Attributes:
        plan_id: id of the clip or plan; for a clip with several people, ``clip_id/track_id``.
        scene: one sentence; empty if unknown.
        tasks: alternative descriptions of the task.
        steps: steps of the task, in order.
        next: the activity that follows; None if unknown.
        is_progress: whether this is a point between two steps of a text plan. Then ``tasks`` is the
            step that was just done, ``steps`` are all steps so far, and ``next`` has the remaining
            ones. Such an item shows what comes next, but its steps are not the steps of its task.
    """

    plan_id: str
    scene: str
    tasks: tuple[str, ...]
    steps: tuple[str, ...]
    next: "PlanItem | None" = None
    is_progress: bool = False


# ----------------------------------------------------------------------------------------- motions


def read_motion_items(
    root: Path,
    codes: Mapping[str, Sequence[Token] | NDArray[np.integer]],
    split: Split,
    min_quality: float = 0.0,
    *,
    mirrored: bool = True,
    reviews: bool = True,
) -> list[MotionItem]:
    """Read the motions of a split, with their captions.

    Each motion has one item for the whole motion, whose captions are the texts that describe
    (nearly) all of it, and one item for each part that has texts of its own. A motion without texts
    is captioned with its labels: ``walk_normal`` becomes "a person walk normal".

    Args:
        root: folder of the dataset.
        codes: codes of each motion, by ``motion_id``; arrays are (L,) or (L, Q).
        split: split to read.
        min_quality: motions with a lower pose confidence are skipped.
        mirrored: whether to read mirror images too.
        reviews: whether to leave out people who are none by the reviews of the dataset.

    Raises:
        ValueError: motions of the split have no codes.
        data.store.manifest.DatasetError: ``root`` is not a dataset.
    """
    columns = ["motion_id", "labels", "texts", "num_frames", "quality", "mirrored_of"]
    rows = [
        row
        for row in Dataset(root, reviews=reviews).rows("motions", columns, {"split": [split]})
        if row["quality"] >= min_quality and (mirrored or not row["mirrored_of"])
    ]
    missing = [row["motion_id"] for row in rows if row["motion_id"] not in codes]
    if missing:
        raise ValueError(
            f"{root}: expected the codes of {len(rows)} motions of the {split} split, found "
            f"{len(missing)} motions without codes, such as {missing[0]}. "
            "Remedy: tokenize this dataset (again) with tokenize-motions."
        )
    items: list[MotionItem] = []
    for row in rows:
        items += _items_of_motion(row, codes_of(codes[row["motion_id"]]))
    return items


def _items_of_motion(row: _Row, codes: Codes) -> list[MotionItem]:
    items: dict[tuple[int, int] | None, tuple[str, ...]] = {None: ()}
    for span, texts in captions_of(row).items():
        part: tuple[int, int] | None = None
        if span is not None:
            start, end = (min(round(at_s * CODES_PER_S), len(codes)) for at_s in span)
            part = start, end
        items[part] = tuple(dict.fromkeys((*items.get(part, ()), *texts)))
    return [
        MotionItem(row["motion_id"], codes if part is None else codes[slice(*part)], captions, part)
        for part, captions in items.items()
    ]


def captions_of(row: Mapping[str, Any]) -> dict[tuple[float, float] | None, tuple[str, ...]]:
    """Return the captions of a motion and of its parts, each text once.

    Args:
        row: ``labels``, ``texts`` and ``num_frames`` of a row of the ``motions`` table.

    Returns:
        Captions by (start_s, end_s) of the described part; those of the whole motion are under
        None, which is always a key. A motion without captions has those of its labels:
        ``walk_normal`` becomes "a person walk normal".
    """
    length_s = row["num_frames"] / FPS
    captions: dict[tuple[float, float] | None, list[str]] = {None: []}
    for text in row["texts"] or ():
        words = " ".join(text["text"].split())
        if text["level"] not in CAPTION_LEVELS or not words:
            continue
        span: tuple[float, float] | None = None
        if text["start_s"] > WHOLE_START_S or text["end_s"] < WHOLE_SHARE * length_s:
            span = text["start_s"], text["end_s"]
        captions.setdefault(span, []).append(words)
    if captions == {None: []}:
        labels = [" ".join(re.split(r"[\s_-]+", label)).strip() for label in row["labels"] or ()]
        captions[None] = [f"a person {label}" for label in labels if label]
    return {span: tuple(dict.fromkeys(texts)) for span, texts in captions.items()}


# ------------------------------------------------------------------------------------------- plans


def read_plan_items(
    roots: Sequence[Path],
    split: Split,
    splits: SplitConfig,
    *,
    videos: Mapping[str, Split] | None = None,
    min_grounding_score: float | None = None,
    left_out: Counter[str] | None = None,
    reviews: bool = True,
) -> list[PlanItem]:
    """Read the plans of a split: people in annotated clips, and plans that were imported as text.

    The clips of a video are linked in temporal order, so that ``next`` of a clip is the following
    clip. A clip that cannot be used breaks this chain, because the clips on either side of it are
    not adjacent, and so does a clip with several people, because tracks of different clips are not
    matched. If a person has several annotations in a clip, the scene and the steps are those of the
    first one, and the tasks are those of all.

    A text plan has a task and steps, but no scene and no next activity. It is also read one level
    higher, with the goal as the scene and each step as a task: after each step except the last,
    there is an item with ``is_progress`` whose ``next`` has the remaining steps. Of text plans that
    differ in the spelling of their goal and steps alone, the first one is read.

    Args:
        roots: folders of datasets. A video that is in several datasets has items from each.
        split: split to read. All clips of one video are in the same split, and so are all text
            plans with the same goal, also in other words (:mod:`training.instructions.goals`).
        splits: shares of the splits of goals, and of videos without motions.
        videos: splits of the videos with motions, see :func:`read_video_splits`.
        min_grounding_score: clips with a lower score are skipped; clips without a score are kept.
        left_out: counter of the skipped annotations, by ``outcome``, ``grounding_score`` or
            ``repeated_plan``.
        reviews: whether to read the texts as reviewers left them, instead of the published ones.

    Raises:
        data.store.manifest.DatasetError: one of the folders is not a dataset.
    """
    counted = Counter[str]() if left_out is None else left_out
    items: list[PlanItem] = []
    seen: set[tuple[tuple[str, ...], ...]] = set()
    for root in dict.fromkeys(root.resolve() for root in roots):
        for clips in _videos(Dataset(root, reviews=reviews), split, splits, videos or {}):
            usable = [
                [_usable(samples, min_grounding_score, counted) for samples in people]
                for people in clips
            ]
            first = next((s[0] for people in usable for s in people if s), None)
            if first is None:
                continue
            if not _is_text_plan(first):
                items += _chain(usable)
                continue
            # A plan that many people wrote, or that is in two datasets, is learned once.
            key = plan_key(first["medium"][0], _steps(first))
            if key in seen:
                counted["repeated_plan"] += 1
                continue
            seen.add(key)
            items += _text_plan(first)
    return items


def read_video_splits(root: Path) -> dict[str, Split]:
    """Return the split of each video that motions of a dataset are from, by ``video_id``.

    Args:
        root: folder of the dataset.

    Raises:
        data.store.manifest.DatasetError: ``root`` is not a dataset.
    """
    rows = Dataset(root).rows("motions", ["video_id", "split"])
    return {row["video_id"]: row["split"] for row in rows if row["video_id"]}


def _videos(
    dataset: Dataset, split: Split, splits: SplitConfig, known: Mapping[str, Split]
) -> list[list[list[list[_Row]]]]:
    """Return the annotations of each video of the split, by clip in temporal order, by person."""
    videos: dict[str, dict[str, list[_Row]]] = defaultdict(lambda: defaultdict(list))
    for row in dataset.rows("annotations", _PLAN_COLUMNS):
        if (known.get(row["video_id"]) or split_of(_group(row), splits)) == split:
            videos[row["video_id"]][row["clip_id"]].append(row)
    return [
        [
            _by_person(rows)
            for rows in sorted(
                clips.values(), key=lambda rows: (rows[0]["start_s"], rows[0]["clip_id"])
            )
        ]
        for clips in videos.values()
    ]


def _by_person(rows: Sequence[_Row]) -> list[list[_Row]]:
    """Group the annotations of a clip by person, each in the order of the samples."""
    people: defaultdict[int, list[_Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["track_id"] or 0, row["sample"])):
        people[row["track_id"] or 0].append(row)
    return list(people.values())


def _is_text_plan(row: _Row) -> bool:
    return row["annotator"] == TEXT_PLAN and not row["coarse"]


def _group(row: _Row) -> str:
    """Return the group whose rows share a split: the goal of a text plan, or the video."""
    if _is_text_plan(row) and row["medium"]:
        return f"goal/{goal_key(row['medium'][0])}"
    return f"video/{row['video_id']}"


def _usable(
    samples: Sequence[_Row], min_grounding_score: float | None, left_out: Counter[str]
) -> list[_Row]:
    usable: list[_Row] = []
    for row in samples:
        score = row["grounding_score"]
        if row["outcome"] != Outcome.SUCCESS:
            left_out["outcome"] += 1
        elif None not in (min_grounding_score, score) and score < min_grounding_score:
            left_out["grounding_score"] += 1
        else:
            usable.append(row)
    return usable


def _chain(clips: Sequence[Sequence[Sequence[_Row]]]) -> list[PlanItem]:
    items: list[PlanItem] = []
    following: PlanItem | None = None
    # The clips are visited backwards, because an item refers to the item after it.
    for people in reversed(clips):
        alone = len(people) == 1
        of_clip = [
            _plan(samples, following if alone else None, alone=alone)
            for samples in people
            if samples
        ]
        following = of_clip[0] if alone and of_clip else None
        items += reversed(of_clip)
    return items[::-1]


def _plan(samples: Sequence[_Row], following: PlanItem | None, *, alone: bool) -> PlanItem:
    first = samples[0]
    tasks = [" ".join(text.split()) for row in samples for text in row["medium"] or ()]
    return PlanItem(
        plan_id=first["clip_id"] if alone else f"{first['clip_id']}/{first['track_id']}",
        scene=" ".join((first["coarse"] or "").split()),
        tasks=tuple(task for task in dict.fromkeys(tasks) if task),
        steps=_steps(first),
        next=following,
    )


def _text_plan(row: _Row) -> list[PlanItem]:
    goal, steps = row["medium"][0], _steps(row)
    items = [PlanItem(row["clip_id"], "", (goal,), steps)]
    for done in range(1, len(steps)):
        point = f"{row['clip_id']}:{done}"
        following = PlanItem(point, goal, (steps[done],), steps[done:], is_progress=True)
        items.append(
            PlanItem(point, goal, (steps[done - 1],), steps[:done], following, is_progress=True)
        )
    return items


def _steps(row: _Row) -> tuple[str, ...]:
    return clean_steps([step["text"] for step in row["fine"] or ()])
