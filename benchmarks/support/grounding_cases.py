"""True sentences and near misses about motions, with which grounding is developed and measured.

``grounding_cases.jsonl`` holds one family of sentences per line, written by hand for this project
after looking at contact sheets and joint positions of the motion: ``motion`` (its key), ``span_s``
(start and end that the sentences describe, seconds; the whole motion without it), ``true`` and
``near_misses``, each with the ``kind`` of what is wrong in it.

The split is by family and was fixed before any rule was made, so that a near miss is never held
out from the sentence that it was made from. The results of single held-out sentences are not to be
looked at.
"""

import json
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.support.corpus import Motion, mocap
from data.synthetic.activities import generate_motion

CASES: Final = Path(__file__).with_suffix(".jsonl")
KINDS: Final = (
    *("side", "direction", "count", "speed", "posture", "exclusive", "manner", "order", "action"),
)
"""What is wrong in a near miss. ``exclusive`` is one side instead of both or the other only, and
``manner`` is on the spot instead of on the way, or the reverse."""
_SYNTHETIC: Final = "synthetic:"
"""Prefix of the key of a generated motion: ``synthetic:ACTIVITY:SEED:SECONDS``."""


@dataclass(frozen=True, slots=True)
class Case:
    """A sentence about a motion.

    Attributes:
        motion: key of the motion, see :func:`motion_of`.
        text: the sentence.
        span_s: start and end that it describes, seconds; None for the whole motion.
        miss: what is wrong in it, one of ``KINDS``; None for a true sentence.
        held_out: whether it belongs to the half that was set aside.
    """

    motion: str
    text: str
    span_s: tuple[float, float] | None
    miss: str | None
    held_out: bool


def read_cases() -> list[Case]:
    """All sentences, in the order of the file."""
    cases: list[Case] = []
    for line in CASES.read_text(encoding="utf-8").splitlines():
        family = json.loads(line)
        motion, true = family["motion"], family["true"]
        span_s = (family["span_s"][0], family["span_s"][1]) if "span_s" in family else None
        held_out = zlib.crc32(f"{motion}|{true}".encode()) % 2 == 1
        told = [(true, None), *((miss["text"], miss["kind"]) for miss in family["near_misses"])]
        cases += [Case(motion, text, span_s, kind, held_out) for text, kind in told]
    return cases


@cache
def _recorded() -> dict[str, Motion]:
    sets = (("cmu_joints22_20fps.npz", "label"), ("bandai_joints22_20fps.npz", "content"))
    return {key: motion for name, label in sets for key, _, motion in mocap(name, label)}


def motion_of(key: str) -> Motion:
    """Joints of a motion, (T, 22, 3), meters, y up, 20 fps.

    Args:
        key: key of a CMU or Bandai-Namco sequence, or ``synthetic:ACTIVITY:SEED:SECONDS``.
    """
    if key.startswith(_SYNTHETIC):
        activity, seed, seconds = key.removeprefix(_SYNTHETIC).split(":")
        return np.asarray(generate_motion(activity, int(seed), float(seconds))[0], np.float64)
    return _recorded()[key]
