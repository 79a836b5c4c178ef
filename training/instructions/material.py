"""What instructions are made from: tokenised motions with captions, and plans.

Shapes: motion codes are integers, one for ``FRAMES_PER_CODE`` frames at 20 fps.
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
from training.instructions.tasks import CODES_PER_S, Codes, clean_steps

WHOLE_START_S: Final = 0.5
WHOLE_SHARE: Final = 0.9
"""A text holds for the whole motion when it begins by the one and ends after the other."""

CAPTION_LEVELS: Final = frozenset(("medium", "fine"))
"""Coarse texts tell the scene of a video, not a motion."""

_Row = dict[str, Any]
_PLAN_COLUMNS: Final = (
    *("clip_id", "video_id", "sample", "start_s", "coarse", "medium", "fine"),
    *("grounding_score", "annotator", "outcome"),
)


@dataclass(frozen=True, slots=True)
class MotionItem:
    """A motion, or a part of one, with what is said of it.

    Attributes:
        motion_id: of the whole motion.
        codes: its motion codes; of a part, the part's.
        captions: that hold for all of ``codes``.
        part: first code and the one after the last, in the whole motion; None for the whole.
    """

    motion_id: str
    codes: Codes
    captions: tuple[str, ...]
    part: tuple[int, int] | None = None

    @property
    def source_id(self) -> str:
        """The motion, with the part where it is one: ``3f…:10-22``."""
        return (
            self.motion_id if self.part is None else "{}:{}-{}".format(self.motion_id, *self.part)
        )


@dataclass(frozen=True, slots=True)
class PlanItem:
    """What a person does in one clip, or in one plan.

    Attributes:
        plan_id: of the clip or plan.
        scene: one sentence; empty where there is none.
        tasks: wordings of the activity.
        steps: that carry it out, in order.
        next: what is done next; None where nothing is known to follow.
        is_progress: a point in a plan of text, between two of its steps: ``tasks`` is the step just
            done, ``steps`` are all those up to it, ``next`` has those that follow. It tells what
            comes next, but its steps are not those of its task.
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
    codes: Mapping[str, Sequence[int] | NDArray[np.integer]],
    split: Split,
    min_quality: float = 0.0,
) -> list[MotionItem]:
    """The motions of a split, with their captions.

    Each motion gives an item of its whole, whose captions are the texts that hold for (nearly) all
    of it. Texts on a part give an item of the part. Motions without either are captioned from their
    labels: ``walk_normal`` becomes "a person walk normal".

    Args:
        root: the dataset.
        codes: of each motion, by ``motion_id``.
        split: of the motions.
        min_quality: motions whose poses are less certain are left out.

    Raises:
        ValueError: motions of the split have no codes.
        data.store.manifest.DatasetError: there is no dataset.
    """
    columns = ["motion_id", "split", "labels", "texts", "num_frames", "quality"]
    found = Dataset(root).rows("motions", columns, {"split": [split]})
    rows = [row for row in found if row["quality"] >= min_quality]
    missing = [row["motion_id"] for row in rows if row["motion_id"] not in codes]
    if missing:
        raise ValueError(
            f"{root}: expected the codes of {len(rows)} motions of the {split} split, found "
            f"{len(missing)} without, such as {missing[0]}. "
            "Remedy: tokenise this dataset (again) with tokenise-motions."
        )
    items: list[MotionItem] = []
    for row in rows:
        # Plain integers, whatever array the codes come in.
        motion = tuple(np.asarray(codes[row["motion_id"]]).tolist())
        items += _items_of_motion(row, motion)
    return items


def _items_of_motion(row: _Row, codes: Codes) -> list[MotionItem]:
    length_s = row["num_frames"] / FPS
    captions: dict[tuple[int, int] | None, list[str]] = {None: []}
    for text in row["texts"] or ():
        words = " ".join(text["text"].split())
        if text["level"] not in CAPTION_LEVELS or not words:
            continue
        part: tuple[int, int] | None = None
        if text["start_s"] > WHOLE_START_S or text["end_s"] < WHOLE_SHARE * length_s:
            start, end = (round(text[name] * CODES_PER_S) for name in ("start_s", "end_s"))
            part = min(start, len(codes)), min(end, len(codes))
        captions.setdefault(part, []).append(words)
    if captions == {None: []}:
        labels = [" ".join(re.split(r"[\s_-]+", label)).strip() for label in row["labels"] or ()]
        captions[None] = [f"a person {label}" for label in labels if label]
    return [
        MotionItem(
            row["motion_id"],
            codes if part is None else codes[slice(*part)],
            tuple(dict.fromkeys(texts)),
            part,
        )
        for part, texts in captions.items()
    ]


