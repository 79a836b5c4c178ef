"""Write the page of a report as one HTML file, and its figures as JSON beside it.

The HTML file holds its styles, plots and pictures, and forbids the browser to fetch anything, so
that it is read without a network and texts of a dataset cannot do harm. It has no scripts but our
own one, which sorts tables, and only if a table is sortable; the browser checks its hash.
"""

import hashlib
import itertools
import math
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup
from pydantic import BaseModel
from pydantic_core import to_json

from data.plain_text import plain_text
from data.store.writer import write_bytes, write_text
from evaluation.pages.content import NOTHING, Cell, Column, Link, Measured, Page, Part, Table
from evaluation.pages.plots import DASH

if TYPE_CHECKING:
    from jinja2 import Template

HTML_FILE: Final = "report.html"
JSON_FILE: Final = "report.json"
_SCHEMES: Final = ("http://", "https://")
_LONG_CHARS: Final = 40
"""Number of characters from which a cell keeps a readable width on a narrow screen."""


def write_report(folder: Path, page: Page, figures: BaseModel | Mapping[str, Any]) -> Path:
    """Write ``report.html`` and ``report.json`` into a folder, each atomically.

    Args:
        folder: the folder; created if missing.
        page: the page.
        figures: figures of the report for programs; non-finite numbers become null.

    Returns:
        The HTML file.

    Raises:
        OSError: a file cannot be written.
    """
    html = render_page(page)
    write_bytes(folder / JSON_FILE, to_json(figures, indent=1, inf_nan_mode="null") + b"\n")
    write_text(folder / HTML_FILE, html)
    return folder / HTML_FILE


def render_page(page: Page) -> str:
    """Return a page as one HTML document."""
    css = files("evaluation.pages").joinpath("page.css").read_text()
    parts = [part for section in page.sections for part in section.parts]
    sorts = any(isinstance(part, Table) and part.sortable for part in parts)
    script = files("evaluation.pages").joinpath("tables.js").read_text() if sorts else ""
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _template().render(
        page=page,
        css=Markup(css),  # noqa: S704 - our own style sheet
        script=Markup(script),  # noqa: S704 - our own script
        script_source=Markup(f" script-src 'sha256-{digest}';") if sorts else "",  # noqa: S704
    )


@lru_cache(maxsize=1)
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - slow, rarely needed

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = files("evaluation.pages").joinpath("page.html").read_text()
    helpers = {
        "nothing": NOTHING,
        "shown_lines": _shown_lines,
        "grouped": _grouped,
        "base64": _base64,
    }
    return environment.from_string(template, globals=helpers)


def _plain(value: Any) -> Any:
    # Markup is a string too, but already fit for the page.
    return plain_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _base64(content: bytes) -> str:
    return b64encode(content).decode()


def _grouped(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Yield neighboring figures together and other parts one by one."""
    for is_figure, group in itertools.groupby(parts, key=lambda part: part.part == "figure"):
        together = list(group)
        yield from [together] if is_figure else ([part] for part in together)


# ------------------------------------------------------------------------------------------ tables


@dataclass(frozen=True, slots=True)
class _ShownCell:
    text: str
    classes: str
    interval: str = ""
    url: str = ""
    sort: str = ""


@dataclass(frozen=True, slots=True)
class _ShownLine:
    kind: str
    cells: tuple[_ShownCell, ...]


def _shown_lines(table: Table) -> Iterator[_ShownLine]:
    best = [_best(table, index) for index in range(len(table.columns))]
    for line in table.lines:
        yield _ShownLine(
            line.kind,
            tuple(
                _shown(cell, column, is_best=line.kind != "reference" and _value(cell) == top)
                for cell, column, top in zip(line.cells, table.columns, best, strict=True)
            ),
        )


def _best(table: Table, index: int) -> float:
    """Return the best value of a column; NaN, which equals nothing, without a choice."""
    wanted = table.columns[index].best
    values = [_value(line.cells[index]) for line in table.lines if line.kind != "reference"]
    known = [value for value in values if value is not None]
    if wanted is None or len(known) < 2:
        return math.nan
    return max(known) if wanted == "highest" else min(known)


def _value(cell: Cell) -> float | None:
    number = cell.value if isinstance(cell, Measured) else cell
    return float(number) if isinstance(number, int | float) and math.isfinite(number) else None


def _shown(cell: Cell, column: Column, *, is_best: bool) -> _ShownCell:
    text = _text(cell, column.digits)
    url = cell.url if isinstance(cell, Link) and cell.url.startswith(_SCHEMES) else ""
    value = _value(cell)
    marks = {
        "number" if column.numeric else "text": True,
        "long": not column.numeric and len(text) > _LONG_CHARS,
        "best": is_best,
    }
    classes = " ".join(name for name, is_set in marks.items() if is_set)
    sort = "" if value is None else repr(value)
    return _ShownCell(text, classes, _interval(cell, column.digits), url, sort)


def _text(cell: Cell, digits: int) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Link):
        return cell.text
    value = _value(cell)
    if value is None:
        return DASH
    if isinstance(cell, int):
        return f"{cell:,}"
    text = f"{value:,.{digits}f}"
    spread = _value(cell.half_width) if isinstance(cell, Measured) else None
    return text if spread is None else f"{text} ± {spread:,.{digits}f}"


def _interval(cell: Cell, digits: int) -> str:
    """Return the interval with two ends; empty without one."""
    if not isinstance(cell, Measured) or None in (_value(cell), cell.low, cell.high):
        return ""
    return f"{cell.low:,.{digits}f} to {cell.high:,.{digits}f}"
