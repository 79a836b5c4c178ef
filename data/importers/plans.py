"""Plans as text, ``Task: … Step 1: …``, into the annotations table, for the planning tasks."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data.errors import ItemError, Reason
from data.importers.records import content_id, rejected
from data.records import Annotation, FineStep, Grounding, Outcome, Rejection, Verdict
from data.sources import path_item_id

SOURCE: Final = "plan"
_TASK: Final = re.compile(r"task\s*:\s*(.+)", re.IGNORECASE)
_STEP: Final = re.compile(r"step\s*\d+\s*[:.)]\s*(.*)", re.IGNORECASE)


def find_plans(path: Path) -> Iterator[Annotation | Rejection]:
    """The plans of a file: a JSON list of texts, or text with a blank line between plans.

    A plan is an annotation without clip, motion or times: ``medium`` is the task, ``fine`` its
    steps. Its id comes from its words, so equal plans are one.

    Args:
        path: the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            plans = json.loads(text)
            if not isinstance(plans, list) or not all(isinstance(plan, str) for plan in plans):
                raise ValueError("no list of texts")
        else:
            plans = [plan for plan in re.split(r"\n\s*\n", text) if plan.strip()]
    except (OSError, ValueError) as error:
        problem = ItemError(
            Reason.WRONG_FORM,
            f"expected plans as text or a JSON list of texts, found {error}.",
            "Correct the file.",
        )
        yield rejected(path_item_id(path), str(path), problem)
        return
    for number, plan in enumerate(plans):
        try:
            yield read_plan(plan)
        except ItemError as error:
            yield rejected(content_id(SOURCE, plan), f"{path} plan {number}", error)


def read_plan(plan: str) -> Annotation:
    """Read one plan.

    Raises:
        ItemError: there is no task, or no step.
    """
    lines = [line.strip() for line in plan.splitlines() if line.strip()]
    task = next((found.group(1) for line in lines if (found := _TASK.fullmatch(line))), "").strip()
    steps = [found.group(1) for line in lines if (found := _STEP.fullmatch(line))]
    steps = [step.strip() for step in steps if step.strip()]
    if not task or not steps:
        raise ItemError(
            Reason.NO_STEPS,
            f"expected 'Task: …' and 'Step 1: …', found {plan[:60]!r}.",
            "Correct the plan.",
        )
    unchecked = Grounding(Verdict.NOT_MEASURABLE, "a plan, without motion", 0.0, 0.0)
    plan_id = content_id(SOURCE, task, *steps)
    return Annotation(
        clip_id=plan_id,
        video_id=plan_id,
        track_id=0,
        coarse="",
        medium=(task,),
        fine=tuple(FineStep(step, 0.0, 0.0, unchecked) for step in steps),
        activity="",
        annotator=SOURCE,
        model="",
        prompt_id="",
        outcome=Outcome.SUCCESS,
        medium_grounding=(unchecked,),
    )
