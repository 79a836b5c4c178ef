"""What a well-behaved model answers to this project's prompts, for the test server."""

import json
import re

from benchmarks.support.chat_server import Asked

SCENE = "A person moves about in front of the camera."
COARSE = "One person moves about in a hall."


def answer(asked: Asked) -> str:
    """Prose for a captioner's request, an annotation for an annotator's."""
    if "<descriptions>" in asked.text:
        return annotation(asked)
    if "whole video" in asked.text and "The clip lasts" not in asked.text:
        return SCENE
    return "The person walks forward and raises the left arm."


def annotation(asked: Asked) -> str:
    """A valid reply for the clip that is asked about."""
    found = re.search(r"The clip lasts ([0-9.]+) s", asked.text)
    assert found is not None
    length_s = float(found.group(1))
    told = re.search(r'Use this as coarse, word for word: "(.*)"', asked.text)
    return json.dumps(
        {
            # Another scene for each clip, unless it is told which.
            "coarse": told.group(1) if told else f"{COARSE[:-1]} for {length_s} seconds.",
            "medium": ["A person walks forward.", "The person is walking and raises an arm."],
            "fine": [
                {"text": "walk forward", "start_s": 0.0, "end_s": round(length_s / 2, 2)},
                {"text": "raise the left arm", "start_s": length_s / 2, "end_s": length_s},
            ],
        }
    )
