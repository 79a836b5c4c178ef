"""The page of an audit: how many findings of each kind, examples with pictures, all in a table."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import PIL.Image
from pydantic import BaseModel, ConfigDict

from annotators.pictures.stick_figure import draw_strip
from data.arrays import FloatArray
from data.motion.features import features_to_joints
from evaluation.audit.findings import KINDS, Fix, Kind, Severity
from evaluation.audit.run import Audit, read_items
from evaluation.audit.sources import Layout
from evaluation.pages.content import (
    Column,
    Gallery,
    Line,
    Link,
    Page,
    Part,
    Picture,
    Section,
    Table,
    Text,
    Tile,
)

BROWSER_URL: Final = "http://127.0.0.1:8765"
"""Address of ``avatargpt browse`` in links, by default."""
MAX_ROWS: Final = 300
"""Findings of a kind in the table of the page; findings.parquet has all of them."""
_STRIP_FRAMES: Final = 6
_COLORS: Final = 64
_CAPTION_CHARS: Final = 260
_NO_PICTURE: Final = frozenset(
    {Kind.TEXT_IN_SPLITS, Kind.NAME_WITHOUT_FILES, Kind.NOT_IN_A_SPLIT, Kind.IN_TWO_SPLITS}
)
_PAIRS: Final = frozenset(
    {
        *(Kind.SPLIT_LEAK, Kind.DUPLICATE_MOTION, Kind.SAME_MOTION_OTHER_TEXT),
        *(Kind.OTHER_MOTION, Kind.MIRRORED_MOTION, Kind.NEAR_MOTION),
    }
)
"""Kinds whose pictures show the other motion, too."""
_FIXES: Final[Mapping[Fix, str]] = {
    Fix.NONE: "nothing",
    Fix.DROP_MOTION: "drops the motion",
    Fix.DROP_TEXT: "drops the text",
    Fix.SWAP_SIDES: "swaps the sides in the text",
    Fix.MIRROR_TEXT: "swaps the sides in the text",
    Fix.RETIME: "ends the text with the motion",
    Fix.EXCHANGE_SIDES: "exchanges the joints",
    Fix.TO_TRAIN: "moves it into train",
    Fix.DROP_NAME: "removes the name",
}


class AuditFigures(BaseModel):
    """Figures of an audit for programs, as in ``report.json``.

    Attributes:
        dataset: folder of the dataset.
        layout: its layout.
        motions, texts: number of motions, and of texts that were checked.
        verdicts: number of texts by verdict.
        splits: number of motions by split.
        severities: number of findings by severity.
        kinds: number of findings by kind.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    layout: str
    motions: int
    texts: int
    verdicts: dict[str, int]
    splits: dict[str, int]
    severities: dict[str, int]
    kinds: dict[str, int]


def audit_figures(audit: Audit) -> AuditFigures:
    """Return the figures of an audit."""
    severities = audit.findings["severity"].to_pylist()
    return AuditFigures(
        dataset=str(audit.source.root),
        layout=audit.source.layout.value,
        motions=audit.motions,
        texts=audit.texts,
        verdicts=dict(audit.verdicts),
        splits=dict(audit.splits),
        severities={one.value: severities.count(one.value) for one in Severity},
        kinds={kind.value: count for kind, count in audit.kinds.items()},
    )


def audit_page(audit: Audit, *, examples: int = 6, browser_url: str = BROWSER_URL) -> Page:
    """Return the page of an audit.

    Args:
        audit: the audit.
        examples: findings of each kind that are shown with pictures, the most certain ones of
            different motions.
        browser_url: address of ``avatargpt browse``, which datasets of ours link to.
    """
    figures = audit_figures(audit)
    rows = _rows_by_kind(audit)
    linked = browser_url if audit.source.layout is Layout.DATASET else ""
    chosen = {kind: _examples(of_kind, examples) for kind, of_kind in rows.items()}
    motions = _motions(audit, chosen)
    return Page(
        title=f"Audit of {audit.source.root.absolute().name}",
        intro=f"{audit.source.root}: {_LAYOUTS[audit.source.layout]}.",
        tiles=tuple(_tiles(figures)),
        sections=(
            Section("Findings by kind", tuple(_overview(audit, rows))),
            *(
                Section(
                    KINDS[kind].title,
                    tuple(_of_kind(kind, chosen[kind], len(of_kind), motions, linked)),
                    f"{KINDS[kind].meaning} {KINDS[kind].remedy}",
                )
                for kind, of_kind in rows.items()
            ),
            Section("All findings", tuple(_all(rows, linked))),
        ),
        footer="Made by avatargpt audit. All findings are in findings.parquet beside this file. "
        "Errors are certain or nearly so; warnings are worth a look; notes describe the dataset.",
    )


_LAYOUTS: Final[Mapping[Layout, str]] = {
    Layout.DATASET: "a dataset of avatargpt",
    Layout.HUMANML3D: "a folder in the layout of HumanML3D",
    Layout.BVH: "a folder of BVH files with texts",
}


def _rows_by_kind(audit: Audit) -> dict[Kind, Sequence[Mapping[str, Any]]]:
    found: dict[Kind, list[Mapping[str, Any]]] = {kind: [] for kind in audit.kinds}
    for row in audit.findings.to_pylist():
        found[Kind(row["kind"])].append(row)
    return dict(found)


