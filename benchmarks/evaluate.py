"""CPU seconds of the protocol of text-to-motion on 4,640 items, against the published ways.

R-precision, MM-Dist, FID, Diversity and MultiModality over 20 repeats, from embeddings of 512
numbers, which are drawn at random: the time does not depend on what they mean. All ways give the
same values, which is checked. The published ways are the loop over items, and the published code's
matrix of distances for each group; both take a square root of a matrix in each repeat. The fair way
is the latter with one FID, because all repeats have the same motions. CPU time is measured, because
other processes hardly change it.

    .venv/bin/python benchmarks/evaluate.py [--items 4640]
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.support.published_protocol import Values, group_by_group, item_by_item  # noqa: E402
from evaluation.metrics.distribution import MULTIMODALITY_SAMPLES, MULTIMODALITY_TEXTS  # noqa: E402
from evaluation.metrics.protocol import Estimate, MotionScores, ProtocolConfig, score_motions  # noqa: E402

SIZE: Final = 512
TARGETS: Final = {"protocol_ratio_items": 10.0}


def by_name(scores: MotionScores) -> dict[str, Estimate | None]:
    """Return the metrics under the names of the published ways."""
    first, second, third = scores.r_precision
    return {
        "r1": first,
        "r2": second,
        "r3": third,
        "mm_dist": scores.mm_dist,
        "fid": scores.fid,
        "diversity": scores.diversity,
        "multimodality": scores.multimodality,
    }


def agree(scores: MotionScores, values: Values) -> bool:
    """Return whether our values of each repeat are those of a published way."""
    return all(
        ours is not None and np.allclose(ours.values, values[name], rtol=1e-3, atol=1e-4)
        for name, ours in by_name(scores).items()
    )


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=4640)
    arguments = parser.parse_args()
    config = ProtocolConfig()
    rng = np.random.default_rng(0)
    texts, real = (rng.normal(size=(arguments.items, SIZE)).astype(np.float32) for _ in range(2))
    motions = texts + rng.normal(size=texts.shape, scale=4).astype(np.float32)
    samples = rng.normal(size=(MULTIMODALITY_TEXTS, MULTIMODALITY_SAMPLES, SIZE))
    samples = samples.astype(np.float32)

    begin = time.process_time()
    scores = score_motions(texts, motions, real, config, samples)
    ours_s = time.process_time() - begin
    figures: dict[str, float | bool] = {"protocol_cpu_s": round(ours_s, 2)}
    print(f"ours           {ours_s:8.2f} s")
    same = True
    ways = {
        "fair": partial(group_by_group, fid_once=True),
        "groups": group_by_group,
        "items": item_by_item,
    }
    for name, way in ways.items():
        begin = time.process_time()
        values = way(texts, motions, real, samples, config)
        seconds = time.process_time() - begin
        same = same and agree(scores, values)
        print(f"{name:14} {seconds:8.2f} s")
        figures[f"protocol_ratio_{name}"] = round(seconds / ours_s, 1)
    figures["same_values"] = same
    for name, found in by_name(scores).items():
        print(f"{name:14} {found}")
    ok = same and all(figures[name] >= target for name, target in TARGETS.items())
    print(json.dumps({"name": "evaluate", "figures": figures, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    main()
