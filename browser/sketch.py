"""Sketches of poses as SVG, for entries whose video is missing or never existed."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from data.arrays import FloatArray
from data.motion.skeleton import BONES

WIDTH: Final = 384
HEIGHT: Final = 216


def sketch(figures_J3: Sequence[FloatArray]) -> str:
    """Draw poses beside each other, seen from the front and slightly from above.

    Args:
        figures_J3: poses of J = 22 joints, each (22, 3) meters, y up.

    Returns:
        An SVG document; the colors suit light and dark pages.
    """
    lines: list[str] = []
    slot = WIDTH / max(len(figures_J3), 1)
    reach = max((_reach(pose) for pose in figures_J3), default=1.0)
    for index, pose_J3 in enumerate(figures_J3):
        points = _projected(pose_J3)
        center = (points.min(0) + points.max(0)) / 2
        scale = min(0.82 * HEIGHT / reach, 0.9 * slot / reach)
        points = (points - center) * (scale, -scale) + (slot * (index + 0.5), HEIGHT / 2)
        faint = 0.35 + 0.65 * (index + 1) / len(figures_J3)
        segments = "".join(
            f"M{points[a, 0]:.1f} {points[a, 1]:.1f}L{points[b, 0]:.1f} {points[b, 1]:.1f}"
            for a, b in BONES
        )
        lines.append(
            f'<path d="{segments}" fill="none" stroke="#5b86d6" stroke-opacity="{faint:.2f}" '
            'stroke-width="4" stroke-linecap="round"/>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}">{"".join(lines)}</svg>'
    )


def _projected(pose_J3: FloatArray) -> FloatArray:
    """Project a pose, turned by 30 degrees for depth: (22, 2), y up."""
    angle = np.pi / 6
    across = pose_J3[:, 0] * np.cos(angle) + pose_J3[:, 2] * np.sin(angle)
    depth = pose_J3[:, 2] * np.cos(angle) - pose_J3[:, 0] * np.sin(angle)
    return np.stack([across, pose_J3[:, 1] - 0.2 * depth], axis=1)


def _reach(pose_J3: FloatArray) -> float:
    points = _projected(pose_J3)
    return float(max((points.max(0) - points.min(0)).max(), 0.5))
