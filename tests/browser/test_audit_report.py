"""The report of an audit in a real browser: its table, hostile texts, and links to the page."""

from collections import Counter
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pytest
from playwright.sync_api import Page, expect

from data.store.dataset import Dataset
from evaluation.audit.findings import FINDINGS, Finding, Kind
from evaluation.audit.page import audit_page
from evaluation.audit.run import Audit
from evaluation.audit.sources import open_source
from evaluation.pages.writing import write_report
from tests.browser.conftest import ATTACK, NEEDS_CHROMIUM, UNNAMED, browsed

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def address(
    motions_root: Path, three: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str]:
    """The page of the dataset that is audited."""
    with browsed(motions_root, tmp_path_factory.mktemp("cache"), three) as found:
        yield found


@pytest.fixture(scope="module")
def report(motions_root: Path, address: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the report of three findings, which link to the page of the dataset."""
    ids = [row["motion_id"] for row in Dataset(motions_root).rows("motions", ["motion_id"])]
    findings = (
        Finding(Kind.CONTRADICTED, ids[0], "heading turns 2 deg", text=ATTACK, confidence=0.5),
        Finding(Kind.SKATING, ids[1], "1 m/s", start_s=10.5, end_s=11.0, confidence=0.9),
        Finding(Kind.SKATING, ids[2], "2 m/s", start_s=9.0, end_s=10.0, other_id=ids[0]),
    )
    audit = Audit(
        source=open_source(motions_root),
        findings=pa.Table.from_pylist([finding.row() for finding in findings], FINDINGS),
        motions=len(ids),
        texts=len(ids),
        verdicts=Counter(),
        splits=Counter(),
    )
    page = audit_page(audit, examples=1, browser_url=address)
    file = write_report(tmp_path_factory.mktemp("report"), page, asdict(findings[0]))
    return file.as_uri()


def test_findings_sort_and_open_their_motion(page: Page, report: str) -> None:
    page.goto(report)
    rows = page.locator("table.sortable tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.filter(has_text=ATTACK)).to_have_count(1)
    assert page.evaluate(UNNAMED) == 0

    def column(title: str) -> list[str]:
        page.locator("table.sortable").get_by_role("button", name=title).click()
        heads = page.locator("table.sortable thead th").all_inner_texts()
        return rows.locator(f":nth-child({heads.index(title) + 1})").all_inner_texts()

    # Numbers in texts count as numbers, and what is empty stays below.
    assert column("span, s") == ["9.0 to 10.0", "10.5 to 11.0", ""]
    assert column("span, s") == ["10.5 to 11.0", "9.0 to 10.0", ""]
    assert column("confidence") == ["0.50", "0.90", "1.00"]
    assert column("confidence") == ["1.00", "0.90", "0.50"]
    page.get_by_role("searchbox", name="Search").fill("10.5 skat")
    expect(page.get_by_text("1 of 3 rows")).to_be_visible()
    page.get_by_role("searchbox", name="Search").fill("")
    page.get_by_role("combobox", name="kind").select_option("Texts that the motion contradicts")
    expect(page.locator("table.sortable tbody tr:visible")).to_have_count(1)
    page.get_by_role("combobox", name="kind").select_option("all")
    link = rows.first.get_by_role("link").first
    motion_id = link.inner_text()
    link.click()
    expect(page.locator(".stage.world canvas")).to_be_visible()
    expect(page.get_by_text(motion_id).first).to_be_visible()


@pytest.mark.parametrize("width", [390, 2560])
def test_the_report_fits_and_is_dark_at_night(page: Page, report: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark")
    page.goto(report)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    lightness = """() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g)
      .slice(0, 3).reduce((sum, one) => sum + Number(one), 0) / 3"""
    assert page.evaluate(lightness) < 60
