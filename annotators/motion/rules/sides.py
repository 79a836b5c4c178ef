"""Tools of the rules: parts of movements, masks of spans, equal events of both sides.

Shapes: T frames at 20 fps.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from annotators.motion.events import (
    Direction,
    Level,
    MotionEvent,
    Part,
    Side,
)
from annotators.motion.signals import (
    MAX_MOVE_S,
    Signals,
    Span,
    join_spans,
    spans,
    trim_ramp,
)
from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import FPS


def share_of(mask_T: BoolArray, span: Span) -> float:
    """Return the share of true frames in a span."""
    return float(mask_T[slice(*span)].mean())


def is_too_slow(span: Span, max_s: float = MAX_MOVE_S) -> bool:
    """Return whether a span is too long for one movement of a limb."""
    return span[1] - span[0] > max_s * FPS


PAUSE_SHARE: Final = 0.25
"""A movement pauses where it is slower than this share of its highest speed."""
PAUSE_FRAMES: Final = 7
MAX_RATIO: Final = 2.5
MAX_RATIO_ESTIMATED: Final = 4.0
"""Largest ratio of the sizes of equal movements of both arms."""
IMAGE_SHARE: Final = 0.4
"""Smallest part of a way in the image, relative to that in depth, that tells the direction."""
FACING_ERROR_DEG: Final = 20.0
DEPTH_FACTORS: Final = (0.5, 1.0, 1.5)
"""Errors of the estimated facing of a body, and of the part of its way that lies in depth."""


def ramp_pieces(signal_T: FloatArray, start: int, end: int, min_change: float) -> list[Span]:
    """Return the parts of a rise or fall of a signal between its pauses.

    Args:
        signal_T: signal, (T,).
        start: frame of one turning point.
        end: frame of the next.
        min_change: smallest change of a part. If none is so large, the whole is returned.
    """
    whole = trim_ramp(signal_T, start, end)
    rate_N = np.abs(np.gradient(signal_T)[start : end + 1])
    moves_N = rate_N >= PAUSE_SHARE * rate_N.max()
    pieces: list[Span] = []
    for first, last in join_spans(spans(moves_N), PAUSE_FRAMES):
        piece = (start + max(first - 1, 0), start + min(last, end - start) + 1)
        if abs(signal_T[piece[1] - 1] - signal_T[piece[0]]) >= min_change:
            pieces.append(piece)
    return pieces or [whole]


def course_of(signals: Signals, ways_N3: FloatArray, span: Span) -> tuple[float, float]:
    """Return how far a way goes to the left and ahead of the body, meters.

    The estimated depth is the least accurate axis: who bends for a jump seems to move back. If the
    image shows enough of the way, it is also told without its depth, and of the two the one that
    goes more ahead counts, because people mostly go where they look.

    Args:
        signals: signals of the motion.
        ways_N3: parts of the way in the world, (N, 3), one for each frame of the span, meters.
        span: frames at which the parts are relative to the body.
    """
    inside = slice(*span)
    padded_T3 = np.zeros((signals.num_frames, 3))
    padded_T3[inside] = ways_N3
    left, _, ahead = signals.in_body_axes(padded_T3)[inside].sum(axis=0).tolist()
    total_3 = ways_N3.sum(axis=0)
    if signals.exact or abs(total_3[0]) < IMAGE_SHARE * abs(total_3[2]):
        return left, ahead
    padded_T3[:, 2] = 0.0
    flat_left, _, flat_ahead = signals.in_body_axes(padded_T3)[inside].sum(axis=0).tolist()
    share = ahead / max(np.hypot(left, ahead), 1e-9)
    flat_share = flat_ahead / max(np.hypot(flat_left, flat_ahead), 1e-9)
    return (flat_left, flat_ahead) if flat_share > share else (left, ahead)


def direction_of(left: float, ahead: float) -> Direction:
    """Return the dominant direction of a way that goes so far to the left and ahead."""
    if abs(ahead) >= abs(left):
        return Direction.FORWARD if ahead >= 0 else Direction.BACKWARD
    return Direction.LEFT if left > 0 else Direction.RIGHT


def is_sure_direction(
    signals: Signals, ways_N3: FloatArray, span: Span, direction: Direction
) -> bool:
    """Return whether a way has a direction whatever the errors of its depth and of the facing are.

    Args:
        signals: signals of the motion; of motion capture every direction is sure.
        ways_N3: parts of the way in the world, (N, 3), one for each frame of the span, meters.
        span: frames at which the parts are relative to the body.
        direction: the direction that the way seems to have.
    """
    if signals.exact:
        return True
    padded_T3 = np.zeros((signals.num_frames, 3))
    for depth in DEPTH_FACTORS:
        padded_T3[slice(*span)] = ways_N3 * np.array([1.0, 1.0, depth])
        left, _, ahead = signals.in_body_axes(padded_T3)[slice(*span)].sum(axis=0).tolist()
        for error_rad in np.radians((-FACING_ERROR_DEG, 0.0, FACING_ERROR_DEG)).tolist():
            turned = (
                left * np.cos(error_rad) - ahead * np.sin(error_rad),
                left * np.sin(error_rad) + ahead * np.cos(error_rad),
            )
            if direction_of(*turned) is not direction:
                return False
    return True


def mask_of(num_frames: int, items: list[Span]) -> BoolArray:
    """Convert spans to a mask, (T,)."""
    mask_T = np.zeros(num_frames, dtype=np.bool_)
    for start, end in items:
        mask_T[start:end] = True
    return mask_T


def pair_sides(events: list[MotionEvent], *, exact: bool) -> list[MotionEvent]:
    """Merge equal events of both arms at the same time into one event of both sides.

    Args:
        events: events of the motion.
        exact: whether they are of motion capture; estimates often measure one of two equal
            movements smaller.
    """
    most = MAX_RATIO if exact else MAX_RATIO_ESTIMATED
    left = [e for e in events if e.part is Part.ARM and e.side is Side.LEFT]
    right = [e for e in events if e.part is Part.ARM and e.side is Side.RIGHT]
    result = [e for e in events if e.part is not Part.ARM or e.side is Side.BOTH]
    for event in left:
        twin = next((other for other in right if _together(event, other, most)), None)
        if twin is None:
            result.append(event)
            continue
        right.remove(twin)
        result.append(both_sides(event, twin))
    return sorted(result + right, key=lambda e: (e.start_s, e.end_s))


_HEIGHTS: Final = (
    *(Level.LOW, Level.WAIST, Level.CHEST, Level.SHOULDER, Level.HEAD, Level.ABOVE_HEAD),
)
"""Levels of a hand from low to high."""


def _common_level(larger: MotionEvent, other: MotionEvent) -> Level | None:
    """Return the level of two hands, or None if they are more than a step apart."""
    if larger.level not in _HEIGHTS or other.level not in _HEIGHTS:
        return larger.level
    steps = abs(_HEIGHTS.index(larger.level) - _HEIGHTS.index(other.level))
    return larger.level if steps <= 1 else None


def both_sides(first: MotionEvent, second: MotionEvent) -> MotionEvent:
    """Return the event of both sides of equal events of a left and a right limb."""
    larger = max(first, second, key=lambda e: e.magnitude)
    left, right = (first, second) if first.side is Side.LEFT else (second, first)
    return replace(
        larger,
        side=Side.BOTH,
        direction=first.direction if first.direction is second.direction else None,
        level=_common_level(larger, second if larger is first else first),
        start_s=min(first.start_s, second.start_s),
        end_s=max(first.end_s, second.end_s),
        confidence=min(first.confidence, second.confidence),
        count=max(first.count, second.count),
        by_side=(left, right),
    )


def _together(first: MotionEvent, second: MotionEvent, most: float) -> bool:
    if (first.kind, first.part) != (second.kind, second.part):
        return False
    shared_s = min(first.end_s, second.end_s) - max(first.start_s, second.start_s)
    shorter_s = max(min(first.duration_s, second.duration_s), 1 / FPS)
    alike = first.magnitude / most < second.magnitude < most * first.magnitude
    return shared_s >= 0.5 * shorter_s and alike


def overlaps(event: MotionEvent, others: Sequence[MotionEvent]) -> bool:
    """Return whether at least half of the event is inside one of the others."""
    return any(
        min(event.end_s, other.end_s) - max(event.start_s, other.start_s)
        >= 0.5 * max(event.duration_s, 1 / FPS)
        for other in others
    )
