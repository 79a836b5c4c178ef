"""Text to motion: the model beside real motions, their round trip, retrieval and chance.

All rows are of the same captions. Each test motion is asked for once, with one of its captions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.evaluators.evaluator import Evaluator
from evaluation.evaluators.results import PUBLISHED, PublishedResult, why_not_comparable
from evaluation.metrics.intervals import bootstrap_mean
from evaluation.metrics.protocol import ProtocolConfig
from evaluation.model_report.answers import MotionAnswers, answer_captions
from evaluation.model_report.config import EvaluationConfig
from evaluation.model_report.judged_motions import Judge
from evaluation.model_report.material import Material, motion_codes
from evaluation.model_report.measures import (
    Measured,
    activity_figures,
    chance,
    measure,
    natural_figures,
)
from evaluation.model_report.names import ROWS
from evaluation.model_report.tables import Figure, Row, RowName, Table, by_source, ranged
from training.inference.motion_model import Features, MotionModel
from training.instructions.mixture import evenly
from training.instructions.tasks import Instruction, Task

NAME = "t2m"


@dataclass(frozen=True, slots=True)
class ShownMotion:
    """A caption with the motions of each row, for the gallery.

    Attributes:
        caption: the caption.
        motions: features of each row, (T, D); None without a motion.
        activities: activity that the describer recognizes in each.
    """

    caption: str
    motions: Mapping[RowName, Features | None]
    activities: Mapping[RowName, str]


@dataclass(frozen=True, slots=True)
class TextToMotion:
    """The result: the table, examples, and motions to draw.

    Attributes:
        table: the table.
        asked: the instructions.
        examples: some captions with the activities of the real and the generated motion.
        shown: some captions with their motions.
    """

    table: Table
    asked: tuple[Instruction, ...]
    examples: tuple[dict[str, str], ...]
    shown: tuple[ShownMotion, ...]


def text_to_motion(
    model: MotionModel,
    material: Material,
    config: EvaluationConfig,
    evaluator: Evaluator | None = None,
) -> TextToMotion | None:
    """Measure motions of captions; None if the test split has no captions.

    Args:
        model: the model.
        material: what it is evaluated on.
        config: size and sampling.
        evaluator: network that judges the motions.
    """
    asked = material.captioned(config.items, config.seed)
    if not asked:
        return None
    captions = [one.caption for one in asked]
    made = _answered(model, asked, config)
    motions: dict[RowName, Sequence[Features | None]] = {
        "real": [material.real(one) for one in asked],
        "round_trip": [model.decode(motion_codes(one)) for one in asked],
        "retrieval": [
            material.real(near, "train")
            for near in material.nearest_by_text(Task.T2M, asked, config.seed)
        ],
        "model": made[0].motions,
    }
    measured: dict[RowName, list[Measured]] = {
        row: [measure(*pair) for pair in zip(of_row, captions, strict=True)]
        for row, of_row in motions.items()
        if of_row
    }
    wanted = [one.activity for one in measured["real"]]
    values: dict[RowName, dict[str, Figure]] = {
        row: _figures(found, wanted, config.seed) for row, found in measured.items()
    }
    # Right by definition.
    values["real"]["activity"] = Figure(value=1.0)
    values["chance"] = {"activity": chance(wanted)}
    values["model"] |= made[0].figures()
    attainable, note = _attainable(asked, material, config, evaluator, made, measured)
    notes = [*_notes(config), note]
    judged = ""
    published: tuple[PublishedResult, ...] = ()
    if evaluator is not None and config.evaluator is not None:
        real = [motion for motion in motions["real"] if motion is not None]
        judge = Judge(evaluator, config.evaluator.protocol, captions, real)
        judged = judge.name
        notes += judge.notes
        if judge.has_enough:
            values["real"] |= judge.real_figures()
            baselines: tuple[RowName, ...] = ("round_trip", "retrieval")
            for row in baselines:
                if motions[row]:
                    values[row] |= judge.figures([motions[row]])
            samples = _samples(model, asked, config)
            values["model"] |= judge.figures([one.motions for one in made], samples)
        real_r3 = values["real"].get("r_precision_3")
        why = why_not_comparable(
            evaluator,
            config.evaluator.protocol,
            None if real_r3 is None else real_r3.value,
            is_humanml3d=material.is_humanml3d_test(asked),
        )
        published = () if why else PUBLISHED
        if why and evaluator.kind == "published":
            notes.append(f"Published results cannot be compared: {why}.")
    rows = [Row(name=row, items=len(asked), values=found) for row, found in values.items()]
    rows += attainable
    rows += _by_source([material.source_of(one) for one in asked], measured, wanted, config.seed)
    return TextToMotion(
        Table(
            name=NAME,
            rows=tuple(rows),
            notes=tuple(notes),
            evaluator=judged,
            published=published,
        ),
        tuple(asked),
        _examples(captions, measured),
        _shown(captions, motions, measured, config.pictures),
    )


def _attainable(
    asked: Sequence[Instruction],
    material: Material,
    config: EvaluationConfig,
    evaluator: Evaluator | None,
    made: Sequence[MotionAnswers],
    measured: Mapping[RowName, Sequence[Measured]],
) -> tuple[list[Row], str]:
    """Return the rows of other real motions and of the model on their captions, and a note."""
    protocol = ProtocolConfig() if config.evaluator is None else config.evaluator.protocol
    others = material.others(asked, config.seed)
    title = ROWS["another"]
    told = f"{len(others)} of {len(asked)} items have one that stands for no other item"
    if len(others) < protocol.group_size:
        return [], f"{title} is left out: {told}, and {protocol.group_size} are needed."
    places = sorted(others)
    captions = [asked[place].caption for place in places]
    motions = [material.real(others[place]) for place in places]
    wanted = [measured["real"][place].activity for place in places]
    found: dict[RowName, Sequence[Measured]] = {
        "another": [measure(*pair) for pair in zip(motions, captions, strict=True)],
        "model_same": [measured["model"][place] for place in places],
    }
    values: dict[RowName, dict[str, Figure]] = {
        row: _figures(of_row, wanted, config.seed) for row, of_row in found.items()
    }
    if evaluator is not None:
        real = [material.real(asked[place]) for place in places]
        judge = Judge(evaluator, protocol, captions, real)
        answers = [[one.motions[place] for place in places] for one in made]
        values["another"] |= judge.figures([motions])
        values["model_same"] |= judge.figures(answers)
    rows = [Row(name=row, items=len(places), values=found) for row, found in values.items()]
    return rows, (
        f"{title} is what a perfect model would give: {told}. FID of fewer items is larger, so the "
        "model is measured on their captions too."
    )


def _answered(
    model: MotionModel, asked: Sequence[Instruction], config: EvaluationConfig
) -> list[MotionAnswers]:
    """Return the answers; those of each repeat if the configuration says so."""
    repeats = 1
    if config.evaluator is not None and config.evaluator.new_motions:
        repeats = config.evaluator.protocol.repeats
    return [
        answer_captions(
            model,
            asked,
            config.motion.model_copy(update={"seed": config.motion.seed + repeat}),
            ground_truth_length=config.ground_truth_length,
        )
        for repeat in range(repeats)
    ]


def _samples(
    model: MotionModel, asked: Sequence[Instruction], config: EvaluationConfig
) -> list[tuple[Features | None, ...]]:
    """Return several motions of each of some captions, for MultiModality."""
    if config.evaluator is None or not config.evaluator.multimodality_texts:
        return []
    each = config.evaluator.multimodality_samples
    texts = asked[: config.evaluator.multimodality_texts]
    repeated = [one for one in texts for _ in range(each)]
    found = answer_captions(
        model, repeated, config.motion, ground_truth_length=config.ground_truth_length
    )
    return [found.motions[first : first + each] for first in range(0, len(repeated), each)]


def _by_source(
    sources: Sequence[str],
    measured: Mapping[RowName, Sequence[Measured]],
    wanted: Sequence[str],
    seed: int,
) -> list[Row]:
    """Return the rows of each source, without the evaluator's figures, if there are several."""
    rows: list[Row] = []
    for source, own in by_source(sources).items():
        activities = [wanted[index] for index in own]
        for row, found in measured.items():
            of_source = [found[index] for index in own]
            values = _figures(of_source, activities, seed)
            rows.append(Row(name=row, items=len(own), values=values, source=source))
    return rows


