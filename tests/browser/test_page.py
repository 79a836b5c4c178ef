"""The page in a real browser: the list, a clip, a review, and what hostile texts cannot do."""

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from data.store.dataset import Dataset
from data.store.reviews import read_reviews
from tests.browser.conftest import ATTACK, NAME, NEEDS_CHROMIUM, UNNAMED, browsed

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def address(
    annotated: Path, three: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str]:
    folder = tmp_path_factory.mktemp("page")
    root = Path(shutil.copytree(annotated, folder / "dataset"))
    with browsed(root, folder / "cache", three) as found:
        yield found


def test_list_clip_and_steps(page: Page, address: str, annotated: Path) -> None:
    page.goto(address)
    cards = page.locator("a.card")
    expect(cards.first).to_be_visible()
    # Markup in texts and names is shown as text.
    expect(cards.first.locator(".file")).to_have_text(NAME)
    assert page.title() == "dataset · avatargpt"
    page.get_by_label("Search texts and file names").fill("notaword")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    page.get_by_role("button", name="Show everything").click()
    page.get_by_label("contradicted").check()
    expect(cards).to_have_count(1)
    cards.first.click()
    expect(page.get_by_text(ATTACK)).to_be_visible()
    assert page.title() == f"{NAME} · avatargpt"
    # The video is there, with the skeletons over it and the people in 3-D.
    expect(page.locator(".stage-note")).to_have_count(0, timeout=60_000)
    painted = """() => {
      const canvas = document.querySelector(".stage.video canvas");
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return data.some((value) => value > 0);
    }"""
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function(painted)
    expect(page.locator(".stage.world canvas")).to_be_visible()
    # A step shows its measurement, lights its span, and plays in a loop.
    step = page.locator(".step.contradicted").first
    step.hover()
    expect(page.locator(".measured-line")).to_contain_text("left_wrist falls 0.30 m")
    expect(page.locator(".decided")).to_have_count(1)
    step.click()
    expect(page.get_by_role("button", name="Leave the loop")).to_be_visible()
    row = next(Dataset(annotated).rows("annotations"))
    time = float((page.locator(".clock").text_content() or "").split("/")[0])
    assert row["fine"][0]["start_s"] - 0.4 <= time <= row["fine"][0]["end_s"] + 0.4
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("play or pause")
    page.keyboard.press("Escape")
    page.go_back()
    expect(cards).to_have_count(1)


def test_a_review_by_keyboard(page: Page, address: str) -> None:
    root = Path(page.request.get(f"{address}api/dataset").json()["folder"])
    page.goto(f"{address}#/review")
    rows = page.locator(".judged")
    expect(rows.nth(2)).to_be_visible()
    page.keyboard.press("a")
    expect(rows.nth(0)).to_have_class("judged j-accepted")
    page.keyboard.press("r")
    expect(rows.nth(1)).to_have_class("judged j-rejected")
    page.keyboard.press("e")
    page.get_by_role("textbox", name="Text", exact=True).fill("stroll along")
    page.keyboard.press("Enter")
    expect(rows.nth(2)).to_contain_text("stroll along")
    # What was written is measured, and the verdict on the former text is gone.
    expect(rows.nth(2).locator(".said")).not_to_contain_text("being measured")
    expect(rows.nth(2).locator(".said")).not_to_contain_text("left_wrist falls 0.30 m")
    page.keyboard.press("u")
    expect(rows.nth(2)).not_to_contain_text("stroll along")
    expect(page.get_by_text("Saved")).to_be_visible()
    found = [(review.level, review.judgment, review.reviewer) for review in read_reviews(root)]
    assert found[:2] == [("coarse", "accepted", "Ada"), ("medium", "rejected", "Ada")]
    assert found[2][:2] in {("fine", "partial"), ("fine", "edited")}
    assert found[3][:2] == ("fine", "withdrawn")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.hash.includes('after=')")


@pytest.mark.parametrize("width", [390, 1280, 2560])
@pytest.mark.parametrize("path", ["", "#/review"])
def test_nothing_is_wider_than_the_window(page: Page, address: str, width: int, path: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address + path)
    expect(page.locator(".card, .judged").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(UNNAMED) == 0
