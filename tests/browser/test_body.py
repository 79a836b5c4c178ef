"""The body around a skeleton: what the page is sent, and how the page moves it."""

from collections.abc import Generator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from browser.body import pack_body
from data.motion.skeleton import JOINT, PARENTS
from flows.settings import asset_path
from tests.browser.conftest import NEEDS_CHROMIUM, Browse, browsed

MOVED: Final = """async ([parents, joints, numbers]) => {
  const { Body, shape } = await import("/static/body.js");
  const THREE = await import("/three/three.module.js");
  const body = new Body(await shape, parents, "red");
  body.pose(Float32Array.from(body.rest));
  body.pose(Float32Array.from(joints));
  body.mesh.updateMatrixWorld(true);
  return numbers.map((one) => body.mesh.getVertexPosition(one, new THREE.Vector3()).toArray());
}"""
"""Poses a body, and returns where some of its vertices are."""


@pytest.fixture(scope="module")
def archive() -> Path:
    """Mesh and weights; fetched when missing."""
    return asset_path("body")


@pytest.fixture(scope="module")
def parts(archive: Path) -> dict[str, np.ndarray]:
    """The body as the page reads it."""
    data = pack_body(archive)
    count, triangles = np.frombuffer(data, "<u4", 2)
    found: dict[str, np.ndarray] = {}
    at = 8
    for name, kind, rows, columns in (
        ("positions", "<f4", count, 3),
        ("weights", "<f4", count, 4),
        ("rest", "<f4", 22, 3),
        ("triangles", "<u4", triangles, 3),
        ("joints", "u1", count, 4),
    ):
        found[name] = np.frombuffer(data, kind, rows * columns, at).reshape(rows, columns)
        at += found[name].nbytes
    assert at == len(data)
    return found


def test_every_vertex_follows_joints_beside_it(parts: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(parts["weights"].sum(axis=1), 1.0, atol=1e-5)
    assert parts["triangles"].max() == len(parts["positions"]) - 1
    rest = parts["rest"]
    height_m = np.ptp(parts["positions"][:, 1])
    assert 1.5 < height_m < 1.8
    assert rest[JOINT["left_wrist"], 0] > 0.3 > -0.3 > rest[JOINT["right_wrist"], 0]
    assert rest[JOINT["head"], 1] > rest[JOINT["pelvis"], 1] > rest[JOINT["left_knee"], 1]
    strongest = rest[parts["joints"][:, 0]]
    assert np.linalg.norm(parts["positions"] - strongest, axis=1).max() < 0.5


def test_without_a_body_people_are_skeletons(browse: Browse, motions_root: Path) -> None:
    assert browse(motions_root).get("/body").status_code == 204


@pytest.fixture(scope="module")
def address(
    motions_root: Path, three: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str]:
    with browsed(motions_root, tmp_path_factory.mktemp("cache"), three, archive) as found:
        yield found


@NEEDS_CHROMIUM
def test_the_body_goes_with_the_skeleton(
    page: Page, address: str, parts: dict[str, np.ndarray]
) -> None:
    page.goto(address)
    page.locator("a.card").first.click()
    button = page.get_by_role("button", name="Bodies")
    expect(button).to_have_attribute("aria-pressed", "true")
    shown = page.locator(".stage.world canvas")
    with_body = shown.screenshot()
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert shown.screenshot() != with_body
    button.click()
    numbers = list(range(0, len(parts["positions"]), 97))
    at_rest, rest = parts["positions"][numbers], parts["rest"].astype(float)

    def moved(joints: np.ndarray) -> np.ndarray:
        return np.array(page.evaluate(MOVED, [PARENTS, joints.ravel().tolist(), numbers]))

    np.testing.assert_allclose(moved(rest), at_rest, atol=1e-4)
    # A quarter turn to the left, and a way.
    turn = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    way = np.array([1.0, 0.5, -2.0])
    np.testing.assert_allclose(moved(rest @ turn.T + way), at_rest @ turn.T + way, atol=1e-4)
    # A bent elbow moves the forearm only, which keeps its shape.
    bent = rest.copy()
    elbow, wrist = JOINT["left_elbow"], JOINT["left_wrist"]
    bent[wrist] = rest[elbow] + np.array([0.0, np.linalg.norm(rest[wrist] - rest[elbow]), 0.0])
    found = moved(bent)
    whole = parts["weights"][numbers, 0] > 0.999
    of = parts["joints"][numbers, 0]
    forearm = whole & (of == elbow)
    assert forearm.any()
    np.testing.assert_allclose(
        np.linalg.norm(found[forearm] - rest[elbow], axis=1),
        np.linalg.norm(at_rest[forearm] - rest[elbow], axis=1),
        atol=1e-4,
    )
    assert (found[forearm, 1] > at_rest[forearm, 1]).all()
    others = whole & (of != elbow) & (of != wrist)
    np.testing.assert_allclose(found[others], at_rest[others], atol=1e-4)
