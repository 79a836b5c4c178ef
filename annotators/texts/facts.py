"""What was measured of people, as records for rows and as JSON for prompts."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from annotators.motion.describe import MotionDescription
from annotators.motion.events import MotionEvent, PostureKind
from annotators.texts.people import Person
from data.records import BodyEvent, Clip, ObjectSpan

MAX_EVENTS: Final = 40
"""Most events of a person in a prompt, the largest ones. A dance of 10 s has about 60."""


def body_events(description: MotionDescription) -> tuple[BodyEvent, ...]:
    """Return the events of a description as records, in order of time."""
    return tuple(map(_body_event, description.events))


def _body_event(event: MotionEvent) -> BodyEvent:
    return BodyEvent(
        kind=event.kind.value,
        part=event.part.value,
        side=event.side.value if event.side else None,
        direction=event.direction.value if event.direction else None,
        level=event.level.value if event.level else None,
        posture=event.posture.value if event.posture else None,
        object=event.object,
        count=event.count,
        magnitude=round(event.magnitude, 4),
        unit=event.unit.value,
        start_s=event.start_s,
        end_s=event.end_s,
        confidence=event.confidence,
        partner=event.partner,
    )


def partners(description: MotionDescription) -> tuple[int, ...]:
    """Return the tracks of the people whom the events involve, in order."""
    return tuple(sorted({e.partner for e in description.events if e.partner is not None}))


def motion_facts(people: Sequence[Person], clip: Clip) -> str:
    """Return one line of JSON per person with the measured motion, for the prompt of a model.

    Times are seconds from the start of the clip, sizes are meters or degrees, and sides are the
    person's own.
    """
    numbers = {person.track.track_id: person.number for person in people}
    return "\n".join(
        json.dumps(_facts(person, numbers, clip), separators=(",", ":")) for person in people
    )


def _facts(person: Person, numbers: Mapping[int, int], clip: Clip) -> dict[str, Any]:
    description = person.description
    events = sorted(description.events, key=lambda event: -event.relative)[:MAX_EVENTS]
    facts: dict[str, Any] = {
        "person": person.number,
        "where": person.where,
        "measured": _span(description.start_s, description.end_s, clip),
        "parts": sorted(description.parts),
        "main_activity": description.activity,
        "postures": [
            {"kind": posture.kind.value} | _span(posture.start_s, posture.end_s, clip)
            for posture in description.postures
            if posture.kind is not PostureKind.UNKNOWN
        ],
        "events": [
            _event_facts(event, numbers, clip)
            for event in sorted(events, key=lambda event: event.start_s)
        ],
        "objects": [_object_facts(found, clip) for found in person.track.objects],
    }
    return {name: value for name, value in facts.items() if value not in ("", [])}


def _event_facts(event: MotionEvent, numbers: Mapping[int, int], clip: Clip) -> dict[str, Any]:
    record = _body_event(event)
    names = ("kind", "part", "side", "direction", "level", "posture", "object")
    facts: dict[str, Any] = {name: getattr(record, name) for name in names}
    if record.partner is not None:
        facts["with_person"] = numbers.get(record.partner)
    if record.count > 1:
        facts["count"] = record.count
    facts["size"] = f"{record.magnitude:.2g} {record.unit}"
    facts |= _span(record.start_s, record.end_s, clip)
    return {name: value for name, value in facts.items() if value is not None}


def _object_facts(found: ObjectSpan, clip: Clip) -> dict[str, Any]:
    return {"name": found.name, "near": found.near} | _span(found.start_s, found.end_s, clip)


def _span(start_s: float, end_s: float, clip: Clip) -> dict[str, float]:
    length_s = clip.end_s - clip.start_s
    first, last = (
        round(min(max(time_s - clip.start_s, 0.0), length_s), 2) for time_s in (start_s, end_s)
    )
    return {"start_s": first, "end_s": last}
