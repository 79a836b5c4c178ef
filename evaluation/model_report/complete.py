"""In-between and prediction: the model beside straight lines, the tokenizer and the real motion.

The missing frames are put between the real ones as features, so that every way starts at the same
place, and their joints are compared with those of the real motion in the world.

Shapes: S samples, T frames of a gap, J = 22 joints, D = 263 features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from data.arrays import FloatArray
from data.motion.features import features_to_joints
from evaluation.evaluators.evaluator import Evaluator
from evaluation.metrics.completion import displacement, mean_speed_kept, straight_lines
from evaluation.metrics.distribution import fid
from evaluation.metrics.intervals import bootstrap_mean
from evaluation.metrics.naturalness import naturalness
from evaluation.metrics.reconstruction import joint_errors_mm
from evaluation.model_report.answers import answer
from evaluation.model_report.config import EvaluationConfig
from evaluation.model_report.material import Material, motion_codes
from evaluation.model_report.measures import natural_figures
from evaluation.model_report.tables import Figure, Row, RowName, Table, ranged
from training.inference.motion_model import Features, MotionModel
from training.instructions.mixture import evenly
from training.instructions.tasks import (
    CODES_PER_S,
    FRAMES_PER_CODE,
    Codes,
    Instruction,
    Task,
    prompt_of,
)
from training.language_model.generation import Request

TASKS: Final = (Task.M2M, Task.PREDICT)
_MIN_FID: Final = 32


@dataclass(frozen=True, slots=True)
class _Gap:
    """A motion with missing frames.

    Attributes:
        one: the instruction.
        head: tokens before the gap.
        middle: tokens of the real motion in the gap.
        tail: tokens after the gap; empty for a prediction.
        features_TD: features of the whole real motion.
        joints_TJ3: its joints.
    """

    one: Instruction
    head: Codes
    middle: Codes
    tail: Codes
    features_TD: Features
    joints_TJ3: FloatArray

    @property
    def begin(self) -> int:
        """First missing frame."""
        return FRAMES_PER_CODE * len(self.head)

    @property
    def end(self) -> int:
        """First frame after the gap."""
        return self.begin + FRAMES_PER_CODE * len(self.middle)

    def filled(self, features_TD: Features) -> Features:
        """Return the real features with those of the gap taken from another whole motion."""
        return np.concatenate(
            [
                self.features_TD[: self.begin],
                features_TD[self.begin : self.end],
                self.features_TD[self.end :],
            ]
        )

    def lines(self) -> FloatArray:
        """Return joints on straight lines over the gap, or the last pose held, (T, J, 3)."""
        before_J3 = self.joints_TJ3[self.begin - 1]
        frames = self.end - self.begin
        if self.end >= len(self.joints_TJ3):
            return np.repeat(before_J3[None], frames, axis=0)
        return straight_lines(before_J3, self.joints_TJ3[self.end], frames)


def complete(
    task: Task,
    model: MotionModel,
    material: Material,
    config: EvaluationConfig,
    evaluator: Evaluator | None = None,
) -> Table | None:
    """Measure completions of one task; None without test motions.

    Args:
        task: in-between or prediction.
        model: the model.
        material: what it is evaluated on.
        config: size and sampling.
        evaluator: network whose FID of whole motions is reported.
    """
    asked = material.asked(task, config.items)
    if not asked:
        return None
    rows, judged = _rows(asked, model, material, config, evaluator)
    notes = _notes(task, config)
    if evaluator is not None and not judged:
        notes += (f"FID is left out: it needs {_MIN_FID} motions, and there are {len(asked)}.",)
    if task is Task.M2M:
        for gap_s in config.completion.gaps_s:
            of_length = _with_gap(material, gap_s, config.items)
            if of_length:
                more, _ = _rows(of_length, model, material, config, evaluator)
                rows += [row.model_copy(update={"source": f"gap of {gap_s:g} s"}) for row in more]
    return Table(
        name=task.value,
        rows=tuple(rows),
        notes=notes,
        evaluator=evaluator.name if evaluator is not None and judged else "",
    )


def _rows(
    asked: Sequence[Instruction],
    model: MotionModel,
    material: Material,
    config: EvaluationConfig,
    evaluator: Evaluator | None,
) -> tuple[list[Row], bool]:
    """Return the rows of some gaps, and whether there were enough for the evaluator's FID."""
    gaps = [_gap(one, material) for one in asked]
    samples = _samples(model, gaps, config)
    rebuilt = [gap.filled(model.decode((*gap.head, *gap.middle, *gap.tail))) for gap in gaps]
    joints: dict[RowName, list[list[FloatArray]]] = {
        "real": [[_inside(gap, gap.features_TD)] for gap in gaps],
        "round_trip": [[_inside(gap, made_TD)] for gap, made_TD in zip(gaps, rebuilt, strict=True)],
        "lines": [[gap.lines()] for gap in gaps],
        "model": [
            [_inside(gap, made_TD) for made_TD in of_gap]
            for gap, of_gap in zip(gaps, samples, strict=True)
        ],
    }
    values: dict[RowName, dict[str, Figure]] = {
        row: _figures(gaps, found, config.seed) for row, found in joints.items()
    }
    has_enough = evaluator is not None and len(gaps) >= _MIN_FID
    if evaluator is not None and has_enough:
        real_NE = evaluator.embed_motions([gap.features_TD for gap in gaps])
        whole: dict[RowName, list[Features]] = {
            "round_trip": rebuilt,
            "model": [of_gap[0] for of_gap in samples],
        }
        for row, motions in whole.items():
            found = fid(evaluator.embed_motions(motions), real_NE)
            values[row]["fid"] = Figure(value=found)
    rows = [Row(name=row, items=len(gaps), values=found) for row, found in values.items()]
    return rows, has_enough