# ------------------------------------------------------------------------------------------- plans


def read_plan_items(
    roots: Sequence[Path],
    split: Split,
    splits: SplitConfig,
    *,
    min_grounding_score: float | None = None,
    left_out: Counter[str] | None = None,
) -> list[PlanItem]:
    """The plans of a split: annotated clips, and plans imported as text.

    The clips of a video are chained in order of time: what a clip shows comes next after the clip
    before it. A clip that cannot be used breaks the chain, since what follows it is not next to
    what came before. Of several annotations of one clip the first gives scene and steps, all give
    wordings of the task.

    A plan imported as text has a task and steps, but no scene and nothing that follows. It is also
    read one level higher, the goal taken for the scene and each step for a task: after each step
    but the last there is a point (``is_progress``) whose ``next`` are the steps that follow.

    Args:
        roots: datasets; a video that is in several gives items from each.
        split: of the plans; all clips of one video are in one split, and all text plans of one
            goal.
        splits: shares, as the motions were split.
        min_grounding_score: clips whose score is lower are left out; those without a score stay.
        left_out: counts the annotations that are left out, by ``outcome`` or ``grounding_score``.

    Raises:
        data.store.manifest.DatasetError: one of the datasets is none.
    """
    counted = Counter[str]() if left_out is None else left_out
    items: list[PlanItem] = []
    seen: set[str] = set()
    for root in dict.fromkeys(root.resolve() for root in roots):
        for clips in _videos(root, split, splits):
            usable = [_usable(samples, min_grounding_score, counted) for samples in clips]
            first = next((samples[0] for samples in usable if samples), None)
            if first is None:
                continue
            if not _is_text_plan(first):
                items += _chain(usable)
            elif first["clip_id"] not in seen:
                seen.add(first["clip_id"])
                items += _text_plan(first)
    return items


def _videos(root: Path, split: Split, splits: SplitConfig) -> list[list[list[_Row]]]:
    """The annotations of each video of the split, by clip in order of time, then by sample."""
    videos: dict[str, dict[str, list[_Row]]] = defaultdict(lambda: defaultdict(list))
    for row in Dataset(root).rows("annotations", _PLAN_COLUMNS):
        if split_of(_kept_together(row), splits) == split:
            videos[row["video_id"]][row["clip_id"]].append(row)
    return [
        [
            sorted(samples, key=lambda row: row["sample"])
            for samples in sorted(
                clips.values(), key=lambda rows: (rows[0]["start_s"], rows[0]["clip_id"])
            )
        ]
        for clips in videos.values()
    ]


def _is_text_plan(row: _Row) -> bool:
    return row["annotator"] == TEXT_PLAN and not row["coarse"]


def _kept_together(row: _Row) -> str:
    """What is in one split: a video; or all imported ways to one goal, which are much the same."""
    if _is_text_plan(row) and row["medium"]:
        return " ".join(row["medium"][0].casefold().split())
    return row["video_id"]


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


def _chain(clips: Sequence[Sequence[_Row]]) -> list[PlanItem]:
    items: list[PlanItem] = []
    following: PlanItem | None = None
    # From the last one, because an item holds the one after it.
    for samples in reversed(clips):
        if not samples:
            following = None
            continue
        tasks = [" ".join(text.split()) for row in samples for text in row["medium"] or ()]
        following = PlanItem(
            plan_id=samples[0]["clip_id"],
            scene=" ".join((samples[0]["coarse"] or "").split()),
            tasks=tuple(task for task in dict.fromkeys(tasks) if task),
            steps=_steps(samples[0]),
            next=following,
        )
        items.append(following)
    return items[::-1]


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
