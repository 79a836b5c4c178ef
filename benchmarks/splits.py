"""How much of the test split was nearly trained on: ``.venv/bin/python benchmarks/splits.py``.

The data are CMU and Bandai-Namco motion capture and the plans of VirtualHome. Beside the splits of
the dataset, the same motions are split as imports before version 3 did, where a take of
Bandai-Namco and a CMU take without a numbered name were groups of their own. The script also
measures what the threshold of near-duplicates separates, and counts the texts that people wrote.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.mocap_dataset import CACHE, mocap_dataset  # noqa: E402
from benchmarks.support.corpus import TEXT, run_with_corpus  # noqa: E402
from data.importers.run import MotionImportConfig, import_motions  # noqa: E402
from data.motion.splits import SplitConfig, split_of  # noqa: E402
from data.motion_records import HUMAN_TEXTS  # noqa: E402
from data.store.dataset import Dataset  # noqa: E402
from evaluation.duplicates import (  # noqa: E402
    NEAR_MM,
    DescribedMotion,
    distances_mm,
    near_duplicates,
    nearest_texts,
    normalized_text,
    read_described,
)
from training.instructions.material import read_plan_items  # noqa: E402

TARGETS = {"bandai_near": 0.1, "cmu_near": 0.1}
NAMES = ("motion_id", "source_id")
_NUMBERED = re.compile(r"cmu_(\d+)_\d+")


def as_before(root: Path, motions: Sequence[DescribedMotion]) -> list[DescribedMotion]:
    """Return the motions in the splits of imports before version 3."""
    names = {row["motion_id"]: row["source_id"] for row in Dataset(root).rows("motions", NAMES)}
    config = SplitConfig()
    moved: list[DescribedMotion] = []
    for one in motions:
        numbered = _NUMBERED.fullmatch(names[one.motion_id])
        group = f"cmu/{numbered.group(1)}" if numbered else one.motion_id
        moved.append(replace(one, split=split_of(group, config)))
    return moved


def separation(motions: Sequence[DescribedMotion]) -> dict[str, float]:
    """Return the shares of motions that are near another one: of their group, and of others."""
    distances = distances_mm(motions, motions)
    np.fill_diagonal(distances, np.inf)
    groups, sources = (
        np.array([getattr(one, name) for one in motions]) for name in ("group", "source")
    )
    same = groups[:, None] == groups
    own = np.where(same, distances, np.inf).min(axis=1)
    others = np.where(same, np.inf, distances).min(axis=1)
    foreign = np.where(sources[:, None] == sources, np.inf, distances).min()
    bandai = sources == "bandai-namco"
    return {
        "near_same_group": round(float((own[bandai & np.isfinite(own)] < NEAR_MM).mean()), 3),
        "near_other_group": round(float((others[bandai] < NEAR_MM).mean()), 3),
        "nearest_other_source_mm": round(float(foreign), 1),
    }


def human_texts(root: Path) -> dict[str, int]:
    """Return the number of motions that people described, and of their texts, by split."""
    motions, texts = Counter[str](), Counter[str]()
    for row in Dataset(root).rows("motions", ["split", "texts", "mirrored_of"]):
        count = sum(text["source"] in HUMAN_TEXTS for text in row["texts"] or ())
        if count and not row["mirrored_of"]:
            motions[row["split"]] += 1
            texts[row["split"]] += count
    return {
        **{f"human_motions_{split}": motions[split] for split in ("train", "val", "test")},
        **{f"human_texts_{split}": texts[split] for split in ("train", "val", "test")},
    }


def plans() -> dict[str, float]:
    """Return how many goals and plans of the test split are near one of the training split."""
    root = CACHE / "plans"
    source = str(TEXT / "virtualhome_task_steps.json")
    import_motions(MotionImportConfig(sources=(source,), dataset=root))
    goals: dict[str, list[str]] = {}
    whole: dict[str, list[str]] = {}
    for split in ("train", "test"):
        items = [
            one for one in read_plan_items([root], split, SplitConfig()) if not one.is_progress
        ]
        goals[split] = list(dict.fromkeys(normalized_text(one.tasks[0]) for one in items))
        whole[split] = [" ".join((*one.tasks, *one.steps)) for one in items]
    near = [one.cosine for one in nearest_texts(goals["test"], goals["train"])]
    steps = [one.cosine for one in nearest_texts(whole["test"], whole["train"])]
    return {
        "goals_test": len(goals["test"]),
        "goals_same": len(set(goals["test"]) & set(goals["train"])),
        "goals_near": round(float(np.mean(np.array(near) >= 0.8)), 3),
        "plans_test": len(whole["test"]),
        "plans_near": round(float(np.mean(np.array(steps) >= 0.8)), 3),
    }


def main() -> None:
    """Measure and print."""
    root = mocap_dataset()
    motions = read_described(root)
    figures: dict[str, float] = {}
    print("| source | train | val | test | near-duplicates | median, mm | same group | same text |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for when, some in (("before", as_before(root, motions)), ("now", motions)):
        held = Counter((one.source, one.split) for one in some)
        for source, found in near_duplicates(some).items():
            train, val, test = (held[source, split] for split in ("train", "val", "test"))
            print(
                f"| {source}, {when} | {train} | {val} | {test} | {found.near:.3f} | "
                f"{found.median_mm:.0f} | {found.same_group:.3f} | {found.same_texts:.3f} |"
            )
            if when == "now":
                print(f"nearest: {found.examples[0]}")
            name = source.split("-", maxsplit=1)[0] + ("_before" if when == "before" else "")
            figures |= {f"{name}_test": test, f"{name}_near": round(found.near, 3)}
    figures |= separation(motions) | human_texts(root) | plans()
    ok = all(figures[name] <= target for name, target in TARGETS.items())
    print(json.dumps({"name": "splits", "figures": figures, "targets": TARGETS, "ok": ok}))


if __name__ == "__main__":
    run_with_corpus(main)
