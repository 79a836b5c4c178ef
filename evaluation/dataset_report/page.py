"""The page of a dataset's report."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from data.motion_records import HUMAN_TEXTS
from evaluation.dataset_report.figures import Count, DatasetFigures, Spread
from evaluation.duplicates import NEAR_COSINE, NEAR_MM
from evaluation.pages.content import (
    Column,
    Figure,
    Line,
    Page,
    Part,
    Section,
    Table,
    Text,
    Tile,
)
from evaluation.pages.plots import Plot, bar_plot, histogram

_BARS: Final = 15
"""Number of bars of a plot; the remaining names are only in the JSON file."""
_SHOWN_CHARS: Final = 160
_ONE: Final = {"people": "person"}
_SIZES: Final = ("B", "kB", "MB", "GB", "TB")


def dataset_page(figures: DatasetFigures) -> Page:
    """Return the page of a dataset's figures."""
    name = Path(figures.dataset).name
    return Page(
        title=f"Dataset {name}",
        intro=f"{figures.dataset}, publication {figures.publications} of "
        f"{figures.updated_at[:16].replace('T', ' ')} UTC.",
        tiles=tuple(_tiles(figures)),
        sections=(
            Section("Tables", (_tables(figures),)),
            Section("Videos and clips", _texts_first(_videos(figures))),
            Section("Activities, events and objects", _texts_first(_activities(figures))),
            Section("Motions", tuple(_motions(figures))),
            Section("Texts", tuple(_texts(figures))),
            Section("Near-duplicates between splits", tuple(_duplicates(figures))),
            Section("Grounding", tuple(_grounding(figures)), _GROUNDING_INTRO),
            Section("Quality", _texts_first(_quality(figures))),
            Section("Rejections", tuple(_rejections(figures))),
            Section("Models and cost", tuple(_models(figures))),
            Section("Licenses", tuple(_licenses(figures))),
            Section("Versions", tuple(_versions(figures))),
        ),
        footer="Made by avatargpt report. The figures are in report.json beside this file.",
    )


_GROUNDING_INTRO: Final = (
    "Each text is checked against the measured motion. Steps that rules wrote from the motion are "
    "supported by construction; the verdicts on texts of a model say something about the model."
)


def _tiles(figures: DatasetFigures) -> Iterator[Tile]:
    lengths = (("videos", figures.video_s), ("clips", figures.clip_s))
    for table, length in lengths:
        if rows := figures.rows(table):
            yield Tile(table.capitalize(), f"{rows:,}", _duration(length.total if length else 0))
    if people := figures.rows("poses"):
        yield Tile("Tracked people", f"{people:,}", "each in one clip")
    if annotations := figures.rows("annotations"):
        yield Tile("Annotations", f"{annotations:,}", "one per person and clip")
    if captions := figures.rows("captions"):
        yield Tile("Captions", f"{captions:,}")
    if figures.rows("motions"):
        mirrored = sum(one.mirrored for one in figures.splits)
        motions = sum(one.motions for one in figures.splits)
        length = figures.motion_s
        yield Tile("Motions", f"{motions:,}", f"and {mirrored:,} mirror images")
        yield Tile(
            "Length of motions", _duration(length.total if length else 0), "without mirror images"
        )
    if tokens := sum(one.tokens for one in figures.tokens):
        yield Tile("Motion tokens", f"{tokens:,}")
    if figures.scores:
        yield Tile("Grounding score", f"{figures.scores.mean:.2f}", "mean of the annotations")
    if rejected := figures.rows("rejections"):
        yield Tile("Rejections", f"{rejected:,}")
    if figures.models:
        yield Tile("Cost", f"${sum(one.cost_usd for one in figures.models):,.2f}", "of model calls")


def _tables(figures: DatasetFigures) -> Table:
    columns = (Column("table"), Column("rows", numeric=True), Column("size", numeric=True))
    lines = [
        Line((one.table, one.rows, _size(one.size_bytes))) for one in figures.tables if one.rows
    ]
    return Table("Published tables", columns, lines)


