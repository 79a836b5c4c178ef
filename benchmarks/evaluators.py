"""R-precision of real motions with both evaluators, trained here on the motion capture.

Each evaluator trains with its preset `small` on the training split, and judges the clips of the
test split: in groups of 32 as in the protocol, where equal captions of other clips count as wrong;
and once more with one clip for each different caption. The row `captions` is what an evaluator
would reach that knows the captions of the clips, and nothing else. Sides: how often a clip is
nearer to its own caption than to the same caption with left and right exchanged.

    .venv/bin/python benchmarks/evaluators.py [--minutes 10] [--kinds matching contrastive]

The sentence encoder is the asset `sentence_encoder`, which is fetched when missing. The target is
in processor minutes of the one thread that trains, because other work on the machine affects them
less than the wall clock.
"""

import argparse
import json
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.mocap_dataset import CACHE, mocap_dataset  # noqa: E402
from benchmarks.support.corpus import run_with_corpus  # noqa: E402
from data.arrays import FloatArray  # noqa: E402
from data.motion.features import mirror_text  # noqa: E402
from data.presets import resolve  # noqa: E402
from evaluation.evaluators import train_contrastive, train_matching  # noqa: E402
from evaluation.evaluators.evaluator import Evaluator  # noqa: E402
from evaluation.evaluators.loading import load_evaluator  # noqa: E402
from evaluation.evaluators.pairs import CaptionedClip, PairDataConfig, prepare_pairs  # noqa: E402
from evaluation.metrics.matching import match  # noqa: E402
from evaluation.metrics.protocol import estimate  # noqa: E402
from flows.settings import asset_path  # noqa: E402
from training.loop import TrainingResult  # noqa: E402

REPEATS: Final = 20
TARGETS: Final = {"processor_minutes": 10.0}


def trained(kind: str, dataset: Path, minutes: float) -> TrainingResult:
    """Train an evaluator, or go on with its training."""
    changes: dict[str, Any] = {
        "run": CACHE / f"evaluator-{kind}",
        "data": {"dataset": dataset},
        "loop": {"max_minutes": minutes},
    }
    if kind == "matching":
        config_type, presets = train_matching.TrainMatchingConfig, train_matching.PRESETS
        return train_matching.train_matching_evaluator(
            resolve(config_type, presets, "small", changes, CACHE)
        )
    changes["sentence_encoder"] = asset_path("sentence_encoder")
    contrastive_type, presets = train_contrastive.TrainContrastiveConfig, train_contrastive.PRESETS
    return train_contrastive.train_contrastive_evaluator(
        resolve(contrastive_type, presets, "small", changes, CACHE)
    )


def r_precision(texts_ND: FloatArray, motions_ND: FloatArray) -> dict[str, float]:
    """Return R-precision in random groups of 32, with 95 % intervals."""
    orders = [np.random.default_rng(seed).permutation(len(texts_ND)) for seed in range(REPEATS)]
    repeats = [match(texts_ND, motions_ND, order_N) for order_N in orders]
    figures: dict[str, float] = {}
    for top in range(3):
        found = estimate([one.r_precision[top] for one in repeats])
        figures[f"r{top + 1}"] = round(found.mean, 3)
        figures[f"r{top + 1}_interval"] = round(found.interval, 3)
    return figures


def known_captions(captions: list[str]) -> dict[str, float]:
    """Return R-precision of embeddings that tell captions apart, and nothing else."""
    different = list(dict.fromkeys(captions))
    one_hot_ND = np.eye(len(different))[[different.index(caption) for caption in captions]]
    return r_precision(one_hot_ND, one_hot_ND)


def judge(evaluator: Evaluator, clips: list[tuple[CaptionedClip, str]]) -> dict[str, float]:
    """Return the figures of real clips, each with one of its captions."""
    captions = [caption for _, caption in clips]
    motions_ND = evaluator.embed_motions([clip.features_TD for clip, _ in clips])
    texts_ND = evaluator.embed_texts(captions)
    figures = r_precision(texts_ND, motions_ND)
    # One clip for each caption, in one group of all captions.
    first = [captions.index(caption) for caption in dict.fromkeys(captions)]
    for top, share in enumerate(
        match(texts_ND[first], motions_ND[first], group_size=len(first)).r_precision, 1
    ):
        figures[f"of_{len(first)}_captions_r{top}"] = round(share, 3)
    sided = [index for index, caption in enumerate(captions) if mirror_text(caption) != caption]
    if sided:
        others_ND = evaluator.embed_texts([mirror_text(captions[index]) for index in sided])
        own_N, other_N = (
            np.linalg.norm(motions_ND[sided] - one, axis=1) for one in (texts_ND[sided], others_ND)
        )
        figures["sided_clips"] = len(sided)
        figures["right_side"] = round(float((own_N < other_N).mean()), 3)
    return figures


def main() -> None:
    """Train, judge, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--kinds", nargs="+", default=["matching", "contrastive"])
    arguments = parser.parse_args()
    dataset = mocap_dataset()
    _, pairs = prepare_pairs(PairDataConfig(dataset=dataset), CACHE / "evaluators")
    clips = pairs["test"].all_once()
    sources = Counter(clip.source_id.split("_")[0] for clip, _ in clips)
    print(f"{len(clips)} test clips, {len({text for _, text in clips})} captions, {sources}")
    figures: dict[str, Any] = {"captions": known_captions([text for _, text in clips])}
    print("captions", figures["captions"])
    for kind in arguments.kinds:
        begin, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        result = trained(kind, dataset, arguments.minutes)
        after = resource.getrusage(resource.RUSAGE_SELF)
        processor_s = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        figures[kind] = {
            "minutes": round((time.monotonic() - begin) / 60, 1),
            "processor_minutes": round(processor_s / 60, 1),
            "steps": result.step,
            **judge(load_evaluator(result.run), clips),
        }
        print(kind, figures[kind])
    ok = all(
        figures[kind][name] <= most for name, most in TARGETS.items() for kind in arguments.kinds
    )
    print(json.dumps({"name": "evaluators", "figures": figures, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
