"""The motion capture of the corpus as a dataset: what the training benchmarks train on."""

from pathlib import Path
from typing import Final

from benchmarks.support.corpus import MOCAP, need_corpus
from data.importers.run import MOTIONS_VERSION, MotionImportConfig, import_motions
from flows.settings import Settings

CACHE: Final = Settings().cache_dir.expanduser() / "benchmarks"
SOURCES: Final = ("cmu_joints22_20fps.npz", "bandai_joints22_20fps.npz")


ROOT: Final = CACHE / f"mocap-{MOTIONS_VERSION}"
"""Where it is."""


def mocap_dataset() -> Path:
    """CMU and Bandai-Namco with mirror images and human texts, split by groups; made once.

    The first call takes about a minute.
    """
    need_corpus()
    config = MotionImportConfig(
        sources=tuple(str(MOCAP / name) for name in SOURCES),
        dataset=ROOT,
        texts=MOCAP / "cmu_texts.jsonl",
    )
    import_motions(config)
    return ROOT
