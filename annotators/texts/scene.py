"""The coarse level of the ``rules`` annotator: one sentence about a whole video.

It tells only what is measured: how many people the person detector counts, how large they are in
the picture, how the camera moves, and which objects are surely seen. It tells no place, and counts
no shots, because a fade divides a video as a cut does.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from annotators.motion.framing import Framing, people_at_a_time
from annotators.objects.detector import LABELS, PERSON
from annotators.objects.scene import SCENERY
from annotators.texts.people import Person
from annotators.wording.phrases import count_word, sentence
from data.inflection import plural
from data.records import Clip, ClipScene

DARK: Final = 0.25
BRIGHT: Final = 0.65
"""Limits of the mean luma of dark and bright videos."""
MAX_COUNTED: Final = 4
MANY: Final = 8
"""Larger numbers of people are not told exactly, because a detector misses some of a crowd."""
MAX_OBJECTS: Final = 3
"""Most kinds of objects in a sentence, those that are seen for the longest time, and the largest
number of one kind that is told."""
SURELY_STATIC, SURELY_MOVING = 0.015, 0.03
"""Camera speeds, image widths per second, up to which and from which the camera is told. Cars that
fill the picture and a trembling tripod measure what lies between, and a viewer calls them static.
"""
CAMERA_SHARE: Final = 0.8
"""Share of the video in which the camera has to be surely static, or moving."""
ABSENCE_S: Final = 2.5
"""Nobody is seen for at least so long between people who come one after the other. Detectors and
landmarks together miss a trunk with arms, which stays in the picture, for up to 1.6 s."""
SIZED_SHARE: Final = 0.8
"""Share of the time in which people are seen, for which their size has to be measured."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Things:
    """Objects of one kind: the name of one, and how many are seen at the same time, at least."""

    name: str
    number: int = 1

    def __str__(self) -> str:
        """Return the noun phrase: ``a ball``, ``three bottles``, ``cars``."""
        if self.number == 1 or _is_pair(self.name):
            return named(self.name)
        if self.name in SCENERY:
            # Those in the distance are seen by chance, so that no number is certain.
            return plural(self.name)
        number = count_word(self.number) if self.number <= MAX_OBJECTS else "several"
        return f"{number} {plural(self.name)}"


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """Measurements of a whole video.

    Attributes:
        duration_s: duration, seconds.
        num_shots: number of shots.
        num_people: largest number of people who are described at the same time, over all clips.
        counts: numbers of people that the detector counts in the clips; empty if it is not known.
        shot_sizes: ``close-up``, ``medium``, ``full`` or ``wide``, the most frequent first; empty
            if it is not known of most people.
        camera: ``static`` or ``moving``; empty if it is not certain.
        brightness: mean luma, 0..1.
        held: objects near a body, the longest seen first.
        around: other objects that are surely seen, the longest seen first.
        somebody: whether a person, or a part of one, is surely seen.
        in_turns: whether people come one after the other, or may: a person who left the picture or
            is seen in another shot is not known to be the same.
    """

    duration_s: float
    num_shots: int
    num_people: int
    counts: tuple[int, ...]
    shot_sizes: tuple[str, ...]
    camera: str
    brightness: float
    held: tuple[Things, ...] = ()
    around: tuple[Things, ...] = ()
    somebody: bool = False
    in_turns: bool = False

    @property
    def coarse(self) -> str:
        """Return one sentence about the video."""
        length = _length(self.duration_s)
        camera = f"a {self.camera} camera" if self.camera else ""
        light = ""
        if self.brightness < DARK:
            light = ", in a dark picture"
        elif self.brightness > BRIGHT:
            light = ", in a bright picture"
        who = self._who()
        if not who:
            # Hands may well be seen, so that the text does not say that nobody is.
            things = _listed([*map(str, (*self.held, *self.around)[:MAX_OBJECTS])])
            takes = f"a single shot of {length}" if self.num_shots == 1 else f"for {length}"
            if things and self.num_shots == 1:
                takes = f"in {takes}"
            films = " ".join(filter(None, (camera or "a camera", "films", things, takes)))
            return sentence(films + light)
        if self.shot_sizes:
            who += f" in {' and '.join(_SIZES[size] for size in self.shot_sizes[:2])}"
        if self.held:
            who += f" with {_listed([*map(str, self.held[:MAX_OBJECTS])])}"
        elif self.around:
            who += f" with {_listed([*map(str, self.around[:MAX_OBJECTS])])} in sight"
        if camera:
            takes = f"in a single shot of {length}" if self.num_shots == 1 else f"for {length}"
            return sentence(f"{who}, filmed by {camera} {takes}{light}")
        takes = f"a {'single shot' if self.num_shots == 1 else 'video'} of {length}"
        return sentence(f"{who}, in {takes}{light}")

    def _who(self) -> str:
        """Word the number of people; empty for none."""
        most = max(self.counts, default=0)
        if most < max(self.num_people, 1):
            # The detector does not count all who are seen, so that no number is certain.
            if self.num_people > 1:
                return _PEOPLE
            return "a person is seen" if self.num_people or self.somebody else ""
        if most == 1:
            return "one person at a time is seen" if self.in_turns else "one person is seen"
        if most > MAX_COUNTED:
            many = "many" if most >= MANY else f"more than {count_word(MAX_COUNTED)}"
            return f"{many} people are seen"
        if min(self.counts) < most:
            return f"up to {count_word(most)} people are seen at a time"
        return f"{count_word(most)} people are seen"


_PEOPLE: Final = "people are seen"
_SIZES: Final = {
    "close-up": "a close-up",
    "medium": "a medium view",
    "full": "a full-body view",
    "wide": "a wide view",
}


