"""Fixtures for all tests."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from data.assets import fetch_assets
from data.motions import MotionImportConfig, import_motions
from data.splits import SplitConfig
from data.workers import WorkerConfig
from tests.annotators.motions import mocap

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

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


@pytest.fixture(scope="session")
def motions_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 real motions of 40-200 frames, of which about a half train."""
    folder = tmp_path_factory.mktemp("motions")
    sequences = [s for s in mocap("bandai_joints22_20fps.npz", "content") if len(s[2]) >= 60]
    archive = {key: joints[:200].astype(np.float32) for key, _, joints in sequences[::36][:48]}
    np.savez(folder / "motions.npz", allow_pickle=False, **archive)
    root = folder / "dataset"
    import_motions(
        MotionImportConfig(
            sources=(str(folder / "motions.npz"),),
            dataset=root,
            mirror=False,
            splits=SplitConfig(train=0.5, val=0.25, test=0.25),
            workers=WorkerConfig(num_workers=1),
        )
    )
    return root
