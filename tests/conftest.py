"""Fixtures for all tests, and what needs the larger corpus."""

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from benchmarks.support.corpus import CORPUS, REMEDY, VIDEOS, missing_parts, mocap
from data.assets import ASSETS, fetch_assets
from data.motions import MotionImportConfig, import_motions
from data.splits import SplitConfig
from data.workers import WorkerConfig
from flows.settings import Settings
from tests import corruption

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What is set up once outlives a test that sets another cache.
CACHE_DIR = Settings().cache_dir.expanduser()
CORPUS_IS_DEMANDED = os.environ.get("AVATARGPT_REQUIRE_CORPUS", "") not in {"", "0"}


# ---------------------------------------------------------------------------------- larger corpus


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the larger corpus where it is not; fail where it is demanded."""
    missing = missing_parts()
    if missing and CORPUS_IS_DEMANDED:
        raise pytest.UsageError(
            f"AVATARGPT_REQUIRE_CORPUS is set: expected {missing[0]}, found nothing. {REMEDY}"
        )
    for item in items:
        if "videos_dir" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.corpus)
        if missing and item.get_closest_marker("corpus"):
            item.add_marker(pytest.mark.skip(reason="needs the larger corpus"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None]:
    """Say last how many tests the larger corpus would add, and how to get it."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum("corpus" in report.keywords for report in skipped)
    if count:
        terminalreporter.write_line(
            f"{count} {'test was' if count == 1 else 'tests were'} skipped for want of the larger "
            f"corpus, which was looked for at {CORPUS}. "
            f"{REMEDY}",
            yellow=True,
        )


@pytest.fixture(scope="session")
def videos_dir() -> Path:
    """The real clips of the larger corpus; who uses it is marked ``corpus``."""
    return VIDEOS


# ---------------------------------------------- clips of every machine, in the cache: copy them


@pytest.fixture(scope="session")
def pose_model_path() -> Path:
    """The pose model of the cache; fetched when missing, as at set-up."""
    return _asset("pose_model")


@pytest.fixture(scope="session")
def sample_clip() -> Path:
    """7.7 s at 30 fps, 230 frames: one person walks and jumps, another passes by."""
    return _asset("sample_clip")


@pytest.fixture(scope="session")
def multishot_clip() -> Path:
    """10 s at 25 fps, cuts at 30, 76, 137, 187 and 242; a person in the third of six shots only."""
    return _asset("multishot_clip")


@pytest.fixture(scope="session")
def empty_scene_clip() -> Path:
    """5.3 s at 25 fps without a person: an animated rabbit."""
    return _asset("empty_scene_clip")


@pytest.fixture(scope="session")
def portrait_clip() -> Path:
    """4 s at 29.97 fps, 193 x 144 pixels: one man, from his chest up."""
    return _asset("portrait_clip")


@pytest.fixture(scope="session")
def brief_clip(sample_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames of the sample clip at 5 fps: the least that is a clip with a person in it."""
    path = tmp_path_factory.mktemp("brief") / "brief.mp4"
    return corruption.every_nth_frame(sample_clip, path, step=6, num_frames=5, rate=5)


@pytest.fixture(scope="session")
def clips_dir(
    brief_clip: Path,
    multishot_clip: Path,
    empty_scene_clip: Path,
    portrait_clip: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder of four clips: brief.mp4, multishot.mp4, empty_scene.mp4, portrait.mp4."""
    folder = tmp_path_factory.mktemp("clips")
    for name, path in {
        "brief": brief_clip,
        "multishot": multishot_clip,
        "empty_scene": empty_scene_clip,
        "portrait": portrait_clip,
    }.items():
        shutil.copy(path, folder / f"{name}.mp4")
    return folder


def _asset(name: str) -> Path:
    assert name in ASSETS
    return fetch_assets(CACHE_DIR, only=(name,))[name]


# ------------------------------------------------------------------------------------- motions


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