def named(name: str) -> str:
    """Return a label of COCO with its article; pairs, such as ``skis``, have none."""
    if _is_pair(name):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _is_pair(name: str) -> bool:
    return name.endswith("s") and not name.endswith(("ss", "bus"))


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _length(seconds: float) -> str:
    if seconds >= 90:
        minutes = seconds / 60
        return f"about {minutes:.1f} minutes".replace(".0 ", " ")
    whole = round(seconds)
    return "about one second" if whole <= 1 else f"about {count_word(whole)} seconds"


def shot_size(frame: Framing) -> str:
    """Return ``close-up``, ``medium``, ``full`` or ``wide``, by the extent and size of the body."""
    if frame.extent == "full":
        return "wide" if frame.height_share < 0.4 else "full"
    if frame.extent in ("knees_up", "hips_up"):
        return "medium"
    return "close-up" if frame.height_share > 0.5 else "medium"


def summarize_video(
    clips: Sequence[Clip],
    people_by_clip: Mapping[str, Sequence[Person]],
    scenes: Sequence[ClipScene],
    duration_s: float,
    num_shots: int,
) -> VideoFacts:
    """Collect the measurements of a whole video.

    Args:
        clips: all clips of the video.
        people_by_clip: people who are described, by ``clip_id``; clips without any may be missing.
        scenes: what the clips show beside them; clips in which it was not looked for are missing.
        duration_s: duration of the video, seconds.
        num_shots: number of shots.
    """
    sizes: Counter[str] = Counter()
    for people in people_by_clip.values():
        for person in people[:1]:
            sizes[shot_size(person.frame)] += person.track.num_frames
    total = max(sum(sizes.values()), 1)
    weights = [max(clip.end_s - clip.start_s, 1e-3) for clip in clips]
    brightness = sum(w * c.brightness for w, c in zip(weights, clips, strict=True))
    tracked = [
        (float(p.track.pts_s[0]), float(p.track.pts_s[-1]))
        for people in people_by_clip.values()
        for p in people
    ]
    detected = [
        (found.start_s, found.end_s)
        for scene in scenes
        for found in scene.objects
        if found.name == LABELS[PERSON]
    ]
    stays = _merged([*tracked, *detected])
    is_sized = _length_s(_merged(tracked)) >= SIZED_SHARE * _length_s(stays)
    held, around = _objects(people_by_clip, scenes)
    return VideoFacts(
        duration_s=duration_s,
        num_shots=num_shots,
        num_people=max(
            (people_at_a_time([p.track for p in people]) for people in people_by_clip.values()),
            default=0,
        ),
        counts=tuple(scene.people_count for scene in scenes if scene.people_count is not None),
        shot_sizes=tuple(s for s, n in sizes.most_common() if is_sized and n >= 0.2 * total),
        camera=_camera(clips, weights),
        brightness=brightness / max(sum(weights), 1e-3) if clips else 0.5,
        held=held,
        around=around,
        somebody=bool(detected),
        in_turns=_in_turns(clips, stays),
    )


def _camera(clips: Sequence[Clip], weights: Sequence[float]) -> str:
    """Return ``static`` or ``moving``, if it is certain for most of the video."""
    shares = {
        "static": [clip.camera_speed < SURELY_STATIC for clip in clips],
        "moving": [clip.camera_speed >= SURELY_MOVING for clip in clips],
    }
    total = max(sum(weights), 1e-3)
    for name, is_so in shares.items():
        if sum(w for w, so in zip(weights, is_so, strict=True) if so) > CAMERA_SHARE * total:
            return name
    return ""


def _in_turns(clips: Sequence[Clip], stays: Sequence[Span]) -> bool:
    """Return whether people are seen in several shots, or with an absence between them."""
    if any(after[0] - before[1] >= ABSENCE_S for before, after in pairwise(stays)):
        return True
    shots = {
        clip.shot_index
        for clip in clips
        for start_s, end_s in stays
        if min(end_s, clip.end_s) - max(start_s, clip.start_s) > 0
    }
    return len(shots) > 1


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Return the union of spans, in order of time."""
    merged: list[Span] = []
    for start_s, end_s in sorted(spans):
        if merged and start_s <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_s))
        else:
            merged.append((start_s, end_s))
    return merged


def _length_s(spans: Sequence[Span]) -> float:
    return sum(end_s - start_s for start_s, end_s in spans)


def _objects(
    people_by_clip: Mapping[str, Sequence[Person]], scenes: Sequence[ClipScene]
) -> tuple[tuple[Things, ...], tuple[Things, ...]]:
    """Return the objects near a body, and the others, the longest seen first."""
    held_s: defaultdict[str, float] = defaultdict(float)
    seen_s: defaultdict[str, float] = defaultdict(float)
    number: defaultdict[str, int] = defaultdict(lambda: 1)
    for people in people_by_clip.values():
        for found in (found for person in people for found in person.track.objects):
            held_s[found.name] += found.end_s - found.start_s
    for scene in scenes:
        names = Counter(found.name for found in scene.objects)
        for found in scene.objects:
            if found.name != LABELS[PERSON]:
                seen_s[found.name] += (found.end_s - found.start_s) / names[found.name]
                number[found.name] = max(number[found.name], names[found.name])
    held = sorted(held_s, key=lambda name: -held_s[name])
    around = sorted(seen_s.keys() - held_s.keys(), key=lambda name: (-seen_s[name], name))
    return (
        tuple(Things(name, number[name]) for name in held),
        tuple(Things(name, number[name]) for name in around),
    )
