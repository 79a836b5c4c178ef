"""Plots as SVG that stands in a page: it takes its colors and its font from the page.

Matplotlib draws with placeholder colors, which are then replaced by the variables of the page's
style sheet, so that one plot fits a light and a dark page. Texts stay texts. Matplotlib is only
imported when a plot is drawn, because that takes a second.
"""

import hashlib
import io
import itertools
import math
import re
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

from markupsafe import Markup

from data.plain_text import plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK: Final = "#000001"
_MUTED: Final = "#000002"
_RULE: Final = "#000003"
_SERIES: Final = tuple(f"#0000a{number}" for number in range(1, 7))
_VARIABLES: Final = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _RULE: "var(--rule)",
    **{color: f"var(--series-{number})" for number, color in enumerate(_SERIES, 1)},
}
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "avatargpt",
    "text.parse_math": False,
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
}
DASH: Final = "\N{EN DASH}"
"""Stands for a number that is not known."""
_WIDTH_IN: Final = 5.0
_LABEL_CHARS: Final = 30
_NAMESPACE: Final = re.compile(r"\{[^}]*\}")
_FONT: Final = re.compile(r"(font-family: [^;]*;? ?)|(font: ?(?P<size>\d+(\.\d+)?px)[^;]*)")
_REFERENCE: Final = re.compile(r"(?<=#)[A-Za-z_][\w.-]*(?=\)|$)")


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of a page.

    Attributes:
        svg: the drawing, as an element of HTML.
        alt: what it shows, for readers who do not see it.
    """

    svg: Markup
    alt: str


def bar_plot(
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    alt: str,
    *,
    errors: Mapping[str, Sequence[float]] | None = None,
    unit: str = "",
    digits: int = 0,
) -> Plot:
    """Draw horizontal bars with their values, the first label on top.

    Args:
        labels: names of the bars.
        series: one value per label by name of the series; a single series needs no legend.
        alt: what the plot shows, with its most important figures.
        errors: half widths of intervals, of some or all series.
        unit: unit of the values.
        digits: digits of the values after the point.

    Raises:
        ValueError: a series has another number of values than there are labels.
    """
    for name, values in series.items():
        if len(values) != len(labels):
            raise ValueError(f"series {name!r}: expected {len(labels)} values, found {len(values)}")
    bars = len(labels) * len(series)
    height_in = 0.45 + 0.21 * bars + 0.12 * len(labels) + 0.3 * (len(series) > 1)
    with _axes(alt, height_in) as (axes, plot):
        thickness = 0.8 / max(1, len(series))
        for index, (name, values) in enumerate(series.items()):
            places = [at + (index - (len(series) - 1) / 2) * thickness for at in range(len(labels))]
            drawn = axes.barh(
                places,
                [value if math.isfinite(value) else 0.0 for value in values],
                height=0.88 * thickness,
                color=_color(index),
                label=plain_text(name),
                xerr=(errors or {}).get(name),
                ecolor=_MUTED,
            )
            texts = [f"{value:,.{digits}f}" if math.isfinite(value) else DASH for value in values]
            axes.bar_label(drawn, texts, padding=3, color=_INK, fontsize=9)
        axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.12, y=0.02)
        axes.grid(axis="x")
        axes.xaxis.set_major_formatter(_number)
        if not digits:
            axes.xaxis.set_major_locator(_whole_numbers())
        _finish(axes, unit, "", many=len(series) > 1)
    return plot.drawn()


def histogram(
    edges: Sequence[float],
    counts: Mapping[str, Sequence[float]],
    alt: str,
    *,
    x_label: str = "",
    y_label: str = "",
) -> Plot:
    """Draw a histogram from counts; several series are stacked.

    Args:
        edges: ascending edges of the bins, one more than there are bins.
        counts: one count per bin by name of the series.
        alt: what the plot shows, with its most important figures.
        x_label: what the x axis shows, with its unit.
        y_label: what the y axis shows, with its unit.

    Raises:
        ValueError: a series has another number of counts than there are bins.
    """
    widths = [after - before for before, after in itertools.pairwise(edges)]
    for name, values in counts.items():
        if len(values) != len(widths):
            raise ValueError(f"series {name!r}: expected {len(widths)} counts, found {len(values)}")
    with _axes(alt, 2.4) as (axes, plot):
        floor = [0.0] * len(widths)
        for index, (name, values) in enumerate(counts.items()):
            axes.bar(
                list(edges[:-1]),
                list(values),
                width=[0.94 * width for width in widths],
                bottom=floor,
                align="edge",
                color=_color(index),
                label=plain_text(name),
            )
            floor = [below + value for below, value in zip(floor, values, strict=True)]
        axes.set_xlim(edges[0], edges[-1])
        axes.margins(y=0.08)
        axes.grid(axis="y")
        axes.xaxis.set_major_formatter(_number)
        axes.yaxis.set_major_locator(_whole_numbers())
        axes.yaxis.set_major_formatter(_number)
        _finish(axes, x_label, y_label, many=len(counts) > 1)
    return plot.drawn()


def line_plot(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    alt: str,
    *,
    x_label: str = "",
    y_label: str = "",
    log_y: bool = False,
) -> Plot:
    """Draw lines.

    Args:
        series: x and y of the points by name of the line; a single line needs no legend.
        alt: what the plot shows, with its most important figures.
        x_label: what the x axis shows, with its unit.
        y_label: what the y axis shows, with its unit.
        log_y: whether the y axis is logarithmic.
    """
    with _axes(alt, 2.6) as (axes, plot):
        for index, (name, (xs, ys)) in enumerate(series.items()):
            axes.plot(
                list(xs),
                list(ys),
                color=_color(index),
                label=plain_text(name),
                linewidth=1.6,
                # A single point has no line.
                marker="o" if len(xs) < 20 else None,
                markersize=3.5,
            )
        axes.xaxis.set_major_formatter(_number)
        if log_y:
            axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_number)
        axes.grid()
        _finish(axes, x_label, y_label, many=len(series) > 1)
    return plot.drawn()


class _Drawing:
    """A figure that becomes a :class:`Plot` when it is complete."""

    def __init__(self, figure: "Figure", alt: str) -> None:
        self._figure = figure
        self._alt = alt
        self._svg = ""

    def save(self) -> None:
        file = io.StringIO()
        with warnings.catch_warnings():
            # The browser draws the texts, with fonts that have more characters.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            self._figure.savefig(
                file, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
            )
        self._svg = file.getvalue()

    def drawn(self) -> Plot:
        return Plot(_inline(self._svg, self._alt), self._alt)


@contextmanager
def _axes(alt: str, height_in: float) -> Generator[tuple["Axes", _Drawing]]:
    """Open the axes of a new figure in the style of the page, and save it at the end."""
    import matplotlib as mpl  # noqa: PLC0415 - slow
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        drawing = _Drawing(figure, alt)
        yield figure.subplots(), drawing
        drawing.save()


def _finish(axes: "Axes", x_label: str, y_label: str, *, many: bool) -> None:
    axes.set_xlabel(plain_text(x_label))
    axes.set_ylabel(plain_text(y_label))
    if many:
        axes.figure.legend(loc="outside upper left", ncols=3, fontsize=9)


def _number(value: float, _place: float) -> str:
    return f"{value:,.6g}"


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow

    return MaxNLocator(nbins=5, integer=True)


def _color(index: int) -> str:
    return _SERIES[index % len(_SERIES)]


def _short(label: str) -> str:
    text = " ".join(plain_text(label).split())
    return text if len(text) <= _LABEL_CHARS else f"{text[: _LABEL_CHARS - 1]}…"


def _inline(svg: str, alt: str) -> Markup:
    """Make an element of HTML of an SVG file of Matplotlib."""
    root = ET.fromstring(svg)  # noqa: S314 - Matplotlib wrote it
    # Ids must be unique in the page: those of two plots would be equal.
    digest = hashlib.sha256(alt.encode() + svg.encode()).hexdigest()
    prefix = f"p{digest[:8]}-"
    for parent in list(root.iter()):
        for element in list(parent):
            # The style sheet of the page stands in for that of the file, which is for all elements.
            if _NAMESPACE.sub("", str(element.tag)) in ("metadata", "style"):
                parent.remove(element)
    for element in root.iter():
        element.tag = _NAMESPACE.sub("", str(element.tag))
        if element.tag == "g":
            element.attrib.pop("id", None)
        element.attrib = {
            _NAMESPACE.sub("", name): _in_page(name, value, prefix)
            for name, value in element.attrib.items()
        }
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": plain_text(alt)}
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - its texts are escaped


def _in_page(name: str, value: str, prefix: str) -> str:
    """Return the value of an attribute with the page's colors and font, and with unique ids."""
    if name == "id":
        return prefix + value
    if name == "style":
        value = _FONT.sub(
            lambda found: f"font-size: {found['size']}" if found["size"] else "", value
        )
        for color, variable in _VARIABLES.items():
            value = value.replace(color, variable)
    return _REFERENCE.sub(lambda found: prefix + found.group(), value)
