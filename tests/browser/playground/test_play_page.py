"""The page that plays with a model in a real browser: a sentence, a scene, and files."""

import zipfile
from collections.abc import Generator
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect
from starlette.types import ASGIApp

from browser.playground.app import PlayConfig, create_play_app
from browser.safety import Access
from data.exporters import bvh_name
from data.motion.skeleton import JOINT_NAMES
from flows.settings import asset_path
from tests.browser.conftest import NEEDS_CHROMIUM, UNNAMED, served
from training.inference.motion_model import MotionModel

pytestmark = NEEDS_CHROMIUM

LOADED: Final = """async ([link, names]) => {
  const { GLTFLoader } = await import("/three/GLTFLoader.js");
  const THREE = await import("/three/three.module.js");
  const gltf = await new GLTFLoader().loadAsync(link);
  const [clip] = gltf.animations;
  const mixer = new THREE.AnimationMixer(gltf.scene);
  mixer.clipAction(clip).setLoop(THREE.LoopOnce).play();
  const joints = names.map((name) => gltf.scene.getObjectByName(name));
  const shapes = [];
  gltf.scene.traverse((node) => { if (node.isMesh) shapes.push(node.name); });
  const frames = [];
  for (let frame = 0; frame < 40; frame++) {
    mixer.setTime(frame / 20);
    gltf.scene.updateMatrixWorld(true);
    frames.push(joints.map((joint) => joint.getWorldPosition(new THREE.Vector3()).toArray()));
  }
  return { frames, seconds: clip.duration, title: clip.name, shapes: shapes.length };
}"""
"""Loads a glTF file with the loader of three.js, and plays it frame by frame."""


@pytest.fixture(scope="module")
def address(planner: MotionModel, three: Path) -> Generator[str]:
    """The page on the tiny trained model."""

    def make(access: Access) -> ASGIApp:
        return create_play_app(PlayConfig(Path("models/v-1"), three, access), lambda _: planner)

    with served(make) as found:
        yield found


def _type(page: Page, words: str) -> None:
    page.get_by_role("textbox").fill(words)
    page.keyboard.press("Enter")


def test_a_sentence_a_pick_and_what_lies_between(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_role("heading", name="Say what should move")).to_be_visible()
    page.get_by_label("Motions").select_option("2")
    page.get_by_label("Seconds", exact=True).fill("2")
    _type(page, "a person walks <b>forward</b> and waves")
    cards = page.locator("article.motion")
    expect(cards).to_have_count(2)
    expect(page.get_by_text("Pick two motions")).to_be_visible()
    for index, seed in enumerate(("Seed 0", "Seed 1")):
        card = cards.nth(index)
        expect(card.get_by_role("heading", name=seed)).to_be_visible()
        expect(card.locator(".claims li")).to_have_count(2)
        expect(card.locator("canvas")).to_be_visible()
        expect(card.get_by_role("link", name="Download")).to_have_count(5)
    with page.expect_download() as download:
        cards.first.get_by_role("link", name="Download BVH").click()
    assert Path(download.value.path()).read_text().startswith("HIERARCHY")
    for index in range(2):
        cards.nth(index).get_by_role("button", name="Pick").click()
    page.get_by_role("button", name="Generate the in-between").click()
    expect(cards).to_have_count(3)
    assert page.evaluate(UNNAMED) == 0


def test_a_scene_plays_with_its_plan(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="Scene").click()
    # Longer than any one step, so that something lies between two.
    page.get_by_label("At least, seconds").fill("25")
    _type(page, "a kitchen")
    expect(page.get_by_role("link", name="Download glTF")).to_be_visible()
    steps = page.locator(".plan .step-row")
    # Every step has its verdict, and what joins two has none.
    expect(page.locator(".plan .step-row.between").first).to_be_visible()
    assert steps.first.locator(".mark").count() == 1
    steps.first.click()
    expect(page.get_by_role("button", name="Leave the loop")).to_be_visible()
    expect(page.locator(".step-row.current")).to_have_count(1)
    page.get_by_role("textbox").fill("a void")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("expected steps with a motion")
    for width in (390, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_gltf_is_what_three_js_plays(page: Page, address: str) -> None:
    with zipfile.ZipFile(asset_path("three_loaders")) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}

    def fulfill(route: Route) -> None:
        script = files[route.request.url.rpartition("/")[2]]
        route.fulfill(
            body=script.replace("from 'three'", "from '/three/three.module.js'"),
            content_type="text/javascript",
        )

    for name in files:
        page.route(f"**/{name}", fulfill)
    page.goto(address)
    page.get_by_label("Seconds", exact=True).fill("2")
    _type(page, "a person walks forward")
    link = page.get_by_role("link", name="Download glTF")
    href = link.get_attribute("href") or ""
    found = page.evaluate(LOADED, [href, [bvh_name(name) for name in JOINT_NAMES]])
    assert found["title"] == "a person walks forward (seed 0)"
    assert found["seconds"] == pytest.approx(39 / 20)
    assert found["shapes"] == 21
    file = page.request.get(address + href.replace("kind=glb", "kind=joints.npy").lstrip("/"))
    joints = np.load(BytesIO(file.body()))
    error_TJ = np.linalg.norm(np.array(found["frames"]) - joints, axis=-1)
    assert error_TJ[:, 0].max() < 1e-5
    assert error_TJ.mean() < 0.015
