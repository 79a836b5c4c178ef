"""Fixtures for all tests, and what needs the larger corpus."""

import os
import shutil
from collections.abc import Callable, Generator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from benchmarks.support.corpus import CORPUS, REMEDY, VIDEOS, missing_parts
from data.exporters import write_bvh, write_humanml3d
from data.importers.run import MotionImportConfig, import_motions
from data.motion.features import joints_to_features
from data.motion.splits import Split, SplitConfig
from data.synthetic.activities import generate_motion
from data.workers.workers import WorkerConfig
from flows.assets import ASSETS, fetch_assets
from flows.settings import Settings
from tests.support import corruption
from tests.support.clips import FETCHED
from tests.support.plans import save_plans

if TYPE_CHECKING:
    from training.inference.motion_model import MotionModel
    from training.loop import TrainingResult

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What is set up once outlives a test that sets another cache.
CACHE_DIR = Settings().cache_dir.expanduser()
CORPUS_IS_DEMANDED = os.environ.get("AVATARGPT_REQUIRE_CORPUS", "") not in {"", "0"}


# ---------------------------------------------------------------------------------- larger corpus


def pytest_configure() -> None:
    """Fail before any test where the larger corpus is demanded and is not there."""
    missing = missing_parts()
    if missing and CORPUS_IS_DEMANDED:
        raise pytest.UsageError(
            f"AVATARGPT_REQUIRE_CORPUS is set: expected {missing[0]}, found nothing. {REMEDY}"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the larger corpus where it is not."""
    missing = missing_parts()
    for item in items:
        if "corpus" in getattr(item, "fixturenames", ()):
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
def corpus() -> Path:
    """The larger corpus; whoever uses it is marked ``corpus``."""
    return CORPUS


@pytest.fixture(scope="session")
def reference(corpus: Path) -> Path:
    """Samples of other projects, beside the corpus."""
    return corpus.with_name("reference")


@pytest.fixture(scope="session")
def videos_dir(corpus: Path) -> Path:
    """The real clips of the larger corpus."""
    return corpus / "videos"


# ---------------------------------------------- clips of every machine, in the cache: copy them


@pytest.fixture(scope="session")
def pose_model_path() -> Path:
    """The pose model of the cache; fetched when missing, as at set-up."""
    return _asset("pose_model")


@pytest.fixture(scope="session")
def detectors_path() -> Path:
    """The object detectors of the cache; fetched when missing, as at set-up."""
    return _asset("object_detectors")


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
def real_clip() -> Callable[[str], Path]:
    """The path of a clip by its name: see tests/support/clips.py."""

    def path_of(name: str) -> Path:
        return _asset(FETCHED[name]) if name in FETCHED else VIDEOS / name

    return path_of


@pytest.fixture(scope="session")
def brief_clip(sample_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames of the sample clip at 5 fps: the least that is a clip with a person in it."""
    path = tmp_path_factory.mktemp("brief") / "brief.mp4"
    return corruption.filmed_again(sample_clip, path, frames=range(0, 30, 6), rate=5)


@pytest.fixture(scope="session")
def walk_clip(sample_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """71 frames of the sample clip at 50/3 fps, 480 x 270 pixels."""
    path = tmp_path_factory.mktemp("walk") / "walk.mp4"
    frames = range(0, 142, 2)
    size_px = (480, 270)
    return corruption.filmed_again(
        sample_clip, path, frames=frames, rate=Fraction(50, 3), size_px=size_px
    )


@pytest.fixture(scope="session")
def steady_clip(sample_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 frames at 30 fps, 568 x 320 pixels: the sample clip, and its end backwards."""
    path = tmp_path_factory.mktemp("steady") / "steady.mp4"
    frames = [*range(230), *range(228, 158, -1)]
    return corruption.filmed_again(sample_clip, path, frames=frames, rate=30, size_px=(568, 320))


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
def motion_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic motions as our exporters write them.

    ``bvh/`` (walk.bvh, jump.bvh), ``joints.npz`` (kick, clap), ``humanml3d/`` (000001, a person
    who bows, with two captions; 000002, who squats) and ``plans.json``.
    """
    folder = tmp_path_factory.mktemp("sources")
    write_bvh(folder / "bvh" / "walk.bvh", generate_motion("walk_forward", 1, 3.0)[0])
    write_bvh(folder / "bvh" / "jump.bvh", generate_motion("jump", 2, 3.5)[0])
    np.savez(
        folder / "joints.npz",
        allow_pickle=False,
        kick=generate_motion("kick", 3, 3.0)[0],
        clap=generate_motion("clap", 4, 4.0)[0],
    )
    splits: dict[str, tuple[str, Split]] = {
        "000001": ("bow", "train"),
        "000002": ("squat", "test"),
    }
    for name, (activity, split) in splits.items():
        joints, captions = generate_motion(activity, 5, 4.0)
        features = joints_to_features(joints)
        write_humanml3d(folder / "humanml3d", name, features, captions[:2], split)
    save_plans(folder / "plans.json")
    return folder


@pytest.fixture(scope="session")
def motions_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 synthetic motions of 60-120 frames, of which about a half train."""
    root = tmp_path_factory.mktemp("motions") / "dataset"
    import_motions(
        MotionImportConfig(
            sources=("procedural:48:5",),
            dataset=root,
            mirror=False,
            splits=SplitConfig(train=0.5, val=0.25, test=0.25),
            workers=WorkerConfig(num_workers=1),
        )
    )
    return root


# ------------------------------------------------- trained models; their libraries import slowly


@pytest.fixture(scope="session")
def vqvae_run(motions_root: Path, tmp_path_factory: pytest.TempPathFactory) -> "TrainingResult":
    """A tiny VQ-VAE, trained without interruption on the small dataset of motions."""
    from tests.support.runs import vqvae_config
    from training.tokenizer.train import train_motion_vqvae

    run = tmp_path_factory.mktemp("runs") / "vqvae"
    return train_motion_vqvae(vqvae_config(motions_root, run))


@pytest.fixture(scope="session")
def lm_root(vqvae_run: "TrainingResult", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic motions with captions, and plans; tokenized."""
    from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions

    folder = tmp_path_factory.mktemp("lm")
    root, plans = folder / "dataset", folder / "plans.json"
    save_plans(plans)
    import_motions(
        MotionImportConfig(
            sources=("procedural:24", str(plans)),
            dataset=root,
            mirror=False,
            splits=SplitConfig(train=0.5, val=0.25, test=0.25),
            workers=WorkerConfig(num_workers=1),
        )
    )
    tokenize_motions(TokenizeConfig(dataset=root, tokenizer=vqvae_run.run))
    return root


@pytest.fixture(scope="session")
def lm_run(
    lm_root: Path, vqvae_run: "TrainingResult", tmp_path_factory: pytest.TempPathFactory
) -> "TrainingResult":
    """A tiny language model, trained without interruption."""
    from tests.support.runs import lm_config
    from training.language_model.train import train_motion_lm

    run = tmp_path_factory.mktemp("runs") / "lm"
    return train_motion_lm(lm_config(lm_root, vqvae_run.run, run))


@pytest.fixture(scope="session")
def motion_model(lm_run: "TrainingResult", vqvae_run: "TrainingResult") -> "MotionModel":
    """Both, as users call them."""
    from training.inference.motion_model import MotionModel
    from training.language_model.generation import load_motion_lm
    from training.tokenizer.motion_tokenizer import load_tokenizer

    return MotionModel(load_motion_lm(lm_run.run), load_tokenizer(vqvae_run.run))
