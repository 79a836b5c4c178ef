"""Quality of plans: steps found in references, distinct answers, loops, and cycle consistency.

Similarity of wording to several references is :func:`evaluation.metrics.texts.score_texts`; a
judgment of coherence by a language model is :mod:`evaluation.metrics.judge`.

A step is compared by its words, in lower case and without punctuation.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.metrics.texts import rouge_l, words_of

Step = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanScores:
    """Scores of the steps of a set of plans; shares are from 0 to 1.

    Attributes:
        step_f1: mean over plans of the F1 of their steps against the closest reference, as sets
            with repetitions and whatever their order.
        looping: share of plans in which a step, or a run of steps, is followed by itself.
        repeated_steps: share of all steps that occurred before in the same plan. Real plans repeat
            steps too, such as walking: compare with the references.
        distinct: number of different plans over the number of plans.
        empty: number of plans without a step, which score 0.
        plans: number of plans.
    """

    step_f1: float
    looping: float
    repeated_steps: float
    distinct: float
    empty: int
    plans: int


@dataclass(frozen=True, slots=True)
class CycleScores:
    """Agreement of texts with what comes back after two tasks that undo each other.

    Attributes:
        rouge_l: mean ROUGE-L F1 of each text and its return, from 0 to 1.
        found: share of returns that are closer to their own text than to any other, from 0 to 1;
            ties count by chance. Returns that are all alike score ``chance``, however close.
        chance: expected ``found`` of a guess.
    """

    rouge_l: float
    found: float
    chance: float


def score_plans(
    plans: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> PlanScores:
    """Score the steps of plans.

    Args:
        plans: steps of one plan per item, as answered: repetitions included.
        references: steps of the references of each item, at least one.

    Raises:
        ValueError: no plans, different numbers of plans and references, or an item without a
            reference that has steps.
    """
    if not plans or len(plans) != len(references):
        raise ValueError(
            f"references: expected a list for each of at least 1 plan, found {len(references)} "
            f"lists for {len(plans)} plans. Remedy: pass one list of references per plan."
        )
    bare = [number for number, known in enumerate(references) if not known or not all(known)]
    if bare:
        raise ValueError(
            f"references of item {bare[0]}: expected plans with steps, found none. Remedy: skip "
            "the item, or give it a reference."
        )
    answered = [normalized(plan) for plan in plans]
    scores = [
        max(_step_f1(plan, normalized(reference)) for reference in known)
        for plan, known in zip(answered, references, strict=True)
    ]
    steps = sum(map(len, answered))
    repeated = sum(len(plan) - len(set(plan)) for plan in answered)
    return PlanScores(
        step_f1=sum(scores) / len(scores),
        looping=sum(map(has_loop, answered)) / len(answered),
        repeated_steps=repeated / steps if steps else 0.0,
        distinct=len(set(answered)) / len(answered),
        empty=sum(not plan for plan in answered),
        plans=len(answered),
    )


def normalized(plan: Sequence[str]) -> tuple[Step, ...]:
    """Return the words of each step; steps without words are left out."""
    return tuple(tuple(words) for step in plan if (words := words_of(step)))


def has_loop(plan: Sequence[Step]) -> bool:
    """Return whether a step, or a run of steps, is followed by itself."""
    return any(
        plan[start : start + length] == plan[start + length : start + 2 * length]
        for length in range(1, len(plan) // 2 + 1)
        for start in range(len(plan) - 2 * length + 1)
    )


def distinct_share(answers: Sequence[str]) -> float:
    """Return the number of answers with different words over the number of answers.

    Raises:
        ValueError: there are no answers.
    """
    if not answers:
        raise ValueError("answers: expected at least 1, found none. Remedy: evaluate more items.")
    return len({tuple(words_of(answer)) for answer in answers}) / len(answers)


def cycle_consistency(originals: Sequence[str], returns: Sequence[str]) -> CycleScores:
    """Compare texts with what a second task makes of the answers of a first one.

    For example, the first task answers the steps of a goal, and the second the goal of these steps.

    Args:
        originals: what the first task was given.
        returns: what the second task answered when it was given the first answer; an empty answer
            is not found.

    Raises:
        ValueError: no texts, different numbers of them, or an original without words.
    """
    if not originals or len(originals) != len(returns):
        raise ValueError(
            f"returns: expected one for each of at least 1 text, found {len(returns)} for "
            f"{len(originals)}. Remedy: ask the second task about every answer of the first."
        )
    words = [tuple(words_of(text)) for text in originals]
    if not all(words):
        raise ValueError(
            f"originals: expected texts with words, found {originals[words.index(())]!r}. Remedy: "
            "skip the item."
        )
    # Equal originals are one: a return cannot tell them apart.
    different = list(dict.fromkeys(words))
    texts = [" ".join(text) for text in different]
    found: list[float] = []
    similar: list[float] = []
    for own, answer in zip(words, returns, strict=True):
        scores = [rouge_l(answer, text) for text in texts]
        score = scores[different.index(own)]
        similar.append(score)
        best = max(scores)
        found.append(1 / scores.count(best) if score == best > 0 else 0.0)
    return CycleScores(sum(similar) / len(similar), sum(found) / len(found), 1 / len(different))


def _step_f1(plan: Sequence[Step], reference: Sequence[Step]) -> float:
    if not plan or not reference:
        return 0.0
    common = (Counter(plan) & Counter(reference)).total()
    return 2 * common / (len(plan) + len(reference))
