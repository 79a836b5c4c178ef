"""How much the audit finds of known damage: ``.venv/bin/python benchmarks/audit.py``.

Real motions (Bandai-Namco and CMU, with captions of labels and of people) are written in
HumanML3D's layout. They are halved by groups: thresholds were chosen on the first half, and the
figures are of the second one (``--half first`` shows the other). Each of seven ways damages 5 % of
the motions.

**Recall** is the share of the damaged motions that have a finding of the kinds that tell of the
damage (``benchmarks/support/seeding.py``). Sides can only be found swapped where the motion shows
one: recall is given of those, and of all. **Precision** is the share of the motions with a finding
of these kinds that are damaged in any way; findings on others count as false. Those that a viewer
has looked at and found true in the original data (``benchmarks/support/audit_inspected.json``) are
counted in the second figure only.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.mocap_dataset import mocap_dataset  # noqa: E402
from benchmarks.support.corpus import run_with_corpus  # noqa: E402
from benchmarks.support.seeding import COPIED, KINDS, Told, seed, shows_a_side, write_plain  # noqa: E402
from data.schemas import load_features  # noqa: E402
from data.store.dataset import Dataset  # noqa: E402
from evaluation.audit.run import AuditConfig, run_audit  # noqa: E402

TARGET = 0.8
NEEDED = ("side_swap", "mismatched_files", "static", "leak")
"""Ways whose recall and precision decide."""
INSPECTED = ROOT / "benchmarks/support/audit_inspected.json"
SHARE = 0.05
COLUMNS = (
    *("motion_id", "source_id", "group", "split", "mirrored_of", "labels", "texts"),
    *("features", "num_frames", "num_features"),
)


def read_half(root: Path, half: str) -> tuple[list[Told], dict[str, str]]:
    """Return the motions of one half of the groups, and their names in the corpus."""
    motions: list[Told] = []
    sources: dict[str, str] = {}
    for row in Dataset(root).rows("motions", COLUMNS):
        first = sha256(row["group"].encode()).digest()[0] % 2 == 0
        captions = tuple(text["text"].replace("#", " ") for text in row["texts"])
        if row["mirrored_of"] or not captions or (half != "all" and first != (half == "first")):
            continue
        name = row["motion_id"][:12]
        sources[name] = row["source_id"]
        label = row["labels"][0] if len(row["labels"]) else captions[0]
        motions.append(Told(name, row["split"], label, captions, load_features(row)))
    return sorted(motions, key=lambda motion: motion.name), sources


def measure(
    rows: Sequence[Mapping[str, Any]],
    seeded: Mapping[str, Sequence[str]],
    detectable: set[str],
    inspected: Mapping[str, Sequence[str]],
    sources: Mapping[str, str],
) -> tuple[dict[str, dict[str, float]], dict[str, list[str]]]:
    """Return the figures of each way, and the findings that count as false."""
    damaged = {name for way in KINDS for name in seeded[way]}
    figures: dict[str, dict[str, float]] = {}
    false: dict[str, list[str]] = {}
    for way, kinds in KINDS.items():
        told = {
            row["item_id"]
            for row in rows
            if row["kind"] in kinds and not (row["kind"] == "t_pose" and row["severity"] != "error")
        }
        own = set(seeded[way])
        # A held-out motion whose file replaced one of training has leaked.
        wrong = sorted(told - damaged - (set(seeded[COPIED]) if way == "leak" else set()))
        true = [name for name in wrong if way in inspected.get(sources.get(name, ""), ())]
        figures[way] = {
            "seeded": len(own),
            "recall": round(len(told & own) / len(own), 3),
            "told": len(told),
            "false": len(wrong),
            "precision_raw": round(1 - len(wrong) / max(len(told), 1), 3),
            "precision": round(1 - (len(wrong) - len(true)) / max(len(told), 1), 3),
        }
        false[way] = [f"{name} {sources.get(name, '')}" for name in wrong if name not in true]
        if way == "side_swap":
            shown = own & detectable
            figures[way]["detectable"] = len(shown)
            figures[way]["recall_detectable"] = round(len(told & shown) / max(len(shown), 1), 3)
    return figures, false


def main() -> None:
    """Seed, audit and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", type=Path, help="dataset of motions; by default it is made")
    parser.add_argument("--half", choices=("first", "second", "all"), default="second")
    parser.add_argument("--keep", type=Path, help="folder that keeps the damaged dataset and audit")
    chosen = parser.parse_args()
    motions, sources = read_half(chosen.dataset or mocap_dataset(), chosen.half)
    folder = chosen.keep or Path(tempfile.mkdtemp())
    damaged = folder / "damaged"
    write_plain(damaged, motions)
    seeded = seed(damaged, motions, SHARE, np.random.default_rng(17))
    by_name = {motion.name: motion for motion in motions}
    detectable = {name for name in seeded["side_swap"] if shows_a_side(by_name[name])}
    audit = run_audit(AuditConfig(dataset=damaged, out=folder / "audit"))
    rows = audit.findings.to_pylist()
    inspected: dict[str, list[str]] = json.loads(INSPECTED.read_text())
    figures, false = measure(rows, seeded, detectable, inspected, sources)
    if chosen.keep is None:
        shutil.rmtree(folder)
    else:
        (folder / "seeded.json").write_text(json.dumps({"seeded": seeded, "sources": sources}))
    for way, of_way in figures.items():
        print(way, of_way)
        for name in false[way][:20]:
            print(f"    counts as false: {name}")
    ok = all(
        figures[way].get("recall_detectable", figures[way]["recall"]) >= TARGET
        and figures[way]["precision"] >= TARGET
        for way in NEEDED
    )
    flat = {f"{way}_{name}": value for way, of in figures.items() for name, value in of.items()}
    print(
        json.dumps(
            {
                "name": "audit",
                "figures": {"half": chosen.half, "motions": len(motions), **flat},
                "targets": {f"{way}_{what}": TARGET for way in NEEDED for what in _TARGETS},
                "ok": ok,
            }
        )
    )


_TARGETS = ("recall", "precision")

if __name__ == "__main__":
    run_with_corpus(main)
