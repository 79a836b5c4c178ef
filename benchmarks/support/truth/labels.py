"""The labels of the real clips: who is seen when and where, and what they do.

The format and its uncertainty are described in ``EVENTS.md`` of the corpus. Boxes are (4,) pixels
of the upright source frame: left, top, right, bottom.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from data.arrays import FloatArray

DUPLICATES: Final = frozenset({"sample_clip.mp4", "composite_a_multishot.mp4"})
"""Videos whose content is in other videos as well (``EVENTS.md``); they are left out."""
MIN_SURE: Final = 0.6
"""Events of lower certainty are not counted."""
MIN_SIDE_SURE: Final = 0.7
"""Below this certainty the side of an event is ignored."""


@dataclass(frozen=True, slots=True)
class LabeledEvent:
    """One event that a viewer saw.

    Attributes:
        kind: kind of the event, by the list in ``EVENTS.md``.
        side: ``left``, ``right`` or ``both`` from the person's point of view; None if there is
            none or it is not sure.
        direction: direction from the person's point of view; None if there is none.
        count: number of repetitions.
        start_s, end_s: span, seconds.
        main: whether a summary of the clip must tell it.
        sure: certainty that it happened as named, 0..1.
    """

    kind: str
    side: str | None
    direction: str | None
    count: int
    start_s: float
    end_s: float
    main: bool
    sure: float

    @property
    def counts(self) -> bool:
        """Whether the label is certain enough to be counted."""
        return self.sure >= MIN_SURE


@dataclass(frozen=True, slots=True)
class LabeledPerson:
    """One person that a viewer saw.

    Attributes:
        video: file name.
        person: index of the person in the video.
        who: what the person looks like.
        times_s, boxes: times (N,) and boxes (N, 4) at which the person was marked.
        visible: spans in which the person is in the picture, seconds.
        activity_class: class of the main activity.
        events: events in order of time.
        camera: ``static``, ``handheld`` or ``moving``.
        role: ``main``; ``background`` for bystanders; ``crowd`` for people in a crowd of which not
            everybody is labeled; ``no_body`` if only hands are seen.
    """

    video: str
    person: int
    who: str
    times_s: tuple[float, ...]
    boxes: tuple[FloatArray, ...]
    visible: tuple[tuple[float, float], ...]
    activity_class: str
    events: tuple[LabeledEvent, ...]
    camera: str
    role: str

    @property
    def findable(self) -> bool:
        """Whether it is a miss if no track shows this person."""
        return self.role == "main"

    def is_visible(self, time_s: float) -> bool:
        """Return whether the person is in the picture at a time."""
        return any(start - 0.05 <= time_s <= end + 0.05 for start, end in self.visible)

    def box_near(self, time_s: float) -> FloatArray:
        """Return the box at a time, interpolated between the marked ones, (4,)."""
        boxes_N4 = np.array(self.boxes)
        return np.array([np.interp(time_s, self.times_s, boxes_N4[:, i]) for i in range(4)])


def load_labels(folder: Path) -> dict[str, list[LabeledPerson]]:
    """Load the labels of a folder of videos, by file name, without the duplicates."""
    people: defaultdict[str, list[LabeledPerson]] = defaultdict(list)
    with (folder / "events.jsonl").open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["video"] not in DUPLICATES:
                people[row["video"]].append(read_person(row))
    return dict(people)


def read_person(row: Mapping[str, Any]) -> LabeledPerson:
    """Read one line of the labels."""
    boxes = sorted(row["box_at"], key=lambda marked: marked["t"])
    roles = [role for role in ("no_body", "background", "crowd") if row.get(role)]
    spans = row.get("visible_spans") or [row["visible"]]
    return LabeledPerson(
        video=row["video"],
        person=row["person"],
        who=row["who"],
        times_s=tuple(float(marked["t"]) for marked in boxes),
        boxes=tuple(np.array(marked["xyxy"], np.float64) for marked in boxes),
        visible=tuple((float(start), float(end)) for start, end in spans),
        activity_class=row["activity_class"],
        events=tuple(_event(event) for event in row["events"]),
        camera=row["camera"],
        role=roles[0] if roles else "main",
    )


def _event(row: Mapping[str, Any]) -> LabeledEvent:
    sure_of_side = row.get("side_sure", 1.0) >= MIN_SIDE_SURE
    named = row["side"] if row["side"] == "both" or sure_of_side else "none"
    return LabeledEvent(
        kind=row["kind"],
        side=None if named == "none" else named,
        direction=None if row["direction"] == "none" else row["direction"],
        count=row["count"],
        start_s=float(row["start_s"]),
        end_s=float(row["end_s"]),
        main=row["main"],
        sure=row["sure"],
    )