def _figures(found: Sequence[Measured], wanted: Sequence[str], seed: int) -> dict[str, Figure]:
    """Return the figures of one row that need no evaluator."""
    figures = activity_figures(found, wanted)
    figures |= natural_figures([one.natural for one in found], seed)
    lengths_s = [one.length_s for one in found if one.natural is not None]
    if lengths_s:
        figures["length_s"] = ranged(bootstrap_mean(lengths_s, seed))
    return figures


def _notes(config: EvaluationConfig) -> list[str]:
    motion = config.motion
    length = (
        "Each motion gets the length of the real one."
        if config.ground_truth_length
        else "The model decides the length."
    )
    plain = f"plain form of captions {motion.plain:g}, " if motion.plain else ""
    notes = [
        f"Sampling: temperature {motion.temperature:g}, top-p {motion.top_p:g}, {plain}best of "
        f"{motion.best_of}, seed {motion.seed}. {length} Answers without a motion count as wrong; "
        "nothing is drawn again.",
        "Activity: share of motions in which the describer recognizes the activity of the real "
        "motion. Caption shown: share in which it finds what the caption says. Intervals: Wilson "
        "for shares, bootstrap over motions for means, repeats for the evaluator's figures.",
    ]
    if motion.best_of > 1:
        notes.append(
            "The best sample is chosen by the same measurements that name activities and find what "
            "captions say, so that both shares are higher than an independent judge's. The "
            "evaluator's figures are independent of these; a network that helps to choose, if the "
            "model has one, is of the evaluator's kind and learned from the same motions."
        )
    return notes


def _examples(
    captions: Sequence[str], measured: Mapping[RowName, Sequence[Measured]], count: int = 8
) -> tuple[dict[str, str], ...]:
    triples = zip(captions, measured["real"], measured["model"], strict=True)
    return tuple(
        {"given": caption, "expected": real.activity, "found": made.activity}
        for caption, real, made in list(triples)[:count]
    )


def _shown(
    captions: Sequence[str],
    motions: Mapping[RowName, Sequence[Features | None]],
    measured: Mapping[RowName, Sequence[Measured]],
    count: int,
) -> tuple[ShownMotion, ...]:
    """Return items at even intervals."""
    rows: tuple[RowName, ...] = ("real", "model")
    return tuple(
        ShownMotion(
            captions[index],
            {row: motions[row][index] for row in rows},
            {row: measured[row][index].activity for row in rows},
        )
        for index in evenly(range(len(captions)), count)
    )
