"""Fixtures for all tests."""

from pathlib import Path

import pytest

from data.assets import fetch_assets

CACHE_DIR = Path("~/.cache/avatargpt").expanduser()
SHARED_VIDEOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "videos"


@pytest.fixture(scope="session")
def videos_dir() -> Path:
    """The folder of real clips."""
    if not SHARED_VIDEOS.is_dir():
        pytest.fail(
            f"{SHARED_VIDEOS}: expected the folder of real test clips, found nothing. "
            "Put the shared data beside the repository (see CONTRIBUTING.md)."
        )
    return SHARED_VIDEOS


@pytest.fixture(scope="session")
def pose_model_path() -> Path:
    """The pose model of the cache; fetched when missing, as at set-up."""
    return fetch_assets(CACHE_DIR, only=("pose_model",))["pose_model"]
