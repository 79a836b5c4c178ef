"""The ``rules`` annotator.

An annotation has three levels: coarse scene, medium activity and fine steps. The ``rules``
annotator words what :mod:`annotators.motion.describe` measured, so every step has the measurement
that it was made from.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from annotators.grounding.checks import ground_medium, grounding_score
from annotators.motion.activities import ActivityKind
from annotators.motion.describe import KINEMATICS_VERSION, MIN_STAND_S, MotionDescription
from annotators.motion.events import PostureKind
from annotators.texts.checks import check_medium
from annotators.texts.config import AnnotationConfig
from annotators.texts.facts import body_events, partners
from annotators.texts.people import People, Person, Unseen
from annotators.texts.scene import VideoFacts
from annotators.wording.acts import BodyAct, Clause
from annotators.wording.phrases import (
    PHRASES_VERSION,
    in_other_words,
    in_words,
    is_compound,
    measurement,
)
from annotators.wording.timeline import timeline
from data.records import (
    Annotation,
    Clip,
    FineStep,
    Grounding,
    Outcome,
    Verdict,
)

ANNOTATIONS_VERSION: Final = "3"
"""Version of the annotator. It is increased whenever its texts change."""

MAX_ACTIVITIES: Final = 3
MIN_RELATIVE_WEIGHT: Final = 0.72
"""Clauses of lower weight, relative to the largest weight, are not part of the medium text."""


# -------------------------------------------------------------------------------------- medium


def _leading(clauses: Sequence[Clause]) -> list[Clause]:
    """Return the clauses of the main activity, in order of time."""
    strongest = max(clause.weight for clause in clauses)
    worth = [c for c in clauses if c.weight >= MIN_RELATIVE_WEIGHT * strongest and not c.goes_on]
    worth = sorted(worth, key=lambda c: (c.weight, c.end_s - c.start_s), reverse=True)
    # Of several clauses with the same wording only one is kept.
    by_wording: dict[str, Clause] = {}
    for clause in worth:
        by_wording.setdefault(in_words(clause, "base", "their", detail=False), clause)
    chosen = list(by_wording.values())[:MAX_ACTIVITIES]
    return sorted(chosen, key=lambda c: c.start_s)


def _joined(clauses: Sequence[Clause], parts: Sequence[str]) -> str:
    """Join the wordings of clauses into one sentence."""
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        link = ", then" if is_compound(clauses[0]) else " and then"
        return f"{parts[0]}{link} {parts[1]}"
    return f"{parts[0]}, then {parts[1]}, and finally {parts[2]}"


def medium_texts(description: MotionDescription, clauses: Sequence[Clause]) -> tuple[str, ...]:
    """Return up to three wordings of the main activity, of at most 30 words each."""
    chosen = _leading(clauses)
    dances = description.main.kind is ActivityKind.DANCE
    wordings: list[str] = []
    while True:
        third = [in_words(c, "third", "their", detail=False) for c in chosen]
        counted = [in_other_words(c, "third", "their") for c in chosen]
        doing = [in_words(c, "ing", "their", detail=False) for c in chosen]
        if dances:
            wordings = [
                f"A person moves in a dance-like way, {' and '.join(doing[:2])}.",
                f"Someone performs dance-like movements and {counted[-1]}.",
                f"The person is making dance-like movements, {' and '.join(doing[-2:])}.",
            ]
        elif len(chosen) == 1:
            wordings = [
                f"A person {third[0]}.",
                f"Someone {counted[0]}.",
                f"The person is {doing[0]}.",
            ]
        else:
            wordings = [
                f"A person {_joined(chosen, third)}.",
                f"Someone {_joined(chosen, counted)}.",
                f"After {doing[0]}, the person {_joined(chosen[1:], third[1:])}.",
            ]
        fitting = [text for text in dict.fromkeys(wordings) if not check_medium(text)]
        if fitting or len(chosen) == 1:
            return tuple(fitting)
        weakest = min(chosen, key=lambda c: c.weight)
        chosen = [c for c in chosen if c is not weakest]


# ---------------------------------------------------------------------------------------- fine


def fine_steps(clauses: Sequence[Clause], clip: Clip) -> tuple[FineStep, ...]:
    """Return steps in order of time, clipped to the clip, each with its measurement."""
    steps: list[FineStep] = []
    for clause in clauses:
        start_s = min(max(clause.start_s, clip.start_s), clip.end_s)
        end_s = min(max(clause.end_s, start_s), clip.end_s)
        steps.append(
            FineStep(
                text=in_words(clause, "base", "the"),
                start_s=start_s,
                end_s=end_s,
                grounding=Grounding(Verdict.SUPPORTED, measurement(clause), start_s, end_s),
            )
        )
    return tuple(steps)


def only_told(people: People) -> People:
    """Return the people of a clip of whom the measured motion tells something.

    Somebody may be in view for less than a stride takes, upright or with hidden legs, and make no
    movement that is large enough to be named. From joints nobody can say whether they stand, walk
    or ride; a visual model may see it.
    """
    told, untold = list[Person](), list[Unseen]()
    for person in people.seen:
        description = person.description
        lasts_s = description.end_s - description.start_s
        if lasts_s < MIN_STAND_S and all(map(_tells_nothing, timeline(description))):
            problem = f"in view for {lasts_s:.2f} s, in which no movement is measured"
            untold.append(Unseen(person.track.track_id, problem))
        else:
            told.append(person)
    return People(tuple(told), (*people.unseen, *untold))


def _tells_nothing(clause: Clause) -> bool:
    """Return whether a clause only says that somebody is there."""
    hidden = clause.posture is None or clause.posture.kind is PostureKind.UNKNOWN
    return clause.act is BodyAct.STAY_UPRIGHT or (clause.act is BodyAct.STAY and hidden)


def annotate_clip(
    clip: Clip, people: Sequence[Person], facts: VideoFacts, config: AnnotationConfig
) -> list[Annotation]:
    """Write the three levels of every person in one clip.

    Args:
        clip: clip to annotate.
        people: people who are described, the most prominent one first.
        facts: measurements of the whole video.
        config: limits of the annotations.
    """
    return [_annotate(clip, person, facts, config) for person in people]


def _annotate(
    clip: Clip, person: Person, facts: VideoFacts, config: AnnotationConfig
) -> Annotation:
    description = person.description
    clauses = timeline(description, config.max_steps)
    medium = medium_texts(description, clauses)[: config.num_medium]
    fine = fine_steps(clauses, clip)
    medium_grounding = ground_medium(medium, description)
    version = f"{KINEMATICS_VERSION}.{PHRASES_VERSION}.{ANNOTATIONS_VERSION}"
    digest = hashlib.sha256(version.encode()).hexdigest()[:8]
    return Annotation(
        clip_id=clip.clip_id,
        video_id=clip.video_id,
        track_id=person.track.track_id,
        coarse=facts.coarse,
        medium=medium,
        fine=fine,
        activity=description.activity,
        annotator=config.annotator,
        model=f"kinematics-{KINEMATICS_VERSION}",
        prompt_id=f"rules-{digest}",
        outcome=Outcome.SUCCESS,
        medium_grounding=medium_grounding,
        # Every step is supported by the measurement that it was made from, so only the medium texts
        # are checked.
        grounding_score=grounding_score([*(s.grounding for s in fine), *medium_grounding]),
        events=body_events(description),
        objects=person.track.objects,
        others=partners(description),
    )
