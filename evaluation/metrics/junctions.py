"""Smoothness of the junctions at which a long motion was assembled from shorter ones.

Shapes: T frames, J = 22 joints (see :mod:`data.motion.skeleton`), K junctions, W frames of a
transition. Positions are in meters, y up. A junction at frame ``t`` lies between ``t - 1``, the
last frame of one motion, and ``t``, the first frame of the next.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.arrays import FloatArray
from data.motion.quality import foot_skate
from data.motion.skeleton import FPS, NUM_JOINTS

VELOCITY_FRAMES: Final = 3
"""Number of steps on each side over which velocities are averaged: 0.15 s."""
SKATE_WINDOW_S: Final = 0.5
"""Half width of the window for foot skate."""

TRANSITION_FRAMES: Final = 60
"""Length of a transition of which the jerk is taken: 3 s, as published for HumanML3D."""

_GROUND: Final = [0, 2]


@dataclass(frozen=True, slots=True)
class Junction:
    """One junction.

    Attributes:
        frame: first frame after it.
        root_jump_m: horizontal displacement of the pelvis over the junction, in excess of the mean
            of its steps before and after.
        joint_jump_m: mean over joints of the displacement over the junction relative to the pelvis.
        velocity_jump_m_s: mean over joints of the change of velocity.
        foot_skate_m_s: foot skate within 0.5 s on either side; None if no toe is on the floor.
    """

    frame: int
    root_jump_m: float
    joint_jump_m: float
    velocity_jump_m_s: float
    foot_skate_m_s: float | None


@dataclass(frozen=True, slots=True)
class JunctionMeasures:
    """The junctions of a motion and the means over them, which are None if no value is known.

    Attributes:
        junctions: one per frame, in the order of the request.
    """

    junctions: tuple[Junction, ...]

    @property
    def root_jump_m(self) -> float | None:
        """Mean of the root jumps."""
        return _mean(junction.root_jump_m for junction in self.junctions)

    @property
    def joint_jump_m(self) -> float | None:
        """Mean of the joint jumps."""
        return _mean(junction.joint_jump_m for junction in self.junctions)

    @property
    def velocity_jump_m_s(self) -> float | None:
        """Mean of the velocity jumps."""
        return _mean(junction.velocity_jump_m_s for junction in self.junctions)

    @property
    def foot_skate_m_s(self) -> float | None:
        """Mean of the foot skates that were measured."""
        return _mean(junction.foot_skate_m_s for junction in self.junctions)


def junction_measures(
    joints_TJ3: FloatArray,
    junction_frames: Sequence[int],
    fps: float = FPS,
) -> JunctionMeasures:
    """Measure the junctions of a motion. An uncut motion provides values for comparison.

    Args:
        joints_TJ3: positions, (T, 22, 3), in meters, y up, including the path of the root.
        junction_frames: first frame after each junction, with at least one step (two frames) on
            either side. Near the ends, velocities are averaged over the available steps.
        fps: frames per second.

    Returns:
        The measures in the order of ``junction_frames``.

    Raises:
        ValueError: wrong shape, non-finite positions, or a junction too close to an end.
    """
    if joints_TJ3.ndim != 3 or joints_TJ3.shape[1:] != (NUM_JOINTS, 3):
        raise ValueError(
            f"joints: expected (T, {NUM_JOINTS}, 3), found {joints_TJ3.shape}. "
            "Remedy: convert the motion to the 22-joint skeleton first."
        )
    if not np.isfinite(joints_TJ3).all():
        raise ValueError(
            "joints: expected finite positions, found NaN or infinity. "
            "Remedy: fill them in, or skip the motion."
        )
    num_frames = len(joints_TJ3)
    bad = [frame for frame in junction_frames if not 2 <= frame <= num_frames - 2]
    if bad:
        raise ValueError(
            f"junction_frames: expected frames from 2 to {num_frames - 2} of {num_frames}, found "
            f"{bad}. Remedy: give junctions with two frames on either side."
        )
    if not junction_frames:
        return JunctionMeasures(())

    joints = joints_TJ3.astype(np.float64)
    frame_K = np.asarray(junction_frames, dtype=np.intp)
    step_TJ3 = np.diff(joints, axis=0)  # step t leads from frame t to t + 1
    over_KJ3 = step_TJ3[frame_K - 1]
    before_KJ3, after_KJ3 = _mean_steps(step_TJ3, frame_K)

    beyond_KJ3 = over_KJ3 - (before_KJ3 + after_KJ3) / 2
    root_K = np.linalg.norm(beyond_KJ3[:, 0, _GROUND], axis=-1)
    joint_K = np.linalg.norm(over_KJ3[:, 1:] - over_KJ3[:, :1], axis=-1).mean(axis=1)
    velocity_K = np.linalg.norm(after_KJ3 - before_KJ3, axis=-1).mean(axis=1) * fps
    reach = round(SKATE_WINDOW_S * fps)
    return JunctionMeasures(
        tuple(
            Junction(
                frame,
                float(root_K[number]),
                float(joint_K[number]),
                float(velocity_K[number]),
                foot_skate(joints[max(frame - reach, 0) : frame + reach], fps),
            )
            for number, frame in enumerate(frame_K.tolist())
        )
    )


@dataclass(frozen=True, slots=True)
class TransitionJerk:
    """Jerk around the junctions of a set of motions.

    Attributes:
        peak: peak jerk (PJ) in m/frame³, the largest value of ``curve``.
        area: area under the jerk (AUJ) in m/frame³, the sum over ``curve`` of its distance from the
            jerk of real motions.
        curve: jerk in m/frame³ of each frame of a transition, as a mean over the junctions.
        junctions: number of junctions.
    """

    peak: float
    area: float
    curve: tuple[float, ...]
    junctions: int


def transition_jerk(
    motions: Iterable[tuple[FloatArray, Sequence[int]]],
    real_jerk: float,
    frames: int = TRANSITION_FRAMES,
) -> TransitionJerk:
    """Compute peak jerk and area under the jerk of the junctions of a set of motions.

    Source: Barquero et al., "Seamless Human Motion Composition with Blended Positional Encodings"
    (FlowMDM), CVPR 2024, and its published code. The jerk of a frame is the largest among the
    joints of the L1 norm of the third difference of the position. Values at different frame rates
    are not comparable.

    Args:
        motions: positions, (T, 22, 3), in meters, including the path of the root, and the first
            frame after each junction.
        real_jerk: mean jerk of real motions, of :func:`mean_jerk`; 0.033 as published for
            HumanML3D.
        frames: even length W of a transition, half of it on either side of a junction.

    Raises:
        ValueError: ``frames`` is odd or less than 4, a transition reaches beyond its motion, or
            there is no junction.
    """
    if frames % 2 or frames < 4:
        raise ValueError(f"frames: expected an even number from 4, found {frames}.")
    half = frames // 2
    curves: list[FloatArray] = []
    for joints_TJ3, junction_frames in motions:
        jerk_T = frame_jerk(joints_TJ3)
        bad = [frame for frame in junction_frames if not half <= frame <= len(joints_TJ3) - half]
        if bad:
            raise ValueError(
                f"junction_frames: expected {half} frames on either side, found {bad} of "
                f"{len(joints_TJ3)} frames. Remedy: give longer motions, or shorter transitions "
                "and do not compare with published values."
            )
        curves += [jerk_T[frame - half : frame + half - 3] for frame in junction_frames]
    if not curves:
        raise ValueError("motions: expected at least one junction, found none.")
    curve_W = np.mean(curves, axis=0)
    return TransitionJerk(
        float(curve_W.max()),
        float(abs(curve_W - real_jerk).sum()),
        tuple(curve_W.tolist()),
        len(curves),
    )


def mean_jerk(motions: Iterable[FloatArray]) -> float:
    """Return the mean of :func:`frame_jerk` over the frames of real motions, in m/frame³.

    Raises:
        ValueError: no motion has four frames.
    """
    jerks = [frame_jerk(joints_TJ3) for joints_TJ3 in motions]
    if not any(map(len, jerks)):
        raise ValueError("motions: expected at least one of four frames, found none.")
    return float(np.concatenate(jerks).mean())


def frame_jerk(joints_TJ3: FloatArray) -> FloatArray:
    """Return the largest jerk of a joint in each frame, (T - 3,), in m/frame³.

    The jerk of frame ``t`` is the L1 norm of the third difference of frames ``t`` to ``t + 3``.
    """
    third_TJ3 = np.diff(joints_TJ3.astype(np.float64), n=3, axis=0)
    return abs(third_TJ3).sum(axis=-1).max(axis=-1)


def _mean_steps(
    step_TJ3: NDArray[np.float64], frame_K: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean steps before and after each junction, (K, J, 3), without the step over it."""
    # Cumulative sums: the sum over a window is the difference of two of them.
    sum_TJ3 = np.concatenate([np.zeros_like(step_TJ3[:1]), step_TJ3.cumsum(axis=0)])
    start_K = np.maximum(frame_K - 1 - VELOCITY_FRAMES, 0)
    end_K = np.minimum(frame_K + VELOCITY_FRAMES, len(step_TJ3))
    before_KJ3 = sum_TJ3[frame_K - 1] - sum_TJ3[start_K]
    after_KJ3 = sum_TJ3[end_K] - sum_TJ3[frame_K]
    num_before_K, num_after_K = frame_K - 1 - start_K, end_K - frame_K
    return before_KJ3 / num_before_K[:, None, None], after_KJ3 / num_after_K[:, None, None]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
