import json
import math
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluation.pages.content import (
    Column,
    Figure,
    Gallery,
    Line,
    Link,
    Measured,
    Page,
    Picture,
    Section,
    Table,
    Text,
    Tile,
)
from evaluation.pages.plots import DASH, bar_plot, line_plot
from evaluation.pages.writing import render_page, write_report

EVIL = '<script src="https://evil.example/x.js">&"\x1b[31m\u202e'
PNG = b"\x89PNG fake"
SCORES = Table(
    "Scores",
    (Column("row"), Column("FID", numeric=True, digits=3, best="lowest")),
    (
        Line(("ground truth", 0.001), "reference"),
        Line(("ours", Measured(0.25, 0.004)), "own"),
        Line(("copies", 0.5)),
        Line(("broken", math.nan)),
    ),
)
VOID = {"meta", "img", "br", "hr", "input", "link"}


class _Reader(HTMLParser):
    """Reads a document: its elements with their attributes, and the text of each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[int] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for index in self._open:
            self.elements[index][2].append(data)

    def texts(self, tag: str, **wanted: str) -> list[str]:
        return [
            " ".join("".join(text).split())
            for name, attributes, text in self.elements
            if name == tag and wanted.items() <= attributes.items()
        ]

    def attributes(self) -> Iterator[tuple[str, str, str]]:
        for tag, attributes, _ in self.elements:
            yield from ((tag, name, value or "") for name, value in attributes.items())


def _page(*sections: Section, title: str = "Report") -> _Reader:
    return _Reader(render_page(Page(title, "", (Tile("Motions", "4,640"),), sections)))


def test_a_page_needs_nothing_but_itself_and_runs_no_scripts() -> None:
    plots = [
        Figure(EVIL, bar_plot([EVIL, "b"], {EVIL: [1, 2]}, EVIL)),
        Figure("two", line_plot({"a": ([1, 2], [3, 4]), "b": ([1, 2], [4, 3])}, "lines")),
    ]
    gallery = Gallery(EVIL, (Picture(PNG, EVIL, EVIL),))
    table = Table(EVIL, (Column(EVIL),), (Line((EVIL,)),), EVIL)
    page = _page(Section(EVIL, (*plots, gallery, table, Text(EVIL)), EVIL), title=EVIL)
    tags = {tag for tag, _, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed"}
    links = [value for _, name, value in page.attributes() if name in {"src", "href"}]
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in links)
    assert page.texts("h1") == ['<script src="https://evil.example/x.js">&"']
    policy = [value for tag, name, value in page.attributes() if (tag, name) == ("meta", "content")]
    assert any("default-src 'none'" in value for value in policy)


def test_a_sortable_table_runs_our_script_alone_and_links_are_web_addresses() -> None:
    links = (Link(EVIL, "http://127.0.0.1:1/clip/a%22"), Link("b", "javascript:alert(1)"))
    table = Table(
        "t", (Column("a", choices=True),), [Line((link,)) for link in links], sortable=True
    )
    page = _page(Section("s", (table,)))
    assert [tag for tag, _, _ in page.elements].count("script") == 1
    hrefs = [value for _, name, value in page.attributes() if name == "href"]
    assert [value for value in hrefs if not value.startswith("#")] == [links[0].url]
    html = render_page(Page("t", "", (), (Section("s", (table,)),)))
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in html


def test_ids_are_unique_and_references_have_targets() -> None:
    figures = [
        Figure(name, line_plot({name: ([1, 2], [1, 2])}, f"line {name}")) for name in ("a", "b")
    ]
    page = _page(Section("one", figures), Section("two", ()), Section("three", ()))
    ids = [value for _, name, value in page.attributes() if name == "id"]
    assert len(ids) == len(set(ids)) > 3
    used = [value[1:] for _, name, value in page.attributes() if name == "href"]
    used += [
        value.partition("#")[2].rstrip(")")
        for _, name, value in page.attributes()
        if name == "clip-path"
    ]
    assert len(used) > 3
    assert set(used) <= set(ids)


def test_a_table_has_headers_aligns_numbers_and_marks_rows() -> None:
    page = _page(Section("s", (SCORES,)))
    assert page.texts("caption") == ["Scores"]
    assert page.texts("th", scope="col") == ["row", "FID"]
    assert page.texts("th", scope="row") == ["ground truth", "ours", "copies", "broken"]
    assert page.texts("td", **{"class": "number"}) == ["0.001", "0.500", DASH]
    # The best of what is compared, not the reference.
    assert page.texts("td", **{"class": "number best"}) == ["0.250 ± 0.004"]
    assert page.texts("tr", **{"class": "own"}) == ["ours0.250 ± 0.004"]


def test_a_single_value_is_not_the_best() -> None:
    table = Table("t", SCORES.columns, SCORES.lines[:2])
    assert _page(Section("s", (table,))).texts("td", **{"class": "number best"}) == []


def test_numbers_are_written_for_people() -> None:
    columns = [Column(str(index), numeric=True, digits=1) for index in range(6)]
    uneven = Measured(99.0, low=74.26, high=1000)
    table = Table("t", columns, (Line((12345, 1234.56, None, Measured(None, 1.0), "x", uneven)),))
    cells = _page(Section("s", (table,)))
    assert cells.texts("th", scope="row") + cells.texts("td") == [
        "12,345",
        "1,234.6",
        DASH,
        DASH,
        "x",
        "99.0 74.3 to 1,000.0",
    ]


def test_what_is_empty_says_so() -> None:
    empty = Table("Scores", SCORES.columns, ())
    page = _page(Section("a", ()), Section("b", (empty, Gallery("Pictures", ()))))
    assert page.texts("p", **{"class": "muted"}) == ["", "none", "none"]
    assert "Scores: none" in page.texts("p")


def test_pictures_and_plots_have_texts_for_readers_who_do_not_see_them() -> None:
    parts = (
        Gallery("g", (Picture(PNG, "a stick figure", "a person walks"),)),
        Figure("f", bar_plot(["walk"], {"motions": [3]}, "3 motions walk")),
    )
    page = _page(Section("s", parts))
    assert [value for _, name, value in page.attributes() if name == "alt"] == ["a stick figure"]
    plots = [attributes for tag, attributes, _ in page.elements if tag == "svg"]
    assert [(plot["role"], plot["aria-label"]) for plot in plots] == [("img", "3 motions walk")]
    assert page.texts("figcaption") == ["a person walks", "f"]


def test_a_long_table_is_folded_on_request() -> None:
    table = Table("All", (Column("a"),), (Line(("x",)), Line(("y",))), folded=True)
    assert _page(Section("s", (table,))).texts("summary") == ["All (2)"]


def test_a_row_with_too_few_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 cells"):
        Table("t", SCORES.columns, (Line(("a",)),))


def test_the_report_is_written_with_its_figures(tmp_path: Path) -> None:
    page = Page("Report", "", (), (Section("s", (SCORES,)),))
    figures = {"fid": 0.25, "broken": math.nan}
    file = write_report(tmp_path / "new", page, figures)
    assert write_report(tmp_path / "new", page, figures) == file  # over itself
    assert "Scores" in file.read_text()
    assert json.loads((file.parent / "report.json").read_text()) == {"fid": 0.25, "broken": None}
    assert sorted(one.name for one in file.parent.iterdir()) == ["report.html", "report.json"]


def test_the_same_page_is_written_the_same() -> None:
    pages = [
        render_page(Page("t", "", (), (Section("s", (Figure("f", plot),)),)))
        for plot in (bar_plot(["a"], {"b": [1]}, "alt"), bar_plot(["a"], {"b": [1]}, "alt"))
    ]
    assert pages[0] == pages[1]
