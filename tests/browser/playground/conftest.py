"""The playground on a tiny trained model, and a reader of its streams."""

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from browser.playground.app import PlayConfig, create_play_app
from browser.safety import Access
from tests.browser.conftest import ADDRESS
from training.inference.motion_model import MotionModel
from training.language_model.config import Sampling


class Planner(MotionModel):
    """A model whose plans are given, because a tiny one cannot plan; all motion is its own."""

    def next_task(self, scene: str, task: str, sampling: Sampling | None = None) -> str:
        """Tell a task that differs by its seed."""
        assert task
        assert sampling is not None
        return f"task {sampling.seed} in {scene}" if scene != "a void" else ""

    def steps_of(self, task: str, sampling: Sampling | None = None) -> Sequence[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Tell two steps, and none in a void."""
        assert sampling is not None
        return () if task == "a void" else (f"walk {sampling.seed} steps", "wave")


class Studio:
    """The application, asked as its page asks.

    Attributes:
        client: client of the application.
        token: what every write carries.
    """

    def __init__(self, client: TestClient) -> None:
        self.client = client
        while (about := client.get("/api/model").json())["state"] == "loading":
            pass
        self.about = about
        self.token = about["write_token"]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a write as the page does."""
        headers = {"Origin": ADDRESS, "X-Avatargpt": self.token}
        return self.client.post(path, json=body, headers=headers)

    def events(self, path: str, **body: Any) -> list[dict[str, Any]]:
        """Return all events of an answer."""
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture(scope="session")
def planner(motion_model: MotionModel) -> MotionModel:
    """The tiny trained model, with given plans."""
    return Planner(motion_model.lm, motion_model.tokenizer)


@pytest.fixture(scope="session")
def studio(planner: MotionModel, three: Path) -> Generator[Studio]:
    """The application on the tiny model."""
    config = PlayConfig(Path("models/v-1"), three, Access("127.0.0.1", 8765))
    with TestClient(create_play_app(config, lambda _: planner), base_url=ADDRESS) as client:
        yield Studio(client)
