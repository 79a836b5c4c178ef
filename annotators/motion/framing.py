"""Position and size of people in the picture, and their order by prominence.

Shapes: T frames at 20 fps, J = 22 joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from annotators.motion.describe import inside_frame
from annotators.motion.signals import MIN_CONFIDENCE
from data.motion.skeleton import JOINT
from data.records import PoseTrack

EDGE_SHARE: Final = 0.36
"""Share of the frame's width that counts as left, and as right."""
CROSSING_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Framing:
    """Position and size of a person in the image.

    Attributes:
        extent: visible part of the body: ``full``, ``knees_up``, ``hips_up``, ``upper_body``,
            ``arms`` or ``legs``.
        place: ``left``, ``center`` or ``right``, at the middle of the track. Captions contain this
            word, so its spelling is fixed.
        start_place, end_place: place at the start and at the end of the track.
        height_share: height of the visible part, relative to the height of the frame.
    """

    extent: str
    place: str
    start_place: str
    end_place: str
    height_share: float

    @property
    def moves_across(self) -> bool:
        """Whether the person moves to another place in the image."""
        return self.start_place != self.end_place


def framing(track: PoseTrack, frame_size_px: tuple[int, int]) -> Framing:
    """Measure the position and size of a person in the image.

    Args:
        track: pose track of the person.
        frame_size_px: (width, height) of the video.
    """
    seen_TJ = (track.confidence >= MIN_CONFIDENCE) & inside_frame(track, frame_size_px)
    share_J = seen_TJ.mean(axis=0)

    def seen(*names: str) -> bool:
        return bool(max(share_J[JOINT[name]] for name in names) >= 0.5)

    if not seen("left_shoulder", "right_shoulder", "head"):
        extent = "legs" if seen("left_ankle", "right_ankle") else "arms"
    elif seen("left_ankle", "right_ankle") and seen("left_knee", "right_knee"):
        extent = "full"
    elif seen("left_knee", "right_knee"):
        extent = "knees_up"
    elif seen("left_hip", "right_hip"):
        extent = "hips_up"
    else:
        extent = "upper_body"

    points_TJ2 = np.where(seen_TJ[:, :, None], track.joints_2d, np.nan)
    points_TJ2 = points_TJ2[seen_TJ.sum(axis=1) >= 3]
    if len(points_TJ2) == 0:
        return Framing("arms", "center", "center", "center", 0.0)
    x_T = np.nanmean(points_TJ2[:, :, 0], axis=1) / frame_size_px[0]
    height_T = np.nanmax(points_TJ2[:, :, 1], axis=1) - np.nanmin(points_TJ2[:, :, 1], axis=1)

    def place(x: float) -> str:
        return "left" if x < EDGE_SHARE else ("right" if x > 1 - EDGE_SHARE else "center")

    third = max(len(x_T) // 4, 1)
    start, end = float(np.median(x_T[:third])), float(np.median(x_T[-third:]))
    across = abs(end - start) >= CROSSING_SHARE
    middle = place(float(np.median(x_T)))
    return Framing(
        extent=extent,
        place=middle,
        start_place=place(start) if across else middle,
        end_place=place(end) if across else middle,
        height_share=float(np.median(height_T)) / frame_size_px[1],
    )


def by_prominence(tracks: Sequence[PoseTrack], frame_size_px: tuple[int, int]) -> list[PoseTrack]:
    """Sort tracks by duration, size and confidence, with the main one first."""

    def prominence(track: PoseTrack) -> float:
        height = max(framing(track, frame_size_px).height_share, 0.01)
        return float(track.valid.sum()) * height * track.quality

    return sorted(tracks, key=prominence, reverse=True)


def people_at_a_time(tracks: Sequence[PoseTrack]) -> int:
    """Return the largest number of tracks at the same time."""
    starts = np.array([track.pts_s[0] for track in tracks])
    ends = np.array([track.pts_s[-1] for track in tracks])
    return max((int(((starts <= s) & (ends >= s)).sum()) for s in starts), default=0)
