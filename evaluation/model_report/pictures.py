"""Pictures of motions for the galleries of a page: real motions above what was made of them.

Shapes: T frames, J = 22 joints.
"""

import io
from collections.abc import Sequence

import PIL.Image

from annotators.pictures.stick_figure import draw_strip
from data.arrays import FloatArray
from data.motion.features import features_to_joints
from evaluation.model_report.reconstruct import RebuiltMotion
from evaluation.model_report.text_to_motion import ShownMotion
from evaluation.pages.content import Gallery, Picture
from training.instructions.mixture import evenly

_COLUMNS = 6
_COLORS = 64


def generated(shown: Sequence[ShownMotion]) -> Gallery:
    """Return a gallery of real and generated motions of the same captions."""
    pictures: list[Picture] = []
    for one in shown:
        rows = [
            (f"{row}: {one.activities[row]}", features_to_joints(features_TD))
            for row, features_TD in one.motions.items()
            if features_TD is not None
        ]
        lacking = "" if one.motions["model"] is not None else " (the answer has no motion)"
        pictures.append(
            Picture(
                _png(rows), f"real and generated motion of: {one.caption}", one.caption + lacking
            )
        )
    return Gallery(
        "Real motions above, generated motions below",
        pictures,
        "Frames at even intervals. Beside each name stands the activity that the describer "
        "recognizes. Items are taken at even intervals, whether they succeeded or not.",
        wide=True,
    )


def rebuilt(motions: Sequence[RebuiltMotion], count: int) -> Gallery:
    """Return a gallery of test motions, and of the same encoded and decoded.

    Args:
        motions: motions of all sources.
        count: maximum number of pictures. Each source has about equally many.
    """
    by_source: dict[str, list[RebuiltMotion]] = {}
    for one in motions:
        by_source.setdefault(one.source, []).append(one)
    each = -(-count // max(len(by_source), 1))
    chosen = [one for of_source in by_source.values() for one in evenly(of_source, each)]
    pictures = [
        Picture(
            _png([("real", one.real_TJ3), ("decoded", one.made_TJ3)]),
            f"real and decoded motion of {one.source}",
            f"{one.source} {one.motion_id}: joint error {one.error_mm:.0f} mm",
        )
        for one in chosen[:count]
    ]
    return Gallery("Real motions above, encoded and decoded below", pictures, wide=True)


def _png(rows: Sequence[tuple[str, FloatArray]]) -> bytes:
    """Return strips below each other as a PNG file."""
    strips = [draw_strip(joints_TJ3, title, _COLUMNS) for title, joints_TJ3 in rows]
    sheet = PIL.Image.new("RGB", (strips[0].width, sum(one.height for one in strips)), "white")
    for number, strip in enumerate(strips):
        sheet.paste(strip, (0, number * strip.height))
    file = io.BytesIO()
    sheet.quantize(_COLORS).save(file, "PNG", optimize=True)
    return file.getvalue()