def _with_gap(material: Material, gap_s: float, limit: int) -> list[Instruction]:
    """Return instructions whose gap of this length lies in the middle of a test motion.

    Motions with less than a second beside the gap, or more than a prompt may hold, are left out.
    """
    length = max(1, round(gap_s * CODES_PER_S))
    least = round(CODES_PER_S)
    found: list[Instruction] = []
    for one in material.all_asked(Task.M2M):
        head, tail = (part for part in one.prompt if not isinstance(part, str))
        codes: Codes = (*head, *motion_codes(one), *tail)
        given = len(codes) - length
        if 2 * least <= given <= material.test.config.max_prompt_codes:
            begin = given // 2
            middle = codes[begin : begin + length]
            prompt = prompt_of(Task.M2M, head=codes[:begin], tail=codes[begin + length :])
            found.append(replace(one, prompt=prompt, answer=middle))
    return evenly(found, limit)


def _gap(one: Instruction, material: Material) -> _Gap:
    given = [part for part in one.prompt if not isinstance(part, str)]
    head, tail = (given[0], ()) if one.task is Task.PREDICT else (given[0], given[1])
    features_TD = material.real(one)
    return _Gap(one, head, motion_codes(one), tail, features_TD, features_to_joints(features_TD))


def _samples(
    model: MotionModel, gaps: Sequence[_Gap], config: EvaluationConfig
) -> list[list[Features]]:
    """Return the whole motion with the gap filled, of each sample of each gap."""
    found: list[list[Features]] = [[] for _ in gaps]
    for sample in range(config.completion.samples):
        sampling = config.completion.sampling
        sampling = sampling.model_copy(update={"seed": sampling.seed + sample})
        requests = [
            Request(gap.one.prompt, True, len(gap.middle), len(gap.middle))  # noqa: FBT003
            for gap in gaps
        ]
        for of_gap, gap, codes in zip(found, gaps, answer(model, requests, sampling), strict=True):
            assert not isinstance(codes, str)  # noqa: S101
            of_gap.append(gap.filled(model.decode((*gap.head, *codes, *gap.tail))))
    return found


def _inside(gap: _Gap, whole_TD: Features) -> FloatArray:
    """Return the joints of the missing frames of a whole motion, (T, J, 3)."""
    joints_TJ3: FloatArray = features_to_joints(whole_TD[: gap.end])
    return joints_TJ3[gap.begin :]


def _figures(
    gaps: Sequence[_Gap], joints: Sequence[Sequence[FloatArray]], seed: int
) -> dict[str, Figure]:
    """Return the figures of the samples of each gap; naturalness is that of the first ones."""
    values: dict[str, list[float]] = {}
    for gap, samples in zip(gaps, joints, strict=True):
        real_TJ3 = gap.joints_TJ3[gap.begin : gap.end]
        apart = displacement(real_TJ3, np.stack(samples))
        own = {
            "ade_mm": 1000 * apart.ade_m,
            "fde_mm": 1000 * apart.fde_m,
            "pose_ade_mm": np.mean([joint_errors_mm(real_TJ3, one).mean() for one in samples]),
        }
        if apart.samples > 1:
            own |= {"best_ade_mm": 1000 * apart.best_ade_m, "best_fde_mm": 1000 * apart.best_fde_m}
        for name, value in own.items():
            values.setdefault(name, []).append(float(value))
    figures = {name: ranged(bootstrap_mean(found, seed)) for name, found in values.items()}
    kept = mean_speed_kept(
        [_posed(gap.joints_TJ3[gap.begin : gap.end]) for gap in gaps],
        [[_posed(sample) for sample in samples] for samples in joints],
        seed,
    )
    if kept is not None:
        figures["speed_kept"] = ranged(kept)
    natural = natural_figures([naturalness(samples[0]) for samples in joints], seed)
    return figures | {
        name: natural[name] for name in ("jitter_m_s3", "foot_skate_m_s") if name in natural
    }


def _posed(joints_TJ3: FloatArray) -> FloatArray:
    """Return positions relative to the pelvis."""
    return joints_TJ3 - joints_TJ3[:, :1]


def _notes(task: Task, config: EvaluationConfig) -> tuple[str, ...]:
    sampling = config.completion.sampling
    lines = "the last pose held" if task is Task.PREDICT else "straight lines between both ends"
    return (
        f"Lines: {lines}. Every answer has the length of the gap, which is part of the task. "
        f"Errors are means over {config.completion.samples} samples, and of the best of them "
        f"(temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, seeds from "
        f"{sampling.seed}). Pose: after the pelvises are aligned. Speed kept: speed of joints "
        "relative to the pelvis, over all gaps, as a share of the real one's. Straight lines have "
        "the smallest error where the motion cannot be known, and too little motion.",
    )