def _videos(figures: DatasetFigures) -> Iterator[Part]:
    for title, unit, length in (
        ("Length of videos", "videos", figures.video_s),
        ("Length of clips", "clips", figures.clip_s),
    ):
        yield from _histogram(title, length, "seconds", unit)
    people = sorted(figures.people, key=lambda one: int(one.name))
    yield from _bars("Tracked people per clip", people, "clips", order="by number of people")
    yield from _bars("Camera", figures.cameras, "clips")
    yield from _bars("Resolution", figures.resolutions, "videos")
    if figures.issues:
        yield Table(
            "Issues of videos and clips",
            (Column("issue"), Column("count", numeric=True)),
            [Line((_cut(one.name), one.count)) for one in figures.issues],
            folded=len(figures.issues) > 5,
        )


def _activities(figures: DatasetFigures) -> Iterator[Part]:
    yield from _bars("Activities", figures.activities, "annotations")
    yield from _bars("Events", figures.events, "events")
    yield from _bars("Objects", figures.objects, "clips")
    yield from _bars("Labels of motions, of what is done and how", figures.labels, "motions")


def _motions(figures: DatasetFigures) -> Iterator[Part]:
    if not figures.splits:
        return
    columns = (
        *(Column("source"), Column("split"), Column("motions", numeric=True)),
        Column("share", numeric=True),
        *(Column("groups", numeric=True), Column("hours", numeric=True)),
        Column("described by people", numeric=True),
        Column("mirror images", numeric=True),
    )
    totals = {
        one.source: sum(other.motions for other in figures.splits if other.source == one.source)
        for one in figures.splits
    }
    lines: list[Line] = []
    for one in figures.splits:
        share = f"{one.motions / totals[one.source]:.0%}" if totals[one.source] else None
        numbers = (one.groups, one.hours, one.described, one.mirrored)
        lines.append(Line((one.source, one.split, one.motions, share, *numbers)))
    yield Table(
        "Splits of each source",
        columns,
        lines,
        "Motions, groups and hours are without mirror images. A group lies in one split: the takes "
        f"of a subject, of a content and style, or of a video. People are {_listed(HUMAN_TEXTS)}.",
    )
    yield from _histogram("Length of motions", figures.motion_s, "seconds", "motions")
    if figures.tokens:
        columns = (
            *(Column("tokenizer"), Column("motions", numeric=True), Column("tokens", numeric=True)),
            *(Column("codes per token", numeric=True), Column("codes", numeric=True)),
        )
        yield Table(
            "Motion tokens",
            columns,
            [
                Line((one.tokenizer_id, one.motions, one.tokens, one.num_quantizers, one.num_codes))
                for one in figures.tokens
            ],
        )


def _texts(figures: DatasetFigures) -> Iterator[Part]:
    known = [one for one in figures.texts if one.texts]
    if not known:
        return
    columns = (
        *(Column("texts"), Column("number", numeric=True), Column("different", numeric=True)),
        *(Column("share", numeric=True), Column("words each", numeric=True, digits=1)),
        *(Column("longest", numeric=True), Column("vocabulary", numeric=True)),
    )
    lines: list[Line] = []
    for one in known:
        share = f"{one.distinct / one.texts:.0%}"
        numbers = (one.mean_words, one.longest, one.words)
        lines.append(Line((one.kind, one.texts, one.distinct, share, *numbers)))
    note = "Texts that differ in case and punctuation only are one."
    capped = [one.kind for one in known if not one.is_complete]
    if capped:
        note += f" Of {_listed(capped)} there are more different ones than were counted."
    yield Table("Texts", columns, lines, note)
    yield from _histogram("Steps per annotation", figures.steps, "fine steps", "annotations")
    columns = (Column("text"), Column("number", numeric=True))
    for one in known:
        yield Table(
            f"Most frequent {one.kind}",
            columns,
            [Line((_cut(text.name), text.count)) for text in one.frequent],
            folded=True,
        )


