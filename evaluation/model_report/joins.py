"""Motions put together from two: how smooth the junctions are, beside motions that were never cut.

Ways to join two motions, one after the other:

- ``joined``: each is decoded alone, and their features follow each other, so that the path goes on.
- ``joined_tokens``: their tokens are decoded as one stream.
- ``filled``: an in-between of the model lies between them, as in the closed loop.
- ``generated``: the same with motions that the model made of captions: the closed loop's joins.

Shapes: T frames, J = 22 joints.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from data.arrays import FloatArray
from data.motion.features import features_to_joints
from evaluation.metrics.junctions import (
    TRANSITION_FRAMES,
    JunctionMeasures,
    junction_measures,
    mean_jerk,
    transition_jerk,
)
from evaluation.model_report.answers import answer
from evaluation.model_report.config import EvaluationConfig
from evaluation.model_report.material import Material, motion_codes
from evaluation.model_report.tables import Row, RowName, Table, plain
from training.inference.long_motion import ImagineConfig
from training.inference.motion_model import MotionModel
from training.instructions.tasks import FRAMES_PER_CODE, Codes, Instruction
from training.language_model.generation import Request

NAME: Final = "joins"
_HALF: Final = TRANSITION_FRAMES // 2
_Joined = tuple[FloatArray, list[int]]
"""Joints, (T, J, 3), and the first frame after each junction."""


def join(
    model: MotionModel,
    material: Material,
    asked: Sequence[Instruction],
    config: EvaluationConfig,
) -> Table:
    """Measure junctions between pairs of text-to-motion items.

    Args:
        model: the model.
        material: what it is evaluated on.
        asked: text-to-motion instructions of the test split.
        config: size and sampling.
    """
    long = [one for one in asked if len(one.answer) * FRAMES_PER_CODE >= TRANSITION_FRAMES]
    notes = (
        f"Windows of {TRANSITION_FRAMES} frames around a junction. Peak jerk and the area under "
        "the jerk, in m/frame³ at 20 fps, as of FlowMDM; area: distance from the mean jerk of the "
        "real motions. Uncut: the middle of real motions, of the same, encoded and decoded. Jumps "
        "are of joints relative to the pelvis.",
    )
    if len(long) < 2:
        short = f"Left out: {len(long)} test motions of {TRANSITION_FRAMES} frames or more."
        return Table(name=NAME, rows=(), notes=(*notes, short))
    pairs = list(zip(long[::2], long[1::2], strict=False))
    codes = [(motion_codes(one), motion_codes(other)) for one, other in pairs]
    middles = _between(model, codes)
    made = _generated(model, long[: 2 * len(pairs)], config)
    real = [features_to_joints(material.real(one)) for one in long]
    ways: dict[RowName, list[_Joined]] = {
        "uncut": [(joints_TJ3, [len(joints_TJ3) // 2]) for joints_TJ3 in real],
        "round_trip": [_uncut(model, motion_codes(one)) for one in long],
        "joined": [_features_joined(model, one, other) for one, other in codes],
        "joined_tokens": [_tokens_joined(model, (one, other)) for one, other in codes],
        "filled": [
            _tokens_joined(model, (one, middle, other))
            for (one, other), middle in zip(codes, middles, strict=True)
        ],
        "generated": [
            _tokens_joined(model, (one, middle, other))
            for (one, other), middle in zip(made, _between(model, made), strict=True)
        ],
    }
    real_jerk = mean_jerk(real)
    rows = [
        Row(
            name=row,
            items=sum(len(frames) for _, frames in found),
            values=plain(_figures(found, real_jerk)),
        )
        for row, found in ways.items()
        if found
    ]
    return Table(name=NAME, rows=tuple(rows), notes=notes)


def _figures(motions: Sequence[_Joined], real_jerk: float) -> dict[str, float | None]:
    """Return jerk and jumps; junctions too close to an end have no transition."""
    measures = JunctionMeasures(
        tuple(
            junction
            for joints_TJ3, frames in motions
            for junction in junction_measures(joints_TJ3, frames).junctions
        )
    )
    found: dict[str, float | None] = {
        "joint_jump_mm": _mm(measures.joint_jump_m),
        "velocity_jump_m_s": measures.velocity_jump_m_s,
        "foot_skate_m_s": measures.foot_skate_m_s,
    }
    whole = [
        (joints_TJ3, [at for at in frames if _HALF <= at <= len(joints_TJ3) - _HALF])
        for joints_TJ3, frames in motions
    ]
    if any(frames for _, frames in whole):
        jerk = transition_jerk(whole, real_jerk)
        found |= {"peak_jerk": jerk.peak, "area_under_jerk": jerk.area}
    return found


def _generated(
    model: MotionModel, asked: Sequence[Instruction], config: EvaluationConfig
) -> list[tuple[Codes, Codes]]:
    """Return pairs of generated motions that are long enough to be joined."""
    requests = [
        Request(one.prompt, True, _HALF // FRAMES_PER_CODE + 1, caption=one.caption)  # noqa: FBT003
        for one in asked
    ]
    found = [
        codes for codes in answer(model, requests, config.motion) if not isinstance(codes, str)
    ]
    return list(zip(found[::2], found[1::2], strict=False))


def _between(model: MotionModel, pairs: Sequence[tuple[Codes, Codes]]) -> list[Codes]:
    """Return in-betweens as the closed loop makes them."""
    loop = ImagineConfig()
    given = [tuple(max(1, round(loop.context * len(part))) for part in pair) for pair in pairs]
    ends = [
        (one[-tail:], other[:head]) for (one, other), (tail, head) in zip(pairs, given, strict=True)
    ]
    return model.codes_between(ends, loop.between_seconds, loop.between) if ends else []


def _uncut(model: MotionModel, codes: Codes) -> _Joined:
    joints_TJ3: FloatArray = features_to_joints(model.decode(codes))
    return joints_TJ3, [len(joints_TJ3) // 2]


def _features_joined(model: MotionModel, one: Codes, other: Codes) -> _Joined:
    first_TD, second_TD = model.decode(one), model.decode(other)
    return features_to_joints(np.concatenate([first_TD, second_TD])), [len(first_TD)]


def _tokens_joined(model: MotionModel, parts: Sequence[Codes]) -> _Joined:
    """Return parts decoded as one stream of tokens, with the junctions between them."""
    there = [part for part in parts if part]
    frames = np.cumsum([len(part) * FRAMES_PER_CODE for part in there])[:-1].tolist()
    whole: Codes = tuple(token for part in there for token in part)
    return features_to_joints(model.decode(whole)), frames


def _mm(value_m: float | None) -> float | None:
    return None if value_m is None else 1000 * value_m
