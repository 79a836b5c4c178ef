"""The people of a clip who are seen well enough to be described, and how texts name each of them.

Nobody's looks are measured, so that texts tell people apart by their place: to the left or right of
each other, nearer to or farther from the camera, or earlier or later in the clip.

Shapes: T frames at 20 fps, J = 22 joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final

import numpy as np

from annotators.motion.describe import MotionDescription, inside_frame
from annotators.motion.framing import Framing, by_prominence, framing
from annotators.motion.pairs import describe_people
from annotators.motion.signals import MIN_CONFIDENCE
from annotators.texts.config import PeopleConfig
from data.arrays import FloatArray
from data.errors import ItemError, Reason
from data.motion.skeleton import FPS
from data.records import ObjectSpan, PoseTrack

APART_SHARE: Final = 0.06
"""Smallest distance of two people in the picture, relative to its width, that "left" and "right"
need: about half the width of a body that fills the height of a 16:9 frame."""
NEARER_RATIO: Final = 1.25
"""Smallest ratio of the heights in the picture of two people of whom one is in front: with equal
bodies the other one is a quarter farther away. Adults differ by less than 1.2."""
STEADY_SHARE: Final = 0.8
"""Smallest share of the common time in which two people keep their order."""
START_S: Final = 1.0
"""Length of the start of a track, for people who change their order."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person who is described.

    Attributes:
        number: 1-based number in prompts and pictures, the most prominent person first.
        track: pose track.
        frame: position and size in the picture.
        where: what tells the person apart from the others, e.g. ``on the left``; empty if nobody
            else is described.
        description: measured motion.
    """

    number: int
    track: PoseTrack
    frame: Framing
    where: str
    description: MotionDescription

    @property
    def who(self) -> str:
        """Noun phrase for the person."""
        return f"the person {self.where}" if self.where else "the person"


@dataclass(frozen=True, slots=True)
class Unseen:
    """A tracked person who is not seen well enough; ``problem`` says what was found."""

    track_id: int
    problem: str


@dataclass(frozen=True, slots=True)
class People:
    """The people of a clip: those who are described, by prominence, and the others."""

    seen: tuple[Person, ...]
    unseen: tuple[Unseen, ...]


def people_of(
    tracks: Sequence[PoseTrack],
    frame_size_px: tuple[int, int],
    config: PeopleConfig,
    things: Sequence[ObjectSpan] = (),
) -> People:
    """Choose the people of a clip who are seen well enough, name them and describe their motion.

    Args:
        tracks: pose tracks of the people of the clip.
        frame_size_px: (width, height) of the video.
        config: what "well enough" means.
        things: objects of the scene.
    """
    seen: list[PoseTrack] = []
    unseen: list[Unseen] = []
    for track in by_prominence(tracks, frame_size_px):
        problem = _problem(track, frame_size_px, config)
        if not problem and len(seen) >= config.max_people:
            problem = f"{config.max_people} more prominent people"
        if problem:
            unseen.append(Unseen(track.track_id, problem))
        else:
            seen.append(track)
    described = describe_people(seen, frame_size_px, things)
    named = zip(seen, places(seen, frame_size_px), described, strict=True)
    people = [
        Person(number, track, framing(track, frame_size_px), where, description)
        for number, (track, where, description) in enumerate(named, start=1)
    ]
    return People(tuple(people), tuple(unseen))


def _problem(track: PoseTrack, frame_size_px: tuple[int, int], config: PeopleConfig) -> str:
    """Return why a person is not seen well enough; empty if they are."""
    if track.boxes is not None:
        return "a part of the body, whose joints are not placed"
    measured_s = float(track.valid.sum()) / FPS
    height_px = framing(track, frame_size_px).height_share * frame_size_px[1]
    if measured_s < config.min_measured_s:
        return f"measured for {measured_s:.2f} s"
    if height_px < config.min_height_px:
        return f"{height_px:.0f} px tall"
    if track.quality < config.min_confidence:
        return f"confidence {track.quality:.2f}"
    return ""


def poorly_seen(problems: Sequence[str], config: PeopleConfig) -> ItemError:
    """Return the error of people who are not seen well enough.

    Args:
        problems: what was found for each of them.
        config: what was expected.
    """
    return ItemError(
        Reason.POORLY_SEEN,
        f"expected a person who is measured for {config.min_measured_s:g} s, "
        f"{config.min_height_px} px tall, with confidence {config.min_confidence:g}, among the "
        f"{config.max_people} most prominent ones, found: {'; '.join(problems)}.",
        "Nothing to do: the poses are kept. Lower the limits in `people` to annotate them.",
    )


# ---------------------------------------------------------------------------------------- naming


def places(tracks: Sequence[PoseTrack], frame_size_px: tuple[int, int]) -> list[str]:
    """Return what tells each person apart from the others.

    Args:
        tracks: pose tracks of the people.
        frame_size_px: (width, height) of the video.

    Returns:
        Different phrases; an empty one for a single person.
    """
    if len(tracks) < 2:
        return [""] * len(tracks)
    outlines = [_outline(track, frame_size_px) for track in tracks]
    x = [float(np.nanmedian(outline.x_T)) for outline in outlines]
    changes = any(_change_order(a, b) for a, b in combinations(outlines, 2))
    if changes:
        x = [float(np.nanmedian(outline.x_T[: round(START_S * FPS)])) for outline in outlines]
    clusters = _clusters(x)
    phrases = [""] * len(tracks)
    for name, cluster in zip(
        _SIDES.get(len(clusters)) or _ordinals(len(clusters)), clusters, strict=True
    ):
        side = f"{name} at first" if changes and name else name
        within = _within(cluster, outlines)
        for index, detail in zip(cluster, within, strict=True):
            phrases[index] = ", ".join(part for part in (side, detail) if part)
    return phrases


@dataclass(frozen=True, slots=True)
class _Outline:
    """Horizontal position (share of the width) and height in pixels of a person; NaN if unseen."""

    pts_s: FloatArray
    x_T: FloatArray
    height_T: FloatArray


def _outline(track: PoseTrack, frame_size_px: tuple[int, int]) -> _Outline:
    seen_TJ = (track.confidence >= MIN_CONFIDENCE) & inside_frame(track, frame_size_px)
    seen_TJ[seen_TJ.sum(axis=1) < 3] = False
    if not seen_TJ.any():
        seen_TJ[:] = True
    x_T, height_T = np.full((2, track.num_frames), np.nan)
    known_T = seen_TJ.any(axis=1)
    seen_KJ1, points_KJ2 = seen_TJ[known_T, :, None], track.joints_2d[known_T]
    low_K2 = points_KJ2.min(axis=1, where=seen_KJ1, initial=np.inf)
    high_K2 = points_KJ2.max(axis=1, where=seen_KJ1, initial=-np.inf)
    x_T[known_T] = (low_K2 + high_K2)[:, 0] / 2 / frame_size_px[0]
    height_T[known_T] = (high_K2 - low_K2)[:, 1]
    return _Outline(track.pts_s, x_T, height_T)


def _common(a: _Outline, b: _Outline) -> tuple[_Outline, _Outline] | None:
    """Return the frames in which both people are seen, or None without any."""
    _, in_a, in_b = np.intersect1d(
        np.rint(a.pts_s * FPS), np.rint(b.pts_s * FPS), return_indices=True
    )
    both = np.isfinite(a.x_T[in_a]) & np.isfinite(b.x_T[in_b])
    in_a, in_b = in_a[both], in_b[both]
    if not len(in_a):
        return None
    one, other = (
        _Outline(outline.pts_s[frames], outline.x_T[frames], outline.height_T[frames])
        for outline, frames in ((a, in_a), (b, in_b))
    )
    return one, other


def _change_order(a: _Outline, b: _Outline) -> bool:
    """Whether two people who are clearly apart change their order from left to right."""
    both = _common(a, b)
    if both is None:
        return False
    apart_T = both[0].x_T - both[1].x_T
    left, right = (float((sign * apart_T > APART_SHARE / 2).mean()) for sign in (-1, 1))
    return min(left, right) > 1 - STEADY_SHARE


def _clusters(x: Sequence[float]) -> list[list[int]]:
    """Group indices from left to right; the groups are at least ``APART_SHARE`` apart."""
    order = sorted(range(len(x)), key=lambda index: x[index])
    clusters = [order[:1]]
    for before, index in pairwise(order):
        if x[index] - x[before] >= APART_SHARE:
            clusters.append([])
        clusters[-1].append(index)
    return clusters


_SIDES: Final = {
    1: ("",),
    2: ("on the left", "on the right"),
    3: ("on the left", "in the middle", "on the right"),
}
_NUMBERS: Final = ("second", "third", "fourth", "fifth", "sixth", "seventh")


def _ordinals(count: int) -> list[str]:
    """Return the names of at least four places from left to right."""
    middle = [
        f"{_NUMBERS[min(index, len(_NUMBERS) - 1)]} from the left" for index in range(count - 2)
    ]
    return ["on the far left", *middle, "on the far right"]


def _within(cluster: Sequence[int], outlines: Sequence[_Outline]) -> list[str]:
    """Return what tells people of one place apart, by depth or by time."""
    if len(cluster) == 1:
        return [""]
    if len(cluster) == 2:
        a, b = (outlines[index] for index in cluster)
        both = _common(a, b)
        if both is None:
            first = a.pts_s[0] <= b.pts_s[0]
            return ["seen first", "seen later"] if first else ["seen later", "seen first"]
        ratio_T = both[0].height_T / np.maximum(both[1].height_T, 1e-6)
        if (ratio_T >= NEARER_RATIO).mean() >= STEADY_SHARE:
            return ["in front", "at the back"]
        if (ratio_T <= 1 / NEARER_RATIO).mean() >= STEADY_SHARE:
            return ["at the back", "in front"]
    # Nothing that is measured tells them apart, except the order of prominence.
    return [f"number {index + 1}" for index in cluster]
