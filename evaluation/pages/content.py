"""What the page of a report holds: tiles, and sections of texts, tables, figures and galleries.

All texts are plain: whatever they contain, markup included, is shown as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from evaluation.pages.plots import Plot

NOTHING = "none"
"""What a section or a table without content says."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its interval.

    Attributes:
        value: the number; None or a non-finite one is shown as a dash.
        half_width: half width of the interval, shown as ``± 0.004``; None if it is not known.
        low, high: ends of an interval, which need not be symmetric, shown below the number.
    """

    value: float | None
    half_width: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A text that leads somewhere.

    Attributes:
        text: the text.
        url: where; only ``http`` and ``https`` addresses become links.
    """

    text: str
    url: str


Cell = str | int | float | Measured | Link | None
"""Content of a table's cell. None is shown as a dash, whole numbers with separators."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: title, with the unit of its numbers.
        numeric: whether it holds numbers, which are aligned on the right.
        digits: digits after the point of numbers that are not whole by type.
        best: which of the compared rows is highlighted; None if none is better than another.
        choices: whether a sortable table offers the values of this column to choose among.
    """

    title: str
    numeric: bool = False
    digits: int = 2
    best: Literal["highest", "lowest"] | None = None
    choices: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table.

    Attributes:
        cells: one cell per column.
        kind: ``own`` rows are marked as what the report is about; ``reference`` rows, such as the
            ground truth, are set apart and never the best.
    """

    cells: Sequence[Cell]
    kind: Literal["plain", "own", "reference"] = "plain"


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        title: what it shows.
        columns: its columns; the first one names the rows.
        lines: its rows; without any, the table says "none".
        note: how to read it.
        folded: whether it is closed until the reader opens it.
        sortable: whether readers can sort and search it. The page then holds a script of ours, and
            still nothing else runs in it.
    """

    part: ClassVar[str] = "table"
    title: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    note: str = ""
    folded: bool = False
    sortable: bool = False

    def __post_init__(self) -> None:
        for line in self.lines:
            if len(line.cells) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: expected {len(self.columns)} cells, found {line.cells}"
                )


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with its title.

    Attributes:
        title: what it shows.
        plot: the plot.
        note: how to read it.
    """

    part: ClassVar[str] = "figure"
    title: str
    plot: Plot
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a gallery.

    Attributes:
        png: content of a PNG file.
        alt: what it shows, for readers who do not see it.
        caption: text below it.
        url: where the caption leads; empty for nowhere.
    """

    png: bytes
    alt: str
    caption: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures side by side.

    Attributes:
        title: what they show.
        pictures: the pictures; without any, the gallery says "none".
        note: how to read them.
        wide: whether the pictures are wide, such as strips, so that few stand side by side.
    """

    part: ClassVar[str] = "gallery"
    title: str
    pictures: Sequence[Picture]
    note: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph.

    Attributes:
        text: the text.
        kind: ``warning`` is set apart from the other texts.
    """

    part: ClassVar[str] = "text"
    text: str
    kind: Literal["plain", "warning"] = "plain"


Part = Table | Figure | Gallery | Text


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a page.

    Attributes:
        title: title, also in the list of contents.
        parts: what it holds; without any, the section says "none". Neighboring figures stand side
            by side where there is room.
        intro: a sentence below the title, if there are parts.
    """

    title: str
    parts: Sequence[Part]
    intro: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure of the summary.

    Attributes:
        label: what it counts.
        value: the value as text.
        note: a second line.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The page of a report.

    Attributes:
        title: title.
        intro: what the report is on, in one or two sentences.
        tiles: summary.
        sections: sections.
        footer: how the page was made.
    """

    title: str
    intro: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    footer: str = ""
