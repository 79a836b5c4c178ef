"""The coarse level of the ``rules`` annotator: one sentence about a whole video.

It tells only what is measured: how many people the person detector counts, how large they are in
the picture, how the camera moves, and which objects are surely seen. It tells no place, and counts
no shots, because a fade divides a video as a cut does.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from annotators.motion.framing import Framing, people_at_a_time
from annotators.texts.people import Person
from annotators.wording.phrases import count_word, sentence
from data.records import Clip, ClipScene

DARK: Final = 0.25
BRIGHT: Final = 0.65
"""Limits of the mean luma of dark and bright videos."""
MAX_COUNTED: Final = 5
"""Larger numbers of people are not told exactly, because a detector misses some of a crowd."""
MAX_OBJECTS: Final = 3
"""Most kinds of objects in a sentence, those that are seen for the longest time."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """Measurements of a whole video.

    Attributes:
        duration_s: duration, seconds.
        num_shots: number of shots.
        num_people: largest number of people who are described at the same time, over all clips.
        counts: numbers of people that the detector counts in the clips; empty if it is not known.
        shot_sizes: ``close-up``, ``medium``, ``full`` or ``wide``, the most frequent first.
        camera: ``static``, ``moving`` or ``mixed``.
        brightness: mean luma, 0..1.
        objects: names of objects that are surely seen, the longest seen first.
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
    objects: tuple[str, ...] = ()
    in_turns: bool = False

    @property
    def coarse(self) -> str:
        """Return one sentence about the video."""
        length = _length(self.duration_s)
        takes = f"in a single shot of {length}" if self.num_shots == 1 else f"for {length}"
        camera = _CAMERAS[self.camera]
        light = ""
        if self.brightness < DARK:
            light = ", in a dark picture"
        elif self.brightness > BRIGHT:
            light = ", in a bright picture"
        things = _listed([named(name) for name in self.objects[:MAX_OBJECTS]])
        who = self._who()
        if not who:
            # Hands or a trunk may well be seen, so that the text does not say that nobody is.
            takes = takes if things else takes.removeprefix("in ")
            return sentence(" ".join(filter(None, (camera, "films", things, takes))) + light)
        if self.shot_sizes:
            who += f" in {' and '.join(_SIZES[size] for size in self.shot_sizes[:2])}"
        if things:
            who += f" with {things}"
        return sentence(f"{who}, filmed by {camera} {takes}{light}")

    def _who(self) -> str:
        """Word the number of people; empty for none."""
        most = max(self.counts, default=0)
        if most < self.num_people or not self.counts:
            # The detector does not count all who are described, so that no number is certain.
            return ("", "a person is seen")[self.num_people] if self.num_people < 2 else _PEOPLE
        if most == 0:
            return ""
        if most == 1:
            return "one person at a time is seen" if self.in_turns else "one person is seen"
        if most > MAX_COUNTED:
            return f"more than {count_word(MAX_COUNTED)} people are seen"
        if min(self.counts) < most:
            return f"up to {count_word(most)} people are seen at a time"
        return f"{count_word(most)} people are seen"


_PEOPLE: Final = "people are seen"
_CAMERAS: Final = {
    "static": "a static camera",
    "moving": "a moving camera",
    "mixed": "a partly static, partly moving camera",
}
_SIZES: Final = {
    "close-up": "a close-up",
    "medium": "a medium view",
    "full": "a full-body view",
    "wide": "a wide view",
}


def named(name: str) -> str:
    """Return a label of COCO with its article; pairs, such as ``skis``, have none."""
    if name.endswith("s") and not name.endswith(("ss", "bus")):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


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
    moving = sum(w for w, c in zip(weights, clips, strict=True) if c.camera == "moving")
    share = moving / max(sum(weights), 1e-3)
    brightness = sum(w * c.brightness for w, c in zip(weights, clips, strict=True))
    return VideoFacts(
        duration_s=duration_s,
        num_shots=num_shots,
        num_people=max(
            (people_at_a_time([p.track for p in people]) for people in people_by_clip.values()),
            default=0,
        ),
        counts=tuple(scene.people_count for scene in scenes if scene.people_count is not None),
        shot_sizes=tuple(size for size, n in sizes.most_common() if n >= 0.2 * total),
        camera="moving" if share > 0.8 else ("static" if share < 0.2 else "mixed"),
        brightness=brightness / max(sum(weights), 1e-3) if clips else 0.5,
        objects=_objects(people_by_clip, scenes),
        in_turns=_in_turns(people_by_clip, scenes, num_shots),
    )


def _in_turns(
    people_by_clip: Mapping[str, Sequence[Person]], scenes: Sequence[ClipScene], num_shots: int
) -> bool:
    """Return whether several tracks are separated by a cut, an empty clip or a time apart."""
    tracks_by_clip = [[p.track for p in people] for people in people_by_clip.values()]
    if sum(map(len, tracks_by_clip)) < 2:
        return False
    empty = any(scene.people_count == 0 for scene in scenes)
    return (
        num_shots > 1
        or empty
        or any(len(tracks) > people_at_a_time(tracks) for tracks in tracks_by_clip)
    )


def _objects(
    people_by_clip: Mapping[str, Sequence[Person]], scenes: Sequence[ClipScene]
) -> tuple[str, ...]:
    seen_s: defaultdict[str, float] = defaultdict(float)
    spans = [found for scene in scenes for found in scene.objects]
    spans += [o for people in people_by_clip.values() for p in people for o in p.track.objects]
    for found in spans:
        if found.name != "person":
            seen_s[found.name] += found.end_s - found.start_s
    return tuple(sorted(seen_s, key=lambda name: -seen_s[name]))
