"""Texts that the model answers: captions of motions and plans, beside copied training answers.

The row ``retrieval`` answers with what the nearest training example answered: for a caption, that
of the nearest motion; for a plan, that of the nearest prompt. A model that does no better has
learned nothing but to copy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from annotators.chat.model import ChatModel
from evaluation.metrics.judge import JudgedPlan, judge_coherence
from evaluation.metrics.plans import cycle_consistency, distinct_share, score_plans
from evaluation.metrics.texts import score_texts, words_of
from evaluation.model_report.answers import answer_texts
from evaluation.model_report.config import EvaluationConfig
from evaluation.model_report.material import Material, prompt_text
from evaluation.model_report.tables import Figure, Row, RowName, Table, by_source, plain
from training.inference.motion_model import MotionModel
from training.instructions.tasks import Instruction, Task, parse_steps, prompt_of, split_steps

PLANNING: Final = (
    *(Task.CT2T, Task.CS2S, Task.CT2S, Task.CS2T),
    *(Task.T2S, Task.S2T, Task.T2C, Task.S2C),
)
STEPS: Final = (Task.CS2S, Task.CT2S, Task.T2S)
"""Tasks that answer with steps."""
CYCLE: Final = "cycle"


@dataclass(frozen=True, slots=True)
class Said:
    """The answers to one task.

    Attributes:
        table: the table.
        asked: the instructions.
        answers: answers of each row, in the order of the instructions.
        examples: some prompts with the expected and the given answer.
    """

    table: Table
    asked: tuple[Instruction, ...]
    answers: dict[RowName, list[str]]
    examples: tuple[dict[str, str], ...]


def say(
    task: Task, model: MotionModel, material: Material, config: EvaluationConfig
) -> Said | None:
    """Score the texts that a model answers to one task; None without test items.

    Args:
        task: a task that answers with text.
        model: the model.
        material: what it is evaluated on.
        config: size, sampling and embedding model.
    """
    questions = material.questions(task, config.items)
    if not questions:
        return None
    asked = [one for one, _ in questions]
    references = [answers for _, answers in questions]
    near = (
        material.nearest_by_motion(asked)
        if task is Task.M2T
        else material.nearest_by_text(task, asked, config.seed)
    )
    answers: dict[RowName, list[str]] = {"model": answer_texts(model, asked, config.text)}
    if near:
        answers["retrieval"] = [str(one.answer) for one in near]
    rows, signature = _rows(task, answers, references, config)
    if task is Task.M2T:
        for source, own in by_source([material.source_of(one) for one in asked]).items():
            of_source: dict[RowName, list[str]] = {
                row: [found[place] for place in own] for row, found in answers.items()
            }
            known = [references[place] for place in own]
            rows += _rows(task, of_source, known, config, source)[0]
    if task in STEPS:
        real = [split_steps(str(one.answer)) for one in asked]
        plans = score_plans(real, [[steps] for steps in real])
        own = {
            "looping": plans.looping,
            "repeated_steps": plans.repeated_steps,
            "distinct": plans.distinct,
        }
        rows.append(Row(name="references", items=len(asked), values=plain(own)))
    most = max(map(len, references))
    copied = (
        "the caption of the nearest training motion"
        if task is Task.M2T
        else "the answer to the nearest training prompt"
    )
    notes = (
        f"Each prompt once; its references are all test answers to it, at most {most}. Retrieval: "
        f"{copied}."
        + (" CIDEr of a source weighs words by its own references." if rows[-1].source else ""),
        signature,
    )
    return Said(
        Table(name=task.value, rows=tuple(rows), notes=notes),
        tuple(asked),
        answers,
        tuple(
            {"given": prompt_text(one), "expected": str(one.answer), "found": found}
            for one, found in list(zip(asked, answers["model"], strict=True))[:4]
        ),
    )


def _rows(
    task: Task,
    answers: Mapping[RowName, Sequence[str]],
    references: Sequence[Sequence[str]],
    config: EvaluationConfig,
    source: str = "",
) -> tuple[list[Row], str]:
    """Return the scores of answers, and the signature of their implementations."""
    rows: list[Row] = []
    signature = ""
    for row, found in answers.items():
        values, signature = _scores(task, found, references, config)
        rows.append(Row(name=row, items=len(found), values=values, source=source))
    return rows, signature


def _scores(
    task: Task, found: Sequence[str], references: Sequence[Sequence[str]], config: EvaluationConfig
) -> tuple[dict[str, Figure], str]:
    """Return the scores of one row, and the signature of their implementations."""
    scores = score_texts(found, references, config.embedding_model)
    values: dict[str, float | None] = {
        "bleu1": scores.bleu1,
        "bleu4": scores.bleu4,
        "rouge_l": scores.rouge_l,
        "cider": scores.cider,
        "bert_f1": scores.bert_f1,
        "empty": sum(not words_of(one) for one in found) / len(found),
        "distinct": distinct_share(found),
    }
    if task in STEPS:
        plans = score_plans(
            list(map(split_steps, found)), [list(map(split_steps, known)) for known in references]
        )
        values |= {
            "step_f1": plans.step_f1,
            "looping": plans.looping,
            "repeated_steps": plans.repeated_steps,
            "distinct": plans.distinct,
            "empty": plans.empty / plans.plans,
        }
    return plain(values), scores.signature


def cycle(
    model: MotionModel, material: Material, config: EvaluationConfig, planned: Said
) -> Table | None:
    """Ask for the task of the steps that each row planned for a task, and compare both tasks.

    Args:
        model: the model.
        material: what it is evaluated on.
        config: sampling.
        planned: answers of :attr:`Task.T2S`.

    Returns:
        The table; None if the model was not taught to tell the task of steps.
    """
    if not material.train.counts.get(Task.S2T):
        return None
    originals = [_task_of(one) for one in planned.asked]
    rows: list[Row] = []
    answers: dict[RowName, list[str]] = {
        **planned.answers,
        "references": [str(one.answer) for one in planned.asked],
    }
    for row, plans in answers.items():
        steps = [parse_steps(plan) for plan in plans]
        asked = [
            Instruction(Task.S2T, prompt_of(Task.S2T, steps=each), "", "") for each in steps if each
        ]
        told = iter(answer_texts(model, asked, config.text) if asked else [])
        returns = [next(told) if each else "" for each in steps]
        found = cycle_consistency(originals, returns)
        values = {"rouge_l": 100 * found.rouge_l, "found": found.found, "chance": found.chance}
        rows.append(Row(name=row, items=len(originals), values=plain(values)))
    notes = (
        "The model tells the task of the steps of each plan: its own, a copied one, and the "
        "reference. Found: share that is nearer to its own task than to all others.",
    )
    return Table(name=CYCLE, rows=tuple(rows), notes=notes)


def coherence(chat: ChatModel, config: EvaluationConfig, planned: Said) -> tuple[Table, str]:
    """Let a language model judge plans for tasks, those of the references too.

    Args:
        chat: the judge, with its budget and cache.
        config: number of plans.
        planned: answers of :attr:`Task.T2S`.

    Returns:
        The table, and the name of the judge and of its prompt.
    """
    assert config.coherence is not None  # noqa: S101 - the caller opened the judge from it
    asked = planned.asked[: config.coherence.items]
    answers: dict[RowName, list[str]] = {
        **planned.answers,
        "references": [str(one.answer) for one in planned.asked],
    }
    rows: list[Row] = []
    name = ""
    for row, plans in answers.items():
        judged = [
            JudgedPlan(_task_of(one), parse_steps(plan))
            for one, plan in zip(asked, plans, strict=False)
        ]
        scores = judge_coherence(chat, judged)
        name = f"{scores.model}, {scores.prompt_id}"
        values: dict[str, float | None] = {
            "coherence": scores.mean,
            "judged": float(scores.judged),
            "no_steps": float(scores.empty),
            "unanswered": float(scores.unanswered),
            "cost_usd": scores.cost_usd,
        }
        rows.append(Row(name=row, items=len(judged), values=plain(values)))
    notes = (f"Mean score from 1 to 5 by {name}; plans without steps are not part of it.",)
    return Table(name="coherence", rows=tuple(rows), notes=notes), name


def _task_of(one: Instruction) -> str:
    """Return the task that an instruction asks steps for."""
    return prompt_text(one).rpartition("[Task] ")[2].partition("\n")[0].strip()
