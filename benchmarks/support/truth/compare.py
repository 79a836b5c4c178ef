"""One video compared with its labels, and the figures over all videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.support.truth.events import (
    Judged,
    SaidEvent,
    countable,
    is_recalled,
    judge_all,
    said_events,
)
from benchmarks.support.truth.labels import LabeledEvent, LabeledPerson
from benchmarks.support.truth.people import FoundTrack, Matched, match_people
from benchmarks.support.truth.run import Told
from benchmarks.support.truth.texts import (
    conveys,
    main_activity,
    right_camera,
    right_class,
    right_count,
)

TARGETS: Final = {
    "people_found": 0.90,
    "people_invented": 0,
    "identity_slips": 0,
    "main_events_recalled": 0.70,
    "medium_conveys_main": 0.60,
    "seconds_per_video_second": 0.9,
}
AT_MOST: Final = frozenset({"people_invented", "identity_slips", "seconds_per_video_second"})


@dataclass(frozen=True, slots=True)
class PersonTruth:
    """One labeled person, and what was made of them.

    Attributes:
        person: the labels.
        found: whether the person is found.
        tracks: tracks of the person.
        said: our events of the person.
        recalled, missed: countable main events.
        judged: verdicts on our events.
        activity: activity that the annotations name; empty without an annotation.
        mediums: first medium text of each annotation.
    """

    person: LabeledPerson
    found: bool
    tracks: tuple[FoundTrack, ...]
    said: tuple[SaidEvent, ...]
    recalled: tuple[LabeledEvent, ...]
    missed: tuple[LabeledEvent, ...]
    judged: tuple[Judged, ...]
    activity: str
    mediums: tuple[str, ...]

    @property
    def right_class(self) -> bool:
        """Whether the activity is of the labeled class."""
        return right_class(self.activity, self.person.activity_class)

    @property
    def conveyed(self) -> bool:
        """Whether a medium text conveys the main activity."""
        return conveys(self.mediums, self.person.activity_class)


@dataclass(frozen=True, slots=True)
class VideoTruth:
    """One video, and what was made of it.

    Attributes:
        told: what the dataset says.
        matched: tracks matched to people.
        people: one entry for each labeled person with a body.
        false_of_invented: large events of tracks that lie on nobody.
        count_right, camera_right: whether the coarse text is right.
    """

    told: Told
    matched: Matched
    people: tuple[PersonTruth, ...]
    false_of_invented: tuple[Judged, ...]
    count_right: bool
    camera_right: bool

    @property
    def findable(self) -> list[PersonTruth]:
        """People whom it is a miss not to find."""
        return [one for one in self.people if one.person.findable]

    def judged(self, truth: str) -> list[tuple[PersonTruth | None, Judged]]:
        """Return our events with a verdict, each with its person."""
        events = [(one, j) for one in self.people for j in one.judged if j.truth == truth]
        if truth == "false":
            return [*events, *((None, j) for j in self.false_of_invented)]
        return list(events)


def compare(told: Told, people: Sequence[LabeledPerson]) -> VideoTruth:
    """Compare what a dataset says of a video with its labels."""
    matched = match_people(people, told.tracks, told.frame_size_px)
    said_of = {found: said_events(description) for found, description in told.describe().items()}
    invented = [event for found in matched.invented for event in said_of.get(found, ())]
    return VideoTruth(
        told=told,
        matched=matched,
        people=tuple(
            _compare_person(
                told, person, matched.found(index), matched.tracks_of.get(index, []), said_of
            )
            for index, person in enumerate(people)
            if person.role != "no_body"
        ),
        false_of_invented=tuple(Judged(e, "false", "of nobody") for e in invented if e.large),
        count_right=right_count(told.coarse, people),
        camera_right=right_camera(told.coarse, people),
    )


def _compare_person(
    told: Told,
    person: LabeledPerson,
    found: bool,
    tracks: Sequence[FoundTrack],
    said_of: Mapping[FoundTrack, Sequence[SaidEvent]],
) -> PersonTruth:
    said = [event for track in tracks for event in said_of.get(track, ())]
    counted = countable(person)
    annotations = [row for track in tracks for row in told.annotations_of(track)]
    return PersonTruth(
        person=person,
        found=found,
        tracks=tuple(tracks),
        said=tuple(said),
        recalled=tuple(label for label in counted if is_recalled(label, said)),
        missed=tuple(label for label in counted if not is_recalled(label, said)),
        judged=tuple(judge_all(said, person)),
        activity=main_activity(annotations),
        mediums=tuple(row["medium"][0] for row in annotations if len(row["medium"])),
    )


def figures_of(videos: Sequence[VideoTruth]) -> dict[str, float]:
    """Return the figures over all videos; shares are of findable people unless named otherwise."""
    findable = [one for video in videos for one in video.findable]
    crowd = [one for video in videos for one in video.people if one.person.role == "crowd"]
    num = {truth: sum(len(v.judged(truth)) for v in videos) for truth in ("true", "false")}
    unknown = sum(len(v.judged("unknown")) for v in videos)
    return {
        "people_found": _share([one.found for one in findable]),
        "people": len(findable),
        "people_invented": sum(len(v.matched.invented) for v in videos),
        "identity_slips": sum(len(v.matched.slips) for v in videos),
        "fragments": sum(v.matched.fragments for v in videos),
        "people_found_in_crowds": _share([one.found for one in crowd]),
        "main_events_recalled": _share(
            [True for one in findable for _ in one.recalled]
            + [False for one in findable for _ in one.missed]
        ),
        "main_events": sum(len(one.recalled) + len(one.missed) for one in findable),
        "events_true": num["true"],
        "events_false": num["false"],
        "events_unknown": unknown,
        "false_of_judged": round(num["false"] / max(num["true"] + num["false"], 1), 3),
        "activity_class_right": _share([one.right_class for one in findable]),
        "medium_conveys_main": _share([one.conveyed for one in findable]),
        "coarse_count_right": _share([video.count_right for video in videos]),
        "coarse_camera_right": _share([video.camera_right for video in videos]),
    }


def _share(verdicts: Sequence[bool]) -> float:
    return round(sum(verdicts) / max(len(verdicts), 1), 3)


def meets_targets(figures: dict[str, float]) -> bool:
    """Return whether all targets of measured figures are met."""
    return all(
        figures[name] <= target if name in AT_MOST else figures[name] >= target
        for name, target in TARGETS.items()
        if name in figures
    )
