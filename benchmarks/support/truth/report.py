"""The comparison as Markdown, and pictures of what is wrong."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.support.truth.compare import PersonTruth, VideoTruth
from benchmarks.support.truth.events import Judged
from benchmarks.support.truth.labels import LabeledEvent
from benchmarks.support.truth.people import FoundTrack
from benchmarks.support.truth.pictures import file_name, write_strip

HEADER = (
    "| video | found | invented | slips | fragments | main events | events true / false / unknown "
    "| class | medium | count | camera |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---|",
)


def table(videos: Iterable[VideoTruth]) -> str:
    """Return one line for each video."""
    return "\n".join([*HEADER, *(_line(video) for video in videos)])


def _line(video: VideoTruth) -> str:
    people, matched = video.findable, video.matched
    recalled = sum(len(one.recalled) for one in people)
    countable = recalled + sum(len(one.missed) for one in people)
    events = " / ".join(str(len(video.judged(t))) for t in ("true", "false", "unknown"))
    cells = [
        video.told.name,
        f"{sum(one.found for one in people)} of {len(people)}",
        str(len(matched.invented)),
        str(len(matched.slips)),
        str(matched.fragments),
        f"{recalled} of {countable}",
        events,
        f"{sum(one.right_class for one in people)} of {len(people)}",
        f"{sum(one.conveyed for one in people)} of {len(people)}",
        "right" if video.count_right else "wrong",
        "right" if video.camera_right else "wrong",
    ]
    return f"| {' | '.join(cells)} |"


def details(video: VideoTruth) -> str:
    """Return the texts of a video, and what is missed, false or invented, with times."""
    lines = [f"### {video.told.name}", f"coarse: {video.told.coarse}"]
    for one in video.people:
        lines += _person_lines(one)
    for found in video.matched.invented:
        lines.append(f"- **invented**: {found.name}")
    for found in video.matched.in_crowd:
        lines.append(f"- not labeled, in a crowd: {found.name}")
    for found, people in video.matched.slips:
        lines.append(f"- **slip**: {found.name} lies on persons {people}")
    return "\n".join(lines)


def _person_lines(one: PersonTruth) -> Iterator[str]:
    person = one.person
    role = "" if person.role == "main" else f" [{person.role}]"
    seen = ", ".join(found.name for found in one.tracks) or "no track"
    state = "found" if one.found else "**missed**" if person.findable else "not found"
    yield f"- person {person.person}{role} ({person.who}): {state}; {seen}"
    right = "right" if one.right_class else "wrong"
    yield f"  - class {person.activity_class}: {one.activity or 'none'} ({right})"
    for medium in one.mediums:
        yield f"  - medium ({'conveys' if one.conveyed else 'does not convey'}): {medium}"
    for label in one.missed:
        yield f"  - missed: {describe_label(label)}"
    for judged in one.judged:
        if judged.truth == "false":
            yield f"  - false: {judged.event} ({judged.reason})"


def describe_label(label: LabeledEvent) -> str:
    """Return a labeled event in words."""
    told = [label.kind, *(word for word in (label.side, label.direction) if word)]
    return f"{' '.join(told)} {label.start_s:.2f}-{label.end_s:.2f} s"


def write_pictures(video: VideoTruth, folder: Path) -> None:
    """Write a strip for each missed main event, false event, invented person and slip."""
    told = video.told
    for one in video.people:
        name = f"p{one.person.person}"
        if not one.found and one.person.findable:
            _write(folder, told.path, ("missed_person", name), one.person.visible[0], one)
        for label in one.missed:
            words = ("missed", name, describe_label(label))
            _write(folder, told.path, words, (label.start_s, label.end_s), one)
        for judged in one.judged:
            if judged.truth == "false":
                _write(folder, told.path, ("false", name, *_words(judged)), _span(judged), one)
    for found in video.matched.invented:
        _write_track(folder, told.path, "invented", found)
    for found, _ in video.matched.slips:
        _write_track(folder, told.path, "slip", found)


def _words(judged: Judged) -> Sequence[str]:
    return (str(judged.event), judged.reason)


def _span(judged: Judged) -> tuple[float, float]:
    return judged.event.start_s, judged.event.end_s


def _write(
    folder: Path, video: Path, words: Sequence[str], span: tuple[float, float], one: PersonTruth
) -> None:
    path = folder / file_name(video.stem, *words)
    title = " ".join([video.name, *words])
    write_strip(path, video, span, title, tracks=one.tracks, person=one.person)


def _write_track(folder: Path, video: Path, what: str, found: FoundTrack) -> None:
    path = folder / file_name(video.stem, what, found.name)
    span = (float(found.track.pts_s[0]), float(found.track.pts_s[-1]))
    write_strip(path, video, span, f"{video.name} {what} {found.name}", tracks=[found])