def _duplicates(figures: DatasetFigures) -> Iterator[Part]:
    found = figures.duplicates
    if not found.sources:
        if found.missing and figures.rows("motions"):
            yield Text(f"Nothing was compared: {found.missing}.")
        return
    yield Text(
        f"{found.told()}, mirror images included. A test motion near one of training measures "
        "memory."
    )
    columns = (
        *(Column("source"), Column("test motions", numeric=True)),
        *(Column("near-duplicates", numeric=True), Column("median distance, mm", numeric=True)),
        *(Column("group in training", numeric=True), Column("test texts", numeric=True)),
        *(Column("equal texts", numeric=True), Column("near texts", numeric=True)),
    )
    lines: list[Line] = []
    for source, one in found.sources.items():
        motions = (one.test, f"{one.near:.0%}", f"{one.median_mm:.0f}", f"{one.same_group:.0%}")
        texts = (one.texts, f"{one.same_texts:.0%}", f"{one.near_texts:.0%}")
        lines.append(Line((source, *motions, *texts)))
    yield Table(
        "Test motions and texts that are near those of training",
        columns,
        lines,
        f"Motions are near below {NEAR_MM:g} mm; texts from a cosine of TF-IDF weights of "
        f"{NEAR_COSINE:g}. Equal texts are counted among the near ones.",
    )
    yield Table(
        "Nearest motions of different groups",
        (
            *(Column("source"), Column("test motion"), Column("training motion")),
            Column("distance, mm", numeric=True, digits=0),
        ),
        [
            Line(
                (
                    *(source, near.test),
                    *(f"{near.train}{' mirrored' if near.mirrored else ''}", near.distance_mm),
                )
            )
            for source, one in found.sources.items()
            for near in one.examples
        ],
        folded=True,
    )
    yield Table(
        "Nearest texts that are not equal",
        (Column("test"), Column("training"), Column("cosine", numeric=True)),
        [
            Line((_cut(near.test), _cut(near.train), near.cosine))
            for one in found.sources.values()
            for near in one.text_examples
        ],
        folded=True,
    )


def _grounding(figures: DatasetFigures) -> Iterator[Part]:
    if not figures.verdicts:
        return
    columns = (
        *(Column("level"), Column("annotator"), Column("texts", numeric=True)),
        *(Column("supported", numeric=True), Column("contradicted", numeric=True)),
        *(Column("not measurable", numeric=True), Column("not checked", numeric=True)),
    )
    lines: list[Line] = []
    for one in figures.verdicts:
        verdicts = (one.supported, one.contradicted, one.not_measurable, one.not_checked)
        total = sum(verdicts)
        cells = (f"{count:,} ({count / total:.0%})" for count in verdicts)
        lines.append(Line((one.level, one.annotator, total, *cells)))
    yield Table("Verdicts", columns, lines)
    yield from _histogram(
        "Grounding score", figures.scores, "share of supported texts", "annotations"
    )
    yield Table(
        "Contradicted texts",
        (
            *(Column("text"), Column("level"), Column("measured")),
            *(Column("score", numeric=True), Column("clip and person")),
        ),
        [
            Line(
                (
                    *(_cut(one.text), one.level, _cut(one.measurement)),
                    *(one.score, f"{one.clip_id}/{one.track_id}"),
                )
            )
            for one in figures.contradictions
        ],
        "One of each of the annotations with the lowest scores.",
    )


def _quality(figures: DatasetFigures) -> Iterator[Part]:
    for title, unit, x_label, quality in (
        ("Quality of clips", "clips", "confidence", figures.clip_quality),
        ("Quality of poses", "people", "confidence", figures.pose_quality),
        ("Quality of motions", "motions", "confidence", figures.motion_quality),
        ("Foot skate of motions", "motions", "m/s", figures.foot_skate_m_s),
        ("Jitter of motions", "motions", "m/s\N{SUPERSCRIPT THREE}", figures.jitter_m_s3),
    ):
        yield from _histogram(title, quality, x_label, unit)


def _rejections(figures: DatasetFigures) -> Iterator[Part]:
    if not figures.rejections:
        return
    groups = figures.rejections
    names = [Count(name=f"{one.reason} ({one.stage})", count=one.count) for one in groups]
    yield from _bars("Rejections by reason and stage", names, "items")
    yield Table(
        "Rejections",
        (
            *(Column("stage"), Column("reason"), Column("items", numeric=True)),
            *(Column("for example"), Column("remedy")),
        ),
        [
            Line((one.stage, one.reason, one.count, _example(one.item, one.detail), one.remedy))
            for one in groups
        ],
        "avatargpt rejections lists every item.",
    )


