"""Detection of frames in which the pose model confuses left and right.

When a person is seen from behind, jumps, swings or crosses the limbs, both arms or both legs may
exchange places from one frame to another and return some frames later, the legs with the hips or
without them. A real body does not move like that, and exchanging the sides again removes the jumps.

The sides of arms and legs are chosen for all frames together (Viterbi), so that the joints move
least. The sides that the model gives are believed unless the jumps at both ends of a swap are worth
more than its duration, and hips and shoulders that face away from each other tell that one of them
is swapped.

Shapes: M measured frames, J = 22 joints, V = 3 variants of arms or legs, S = 6 states (variant of
the arms, variant of the legs).
"""

from itertools import product
from typing import Final

import numpy as np

from data.arrays import BoolArray, FloatArray
from data.motion.skeleton import JOINT, MIRROR

ARMS: Final = tuple(
    JOINT[f"{side}_{name}"]
    for side in ("left", "right")
    for name in ("collar", "shoulder", "elbow", "wrist")
)
LEGS: Final = tuple(
    JOINT[f"{side}_{name}"]
    for side in ("left", "right")
    for name in ("hip", "knee", "ankle", "foot")
)
GROUPS: Final = (ARMS, LEGS)
"""Arms and legs are swapped independently of each other."""
_HIPS: Final = (JOINT["left_hip"], JOINT["right_hip"])
"""The hips may stay where they are while knees and feet are swapped."""

LEAP_COST_M: Final = 0.06
"""The mean movement of the joints that a swap has to save at each of its ends (1.2 m/s at 20 fps).
Legs that pass each other save less."""
SWAPPED_COST_MPS: Final = 0.35
"""The mean movement that a swap has to save per second. Arms and legs of a running person leap by
about 0.5 m, so swaps of up to about 2 s are undone."""
TWIST_COST_MPS: Final = 0.6
"""The cost per second of shoulders that face opposite to the hips (a twist of 180 degrees)."""
STRETCH_COST_PER_S: Final = 3.0
"""The cost per second and meter of thighs that change their length, as they do if the knees are
swapped and the hips are not."""

_VARIANTS: Final = 3
"""As the model gives it, swapped as a whole, swapped without the hips."""
_STATES: Final = np.array(list(product((0, 1), range(_VARIANTS))))
"""(S, 2) variants of arms and legs in each state; state 0 is as the model gives it. Forearms are
not swapped without the shoulders, because crossed arms look the same."""


def find_side_swaps(body_MJ3: FloatArray, times_M: FloatArray) -> BoolArray:
    """Return where the left and the right joint are exchanged, (M, J).

    Args:
        body_MJ3: (M, 22, 3) joints relative to the pelvis, meters.
        times_M: (M,) times of the frames, seconds.
    """
    steps_MSS = _movement(body_MJ3)
    lasting_MS = _duration(body_MJ3, times_M)
    cost_S = lasting_MS[0]
    came_from_MS = np.zeros(lasting_MS.shape, dtype=np.intp)
    for frame in range(1, len(body_MJ3)):
        # Rows are the states of the frame before, columns those of this frame.
        total_SS = cost_S[:, None] + steps_MSS[frame - 1]
        came_from_MS[frame] = total_SS.argmin(axis=0)
        cost_S = total_SS.min(axis=0) + lasting_MS[frame]
    state_M = np.empty(len(body_MJ3), dtype=np.intp)
    state_M[-1] = cost_S.argmin()
    for frame in range(len(body_MJ3) - 1, 0, -1):
        state_M[frame - 1] = came_from_MS[frame, state_M[frame]]
    swapped_MJ = np.zeros(body_MJ3.shape[:2], dtype=np.bool_)
    for index, group in enumerate(GROUPS):
        variant_M = _STATES[state_M, index]
        for joint in group:
            swapped_MJ[:, joint] = (variant_M == 1) | ((variant_M == 2) & (joint not in _HIPS))
    return swapped_MJ


def _movement(body_MJ3: FloatArray) -> FloatArray:
    """Return the cost of going from one state to another between frames, (M - 1, S, S), meters."""
    cost_MSS = np.zeros((len(body_MJ3) - 1, len(_STATES), len(_STATES)))
    for index, group in enumerate(GROUPS):
        joints = list(group)
        swapped = [MIRROR[joint] for joint in joints]
        partly = [joint if joint in _HIPS else MIRROR[joint] for joint in joints]
        variants_MVJ3 = np.stack(
            [body_MJ3[:, order] for order in (joints, swapped, partly)], axis=1
        )
        steps_MVVJ3 = variants_MVJ3[1:, None] - variants_MVJ3[:-1, :, None]
        cost_MVV = np.linalg.norm(steps_MVVJ3, axis=-1).mean(axis=-1)
        cost_MVV += LEAP_COST_M * (1 - np.eye(_VARIANTS))
        variant_S = _STATES[:, index]
        cost_MSS += cost_MVV[:, variant_S[:, None], variant_S]
    return cost_MSS


def _duration(body_MJ3: FloatArray, times_M: FloatArray) -> FloatArray:
    """Return the cost of being in a state at each frame, (M, S), meters."""

    def across(name: str) -> FloatArray:
        vector_M3 = body_MJ3[:, JOINT[f"left_{name}"]] - body_MJ3[:, JOINT[f"right_{name}"]]
        return vector_M3 / np.maximum(np.linalg.norm(vector_M3, axis=1, keepdims=True), 1e-9)

    frame_s_M = np.gradient(times_M) if len(times_M) > 1 else np.zeros(len(times_M))
    facing_M = (across("hip") * across("shoulder")).sum(axis=1)
    one_turned_S = (_STATES[:, 0] == 1) != (_STATES[:, 1] == 1)
    facing_MS = np.where(one_turned_S, -facing_M[:, None], facing_M[:, None])
    swapped_S = (_STATES > 0).sum(axis=1)
    cost_MS = SWAPPED_COST_MPS * swapped_S + TWIST_COST_MPS * np.maximum(-facing_MS, 0)
    as_given_M, partly_M = _stretch(body_MJ3)
    stretch_MS = np.where(_STATES[:, 1] == 2, partly_M[:, None], as_given_M[:, None])
    return (cost_MS + STRETCH_COST_PER_S * stretch_MS) * frame_s_M[:, None]


def _stretch(body_MJ3: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return how much the thighs deviate from their usual length, (M,), meters.

    Returns:
        The mean deviation as the model gives the joints, and with the knees exchanged.
    """
    knees = [JOINT["left_knee"], JOINT["right_knee"]]
    hips = list(_HIPS)
    given_M2 = np.linalg.norm(body_MJ3[:, knees] - body_MJ3[:, hips], axis=-1)
    partly_M2 = np.linalg.norm(body_MJ3[:, knees[::-1]] - body_MJ3[:, hips], axis=-1)
    usual_m = np.median(given_M2)
    return abs(given_M2 - usual_m).mean(axis=1), abs(partly_M2 - usual_m).mean(axis=1)


def swap_sides(values_MJX: FloatArray, swapped_MJ: BoolArray) -> FloatArray:
    """Exchange the values of left and right joints where they are swapped, (M, J, ...)."""
    mask = swapped_MJ.reshape(*swapped_MJ.shape, *[1] * (values_MJX.ndim - 2))
    return np.where(mask, values_MJX[:, list(MIRROR)], values_MJX)
