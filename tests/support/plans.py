"""Plans of everyday tasks, made by rules, in the form that the planning tasks are taught from."""

import json
from itertools import product
from pathlib import Path

_WAYS = {
    "Fetch": ("look at the {thing}", "grab the {thing}", "carry the {thing} back"),
    "Clean": ("find a towel", "wipe the {thing}", "put the towel away"),
    "Move": ("bend down", "lift the {thing}", "turn to the window", "set the {thing} down"),
    "Show": ("point at the {thing}", "wave to the others", "step aside"),
}
_THINGS = ("book", "cup", "chair", "lamp", "plate", "ball", "box", "bag", "radio", "clock")
_ROOMS = ("kitchen", "bathroom", "bedroom", "office", "hall", "garden", "garage")


def save_plans(path: Path) -> int:
    """Write them as a JSON list of texts; tells how many, all of them different."""
    plans = [
        "\n".join(
            (
                f"Task: {way} the {thing} in the {room}",
                f"Step 1: walk to the {room}",
                *(
                    f"Step {number}: {step.format(thing=thing)}"
                    for number, step in enumerate(steps, 2)
                ),
            )
        )
        for (way, steps), thing, room in product(_WAYS.items(), _THINGS, _ROOMS)
    ]
    path.write_text(json.dumps(plans), encoding="utf-8")
    return len(plans)
