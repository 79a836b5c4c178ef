"""A small dataset of real clips, the application that shows it, and a real browser."""

import shutil
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.stages.shards import annotate_dataset
from browser.app import BrowserConfig, create_app
from browser.safety import Access
from data.store.dataset import Dataset
from data.workers.workers import WorkerConfig, Workers
from flows.settings import asset_path

ATTACK = "<script>document.title='taken'</script>"
NAME = "<img src=x onerror=document.title='taken'>.mp4"
"""Name of the video in which two people walk."""
ADDRESS = "http://127.0.0.1:8765"

CHROMIUM: Final = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), ""
)
NEEDS_CHROMIUM: Final = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium here (apt-get install chromium); the answers are tested"
)
UNNAMED: Final = """() => [...document.querySelectorAll("button, input, select, a")].filter((one) =>
  !(one.ariaLabel || one.textContent.trim() || one.title || one.closest("label"))).length"""
"""Counts what a screen reader has no name for."""
# How long an answer takes is the machine's affair.
expect.set_options(timeout=90_000)

Browse = Callable[[Path], TestClient]


@pytest.fixture(scope="session")
def three() -> Path:
    """The archive of three.js; fetched when missing, as at set-up."""
    return asset_path("three")


@pytest.fixture(scope="session")
def annotated(
    walk_clip: Path,
    empty_scene_clip: Path,
    pose_model_path: Path,
    detectors_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A walk of two people, a scene without a person and a text, annotated; of hostile names."""
    folder = tmp_path_factory.mktemp("browser")
    videos = folder / "videos"
    videos.mkdir()
    shutil.copy(walk_clip, videos / NAME)
    shutil.copy(empty_scene_clip, videos / "rabbit.mp4")
    (videos / "notes.mp4").write_text("This is not a video.\n" * 200)
    root = folder / "dataset"
    config = AnnotateConfig(videos=(str(videos),), dataset=root)
    with Workers(WorkerConfig(num_workers=1)) as workers:
        annotate_dataset(
            config, pose_model_path, workers, NO_MODELS, object_detectors=detectors_path
        )
    _attack(root)
    return root


def _attack(root: Path) -> None:
    """Put markup into a text, and a contradiction into a step."""
    (part,) = Dataset(root).parts("annotations")
    rows = pq.read_table(part).to_pylist()
    rows[0]["medium"][-1] = f"A person walks. {ATTACK}"
    rows[0]["fine"][0]["grounding"] |= {
        "verdict": "contradicted",
        "measurement": "left_wrist falls 0.30 m",
    }
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(part)), part)


@pytest.fixture(scope="session")
def browse(three: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Browse]:
    """Opens the application on a dataset, and waits until it is indexed."""
    opened: dict[Path, TestClient] = {}
    cache = tmp_path_factory.mktemp("cache")

    def open_one(root: Path) -> TestClient:
        if root not in opened:
            access = Access("127.0.0.1", 8765)
            app = create_app(BrowserConfig(root, cache, three, access, reviewer="Ada"))
            client = TestClient(app, base_url=ADDRESS)
            client.__enter__()
            while "indexing" in client.get("/api/dataset").json():
                pass
            opened[root] = client
        return opened[root]

    yield open_one
    for client in opened.values():
        client.__exit__(None, None, None)


@pytest.fixture
def client(browse: Browse, annotated: Path) -> TestClient:
    """The application on the annotated clips."""
    return browse(annotated)


# ------------------------------------------------------------------------------ a real browser


@pytest.fixture(scope="session")
def chromium() -> Generator[Browser]:
    """The Chromium of the system, which draws 3-D without a graphics card."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Generator[Page]:
    """An empty page; errors of scripts fail the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(90_000)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("dialog", lambda dialog: problems.append(dialog.message))
    yield opened
    context.close()
    assert problems == []


@contextmanager
def served(make: Callable[[Access], ASGIApp]) -> Generator[str]:
    """Serve an application on a free port, and return its address."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
        app = make(Access("127.0.0.1", port))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        # Connections wait from now on, and are not refused, until the server has started.
        opened.listen()
        thread.start()
        yield f"http://127.0.0.1:{port}/"
        server.should_exit = True
        thread.join()


@contextmanager
def browsed(root: Path, cache: Path, three: Path, body: Path | None = None) -> Generator[str]:
    """Serve the page of a dataset to the reviewer Ada, and return its address."""

    def make(access: Access) -> ASGIApp:
        return create_app(BrowserConfig(root, cache, three, access, "Ada", body))

    with served(make) as address:
        yield address
