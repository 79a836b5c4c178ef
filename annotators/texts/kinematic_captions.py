"""The ``kinematic`` captioner.

A caption is prose about one person in a clip. The ``kinematic`` captioner describes only what was
measured: the position of the person in the frame, how much of the body is visible, the movements
with their times, speeds and counts, and the objects near the person.

Shapes: T frames at 20 fps, J = 22 joints.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from annotators.motion.describe import KINEMATICS_VERSION, MotionDescription
from annotators.motion.events import EventKind
from annotators.motion.framing import Framing
from annotators.texts.people import Person
from annotators.texts.scene import named
from annotators.wording.acts import Clause
from annotators.wording.phrases import (
    PHRASES_VERSION,
    Form,
    count_word,
    in_words,
    is_compound,
    sentence,
)
from annotators.wording.timeline import timeline
from data.records import Caption, Clip, ClipScene, Outcome

CAPTIONS_VERSION: Final = "2"
"""Version of the prose. It is increased whenever the prose changes."""

MAX_MAIN_SENTENCES: Final = 3
MAX_OBJECTS: Final = 2
NEAR_SHARE: Final = 0.80
FAR_SHARE: Final = 0.35
"""Height of a fully visible body, relative to the height of the frame."""


def caption_from_motion(
    clip: Clip, people: Sequence[Person], scene: ClipScene | None = None
) -> list[Caption]:
    """Write the ``kinematic`` captions of one clip.

    Args:
        clip: clip to caption.
        people: people who are described, the most prominent one first.
        scene: what the clip shows beside them; None if it was not looked for.

    Returns:
        One caption per person, which names the person by place if there are several.
    """
    version = f"{KINEMATICS_VERSION}.{PHRASES_VERSION}.{CAPTIONS_VERSION}"
    digest = hashlib.sha256(version.encode()).hexdigest()[:8]
    count = scene.people_count if scene else None
    return [
        Caption(
            video_id=clip.video_id,
            clip_id=clip.clip_id,
            captioner="kinematic",
            model=f"kinematics-{KINEMATICS_VERSION}",
            prompt_id=f"kinematic-{digest}",
            text=" ".join(_sentences(person, len(people), count, clip)),
            outcome=Outcome.SUCCESS,
            track_id=person.track.track_id,
        )
        for person in people
    ]


# ----------------------------------------------------------------------------------- sentences

_EXTENTS: Final = {
    "full": "from head to foot",
    "knees_up": "from the knees up",
    "hips_up": "from the hips up",
}
_ONLY: Final = {
    "upper_body": "Only the upper body is seen.",
    "arms": "Only the arms and hands are seen.",
    "legs": "Only the legs are seen.",
}


def _where(frame: Framing) -> str:
    if frame.moves_across:
        return f"moving from the {frame.start_place} to the {frame.end_place} of the frame"
    return (
        f"in the {frame.place} of the frame" if frame.place == "center" else f"on the {frame.place}"
    )


def _sentences(person: Person, num_people: int, count: int | None, clip: Clip) -> list[str]:
    return [
        *_opening(person, num_people, count),
        *_motion_sentences(person.description, clip, person.who),
        *_objects(person, clip),
    ]


def _opening(person: Person, num_people: int, count: int | None) -> list[str]:
    """Word who is seen, where and how much of them; ``count`` is the number in the picture."""
    frame = person.frame
    sentences: list[str] = []
    subject = "one person"
    if num_people > 1:
        subject = person.who
        if count is not None and count >= num_people:
            sentences.append(sentence(f"{count_word(count)} people are in the picture"))
    elif count is not None and count > 1:
        subject = f"one of {count_word(count)} people"
    extent = _EXTENTS.get(frame.extent)
    seen = " ".join([subject, "is seen", *([extent] if extent else [])])
    # Where somebody is tells them apart already, unless they move.
    if frame.moves_across:
        seen += f", {_where(frame)}"
    elif num_people == 1:
        seen += f" {_where(frame)}"
    if frame.extent == "full" and frame.height_share > NEAR_SHARE:
        seen += ", close to the camera"
    elif frame.extent == "full" and frame.height_share < FAR_SHARE:
        seen += ", far from the camera"
    sentences.append(sentence(seen))
    if frame.extent in _ONLY:
        sentences.append(_ONLY[frame.extent])
    return sentences


_NEAR: Final = {
    "wrist": "hand",
    "elbow": "arm",
    "ankle": "foot",
    "foot": "foot",
    "knee": "leg",
    "hip": "hip",
    "head": "head",
}
"""Words for the joints that an object is near."""


def _objects(person: Person, clip: Clip) -> list[str]:
    """Word the objects near a person, one sentence for each of the first two."""
    sentences: list[str] = []
    for found in person.track.objects[:MAX_OBJECTS]:
        side, _, joint = found.near.rpartition("_")
        place = " ".join(part for part in ("their", side, _NEAR.get(joint, "body")) if part)
        when = _span(found.start_s - clip.start_s, found.end_s - clip.start_s, clip)
        sentences.append(sentence(f"{when}, {named(found.name)} is near {place}"))
    return sentences


def _seconds(value: float) -> str:
    text = f"{max(value, 0.0):.1f}".removesuffix(".0")
    return f"{text} second" if text == "1" else f"{text} seconds"


def _when(clause: Clause, clip: Clip) -> str:
    return _span(clause.start_s - clip.start_s, clause.end_s - clip.start_s, clip)


def _span(start_s: float, end_s: float, clip: Clip) -> str:
    """Word a span in seconds from the start of the clip."""
    length_s = clip.end_s - clip.start_s
    if end_s - start_s >= 0.85 * length_s:
        return "throughout the clip"
    if start_s < 0.4:
        return f"for the first {_seconds(end_s)}" if end_s - start_s > 1.5 else "at the start"
    if end_s - start_s > 2.0:
        first = f"{start_s:.1f}".removesuffix(".0")
        return f"from {first} to {_seconds(end_s)}"
    return f"at {_seconds(start_s)}"


def _distance(clause: Clause, description: MotionDescription, clip: Clip) -> str:
    """Word the distance and speed of a walk, unless the camera moves or only the legs tell it."""
    seen = clause.event is not None and clause.event.has_path
    if seen and clause.act in (EventKind.WALK, EventKind.RUN) and clip.camera == "static":
        way_m = description.traveled_m(clause.start_s, clause.end_s)
        seconds = max(clause.end_s - clause.start_s, 0.1)
        return f" for about {way_m:.1f} meters at {way_m / seconds:.1f} meters per second"
    return ""


def _rhythm(clause: Clause) -> str:
    """Word the frequency of an action that is repeated more than twice."""
    if clause.count > 2 and clause.frequency_hz > 0:
        rate = clause.frequency_hz
        if rate < 0.75:
            return f", about once every {1 / rate:.1f} seconds".replace(".0 ", " ")
        return f", about {_rate(rate)} a second"
    return ""


def _rate(rate_hz: float) -> str:
    nearest = round(rate_hz)
    if abs(rate_hz - nearest) < 0.25:
        return {1: "once", 2: "twice"}.get(nearest, f"{count_word(nearest)} times")
    return f"{rate_hz:.1f} times"


def _motion_sentences(description: MotionDescription, clip: Clip, name: str) -> list[str]:
    """Word the motion of one person.

    Returns:
        At most :data:`MAX_MAIN_SENTENCES` sentences of up to two clauses each.
    """
    clauses = timeline(description, max_clauses=2 * MAX_MAIN_SENTENCES)
    groups = [clauses[i : i + 2] for i in range(0, len(clauses), 2)]
    result: list[str] = []
    for index, group in enumerate(groups):
        # The name takes a singular verb, "they" a plural one.
        form: Form = "base" if index % 2 else "third"
        subject = "they" if index % 2 else (name if index == 0 else "the person")
        parts: list[str] = []
        for position, clause in enumerate(group):
            wording = in_words(clause, form, "their") + _distance(clause, description, clip)
            wording += _rhythm(clause)
            when = _when(clause, clip)
            if position == 0:
                parts.append(
                    f"{when} {subject} {wording}" if index % 2 else f"{when}, {subject} {wording}"
                )
            else:
                comma = "," if is_compound(group[0]) or _rhythm(group[0]) else ""
                parts.append(comma + " " + _second(clause, group[0], when, wording))
        result.append(sentence("".join(parts)))
    return result


def _second(clause: Clause, first: Clause, when: str, wording: str) -> str:
    """Join the second clause of a sentence according to its time relative to the first."""
    if clause.start_s < first.end_s - 0.3 and clause.end_s <= first.end_s + 0.5:
        return f"and meanwhile {wording}"
    if clause.start_s - first.end_s < 0.7:
        return f"and then {wording}"
    return f"and {when} {wording}"
