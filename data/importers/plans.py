"""Import plans as text, ``Task: … Step 1: …``, into the annotations table for planning tasks."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data.errors import ItemError, Reason
from data.importers.archives import read_small_file
from data.importers.search import rejected
from data.motion_records import content_id
from data.plain_text import MAX_TEXT_CHARS, plain_text
from data.records import Annotation, FineStep, Grounding, Outcome, Rejection, Verdict

SOURCE: Final = "plan"
_TASK: Final = re.compile(r"task\s*:\s*(.+)", re.IGNORECASE)
_STEP: Final = re.compile(r"step\s*\d+\s*[:.)]\s*(.*)", re.IGNORECASE)


def find_plans(path: Path) -> Iterator[Annotation | Rejection]:
    """Read the plans of a file: a JSON list of texts, or text with blank lines between plans.

    A plan becomes an annotation without clip, motion or times: ``medium`` is the task, ``fine`` its
    steps. Its id is a hash of its text, so equal plans are imported once.

    Args:
        path: the file.

    Raises:
        ItemError: the file holds something else.
    """
    try:
        text = read_small_file(path).decode("utf-8")
        if path.suffix.lower() == ".json":
            plans = json.loads(text)
            if not isinstance(plans, list) or not all(isinstance(plan, str) for plan in plans):
                raise ValueError("no list of texts")
        else:
            plans = [plan for plan in re.split(r"\n\s*\n", text) if plan.strip()]
    except (ValueError, RecursionError) as error:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected plans as text or a JSON list of texts, found {error}.",
            "Correct the file.",
        ) from error
    for number, plan in enumerate(plans):
        try:
            yield read_plan(plain_text(plan, MAX_TEXT_CHARS))
        except ItemError as error:
            item_id = content_id(SOURCE, plain_text(plan))
            yield rejected(item_id, f"{path} plan {number}", error)


def read_plan(plan: str) -> Annotation:
    """Parse one plan.

    Raises:
        ItemError: the task or the steps are missing.
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