def _models(figures: DatasetFigures) -> Iterator[Part]:
    if not figures.models:
        return
    columns = (
        *(Column("table"), Column("written by"), Column("model"), Column("rows", numeric=True)),
        *(Column("not successful"), Column("tokens in", numeric=True)),
        *(Column("tokens out", numeric=True), Column("cost, $", numeric=True)),
    )
    lines: list[Line] = []
    for one in figures.models:
        failed = ", ".join(f"{other.count:,} {other.name}" for other in one.failed) or None
        who = (one.table, one.writer, one.model, one.rows, failed)
        lines.append(Line((*who, one.tokens_in, one.tokens_out, one.cost_usd)))
    yield Table("Texts by model", columns, lines)


def _licenses(figures: DatasetFigures) -> Iterator[Part]:
    chosen = figures.license
    yield Text(
        f"The dataset is published under {chosen}."
        if chosen
        else "No license of the dataset was chosen: avatargpt card sets it."
    )
    if figures.licenses:
        yield Table(
            "Licenses of the motions' sources",
            (Column("source"), Column("license"), Column("motions", numeric=True)),
            [Line((one.source, one.license or "unknown", one.motions)) for one in figures.licenses],
        )


def _versions(figures: DatasetFigures) -> Iterator[Part]:
    yield Table(
        "Rows by the version that wrote them",
        (
            *(Column("table"), Column("schema version"), Column("avatargpt version")),
            Column("rows", numeric=True),
        ),
        [
            Line((one.table, str(one.schema_version), one.code_version, one.rows))
            for one in figures.versions
        ],
    )

    yield Table(
        "Configuration that decides what the rows contain",
        (Column("field"), Column("value")),
        [Line((field, _cut(value))) for field, value in _fields(figures.recipe)],
        folded=True,
    )


def _fields(values: Mapping[str, object], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested fields under dotted names, values as JSON."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _fields(cast("Mapping[str, object]", value), f"{before}{name}.")
        else:
            yield f"{before}{name}", json.dumps(value, ensure_ascii=False)


# ------------------------------------------------------------------------------------------- parts


def _histogram(title: str, values: Spread | None, x_label: str, unit: str) -> Iterator[Part]:
    if values is None:
        return
    if values.least == values.most:
        yield Text(f"{title} ({x_label}): {_short(values.mean)} in {_counted(values.count, unit)}.")
        return
    middle = f"from {_short(values.low)} to {_short(values.high)}"
    note = f"Median {_short(values.median)}, mean {_short(values.mean)}, 90 % {middle}."
    plot = histogram(
        values.edges,
        {unit: values.counts},
        f"Histogram of {values.count:,} {unit}. {note}",
        x_label=x_label,
        y_label=unit,
    )
    beyond = f" The last bar holds all up to {_short(values.most)}."
    yield Figure(title, plot, note + (beyond if values.most > values.edges[-1] else ""))


def _bars(title: str, values: Sequence[Count], unit: str, *, order: str = "") -> Iterator[Part]:
    if not values:
        return
    if len(values) == 1:
        yield Text(f"{title}: {values[0].name} in {_counted(values[0].count, unit)}.")
        return
    shown = values[:_BARS]
    listed = ", ".join(f"{one.name} {one.count:,}" for one in shown)
    plot: Plot = bar_plot(
        [one.name for one in shown],
        {unit: [one.count for one in shown]},
        f"{title}, number of {unit}{f' {order}' if order else ''}: {listed}.",
        unit=unit,
    )
    rest = len(values) - len(shown)
    yield Figure(title, plot, f"{rest} more are in report.json." if rest else "")


def _texts_first(parts: Iterable[Part]) -> tuple[Part, ...]:
    # So that the plots stand side by side.
    return tuple(sorted(parts, key=lambda part: part.part != "text"))


def _counted(count: int, unit: str) -> str:
    """Return a number with its unit: ``1 clip``, ``2 people``."""
    return f"{count:,} {_ONE.get(unit, unit.removesuffix('s')) if count == 1 else unit}"


def _example(item: str, detail: str) -> str:
    text = detail if item in detail else f"{item}: {detail}"
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


def _listed(names: Sequence[str] | frozenset[str]) -> str:
    ordered = sorted(names)
    return " and ".join(filter(None, (", ".join(ordered[:-1]), ordered[-1])))


def _short(value: float) -> str:
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _size(num_bytes: int) -> str:
    size = float(num_bytes)
    for unit in _SIZES:
        if size < 1000 or unit == _SIZES[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError(num_bytes)