def _tiles(figures: AuditFigures) -> Iterator[Tile]:
    splits = ", ".join(f"{count:,} {split}" for split, count in sorted(figures.splits.items()))
    yield Tile("Motions", f"{figures.motions:,}", splits)
    yield Tile("Texts", f"{figures.texts:,}")
    for severity, note in (
        (Severity.ERROR, "certain or nearly so"),
        (Severity.WARNING, "worth a look"),
        (Severity.INFO, "notes"),
    ):
        count = figures.severities[severity.value]
        yield Tile(f"{severity.value.capitalize()}s".replace("Infos", "Notes"), f"{count:,}", note)
    measurable = sum(n for verdict, n in figures.verdicts.items() if verdict != "not_measurable")
    if measurable:
        share = figures.verdicts.get("contradicted", 0) / measurable
        yield Tile("Contradicted", f"{share:.1%}", f"of {measurable:,} texts that were measurable")


def _overview(audit: Audit, rows: Mapping[Kind, Sequence[Mapping[str, Any]]]) -> Iterator[Part]:
    if not rows:
        yield Text("Nothing was found.")
        return
    columns = (
        *(Column("kind"), Column("severity"), Column("findings", numeric=True)),
        *(Column("motions", numeric=True), Column("what it is"), Column("--fix")),
    )
    lines: list[Line] = []
    for kind, of_kind in rows.items():
        facts = KINDS[kind]
        motions = len({row["item_id"] for row in of_kind if row["item_id"]})
        severities = " and ".join(dict.fromkeys(row["severity"] for row in of_kind))
        fixes = ", ".join(dict.fromkeys(_FIXES[Fix(row["fix"])] for row in of_kind))
        lines.append(Line((facts.title, severities, len(of_kind), motions, facts.meaning, fixes)))
    yield Table("Counts", columns, lines)
    share = len({row["item_id"] for of in rows.values() for row in of if row["severity"] != "info"})
    if audit.motions:
        yield Text(
            f"{share:,} of {audit.motions:,} motions ({share / audit.motions:.1%}) have an error "
            "or a warning."
        )


def _of_kind(
    kind: Kind,
    chosen: Sequence[Mapping[str, Any]],
    count: int,
    motions: Mapping[str, FloatArray],
    linked: str,
) -> Iterator[Part]:
    pictures: list[Picture] = []
    for row in chosen:
        names = [row["item_id"], *([row["other_id"]] if kind in _PAIRS else [])]
        strips = [draw_strip(motions[n], n, _STRIP_FRAMES) for n in names if n in motions]
        if strips:
            told = f"“{row['text']}” — {row['measurement']}" if row["text"] else row["measurement"]
            pictures.append(
                Picture(
                    _png(strips),
                    f"Stick figures of motion {row['item_id']}",
                    _cut(told),
                    _url(linked, row["item_id"]),
                )
            )
    if pictures:
        title = "Examples" if count > len(pictures) else "Findings"
        yield Gallery(title, pictures, wide=True)
    else:
        yield Table(
            "Examples",
            (Column("motion"), Column("measurement")),
            [Line((row["item_id"] or "the dataset", row["measurement"])) for row in chosen],
        )


def _all(rows: Mapping[Kind, Sequence[Mapping[str, Any]]], linked: str) -> Iterator[Part]:
    left_out = sum(max(0, len(of_kind) - MAX_ROWS) for of_kind in rows.values())
    if left_out:
        yield Text(
            f"The table holds the first {MAX_ROWS} of each kind; {left_out:,} more are in "
            "findings.parquet."
        )
    columns = (
        *(Column("motion"), Column("kind", choices=True), Column("severity", choices=True)),
        *(Column("split", choices=True), Column("text"), Column("measurement")),
        *(Column("span, s"), Column("confidence", numeric=True), Column("other motion")),
    )
    lines = [
        Line(
            (
                _link(linked, row["item_id"]),
                KINDS[kind].title,
                row["severity"],
                row["split"],
                _cut(row["text"]),
                _cut(row["measurement"]),
                _span(row),
                row["confidence"],
                _link(linked, row["other_id"]),
            )
        )
        for kind, of_kind in rows.items()
        for row in of_kind[:MAX_ROWS]
    ]
    if lines:
        yield Table("Findings", columns, lines, sortable=True)


def _span(row: Mapping[str, Any]) -> str:
    if row["start_s"] is None or row["end_s"] is None:
        return ""
    return f"{row['start_s']:.1f} to {row['end_s']:.1f}"


def _url(linked: str, item_id: str) -> str:
    return f"{linked.rstrip('/')}/#/motion/{quote(item_id, safe='')}" if linked and item_id else ""


def _link(linked: str, item_id: str) -> Link | str:
    url = _url(linked, item_id)
    return Link(item_id, url) if url else item_id


def _cut(text: str) -> str:
    return text if len(text) <= _CAPTION_CHARS else f"{text[: _CAPTION_CHARS - 1]}…"


# --------------------------------------------------------------------------------------- pictures


def _examples(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Return findings of different motions."""
    by_motion: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        by_motion.setdefault(row["item_id"], row)
    return list(by_motion.values())[:count]


def _motions(
    audit: Audit, chosen: Mapping[Kind, Sequence[Mapping[str, Any]]]
) -> dict[str, FloatArray]:
    """Read the motions of the examples as joints; those that cannot be drawn are left out."""
    ids = {
        row[name]
        for kind, rows in chosen.items()
        if kind not in _NO_PICTURE
        for row in rows
        for name in ("item_id", *(["other_id"] if kind in _PAIRS else []))
        if row[name]
    }
    found: dict[str, FloatArray] = {}
    for item in read_items(audit.source, ids):
        features_TD = item.features_TD
        if features_TD is not None and np.isfinite(features_TD).all():
            found[item.item_id] = features_to_joints(features_TD)
    return found


def _png(strips: Sequence[PIL.Image.Image]) -> bytes:
    sheet = PIL.Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
    for number, strip in enumerate(strips):
        sheet.paste(strip, (0, number * strip.height))
    out = io.BytesIO()
    sheet.quantize(_COLORS).save(out, "PNG", optimize=True)
    return out.getvalue()
