"""Quality of completed motions: in-between and prediction.

ADE and FDE as in Yuan and Kitani, "DLow", ECCV 2020, who score the best of several samples. There
the distance is of all coordinates of a pose at once; here it is the mean distance of a joint, which
does not grow with the number of joints. The FID of completions is
:func:`evaluation.metrics.distribution.fid` of their embeddings.

Shapes: S samples, T frames that were completed, J joints. Positions are meters, y up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.arrays import FloatArray
from data.motion.skeleton import FPS
from evaluation.metrics.intervals import Interval, bootstrap_mean
from evaluation.metrics.naturalness import joint_speed


@dataclass(frozen=True, slots=True)
class Displacement:
    """Errors of the samples of one completion, in meters.

    Attributes:
        ade_m: mean error over joints and frames, as a mean over the samples.
        fde_m: mean error over joints in the last frame, as a mean over the samples.
        best_ade_m: smallest mean error of a sample.
        best_fde_m: smallest error in the last frame of a sample, maybe of another one.
        samples: number of samples, with which the best can only get better.
    """

    ade_m: float
    fde_m: float
    best_ade_m: float
    best_fde_m: float
    samples: int


def straight_lines(before_J3: FloatArray, after_J3: FloatArray, frames: int) -> FloatArray:
    """Return a baseline of an in-between: joints on straight lines between two poses.

    Args:
        before_J3: (J, 3) pose in the frame before the gap.
        after_J3: (J, 3) pose in the frame after it.
        frames: number of frames of the gap.

    Returns:
        (T, J, 3) joints in the gap, at even intervals.
    """
    share_T11 = np.linspace(0, 1, frames + 2)[1:-1, None, None]
    return before_J3 * (1 - share_T11) + after_J3 * share_T11


def displacement(real_TJ3: FloatArray, samples_STJ3: FloatArray) -> Displacement:
    """Compute the errors of the samples of one completion against the real motion.

    Positions are compared as they are. For an in-between, the last frame has little meaning,
    because the pose after it is given.

    Args:
        real_TJ3: the completed frames of the real motion, (T, J, 3).
        samples_STJ3: the same frames of each sample, (S, T, J, 3), placed in the same space.

    Raises:
        ValueError: the shapes do not fit, or there are no samples or frames.
    """
    if (
        samples_STJ3.ndim != 4
        or not samples_STJ3.size
        or samples_STJ3.shape[1:] != real_TJ3.shape
        or real_TJ3.shape[2] != 3
    ):
        raise ValueError(
            "samples: expected (S, T, J, 3) with the frames of the real motion (T, J, 3), found "
            f"{samples_STJ3.shape} and {real_TJ3.shape}. Remedy: complete exactly the missing "
            "frames."
        )
    apart_STJ3 = samples_STJ3.astype(np.float64) - real_TJ3
    error_ST = np.linalg.norm(apart_STJ3, axis=-1).mean(axis=-1)
    ade_S, fde_S = error_ST.mean(axis=1), error_ST[:, -1]
    return Displacement(
        float(ade_S.mean()),
        float(fde_S.mean()),
        float(ade_S.min()),
        float(fde_S.min()),
        len(samples_STJ3),
    )


def mean_displacement(found: Sequence[Displacement]) -> Displacement:
    """Return the means over completions, which all have the same number of samples.

    Raises:
        ValueError: there are none, or their numbers of samples differ.
    """
    samples = {one.samples for one in found}
    if len(samples) != 1:
        raise ValueError(
            f"completions: expected the same number of samples of each, found {sorted(samples)}. "
            "Remedy: score the same number, because the best of more samples is better."
        )
    return Displacement(
        float(np.mean([one.ade_m for one in found])),
        float(np.mean([one.fde_m for one in found])),
        float(np.mean([one.best_ade_m for one in found])),
        float(np.mean([one.best_fde_m for one in found])),
        samples.pop(),
    )


def speed_kept(real_TJ3: FloatArray, made_TJ3: FloatArray, fps: float = FPS) -> float | None:
    """Compute the mean joint speed of a completion as a share of that of the real motion.

    1 is perfect; a completion that averages over what could happen is slower, and straight lines
    between the ends are the slowest way.

    Args:
        real_TJ3: the completed frames of the real motion, (T, J, 3), better with a frame of what
            was given on either side.
        made_TJ3: frames of the completion, (T', J, 3).
        fps: frames per second.

    Returns:
        The share, or None if the real motion stands still or a motion has fewer than two frames.
    """
    real, made = joint_speed(real_TJ3, fps), joint_speed(made_TJ3, fps)
    if not real or made is None:
        return None
    return made / real


def mean_speed_kept(
    real: Sequence[FloatArray], samples: Sequence[Sequence[FloatArray]], seed: int = 0
) -> Interval | None:
    """Compute the joint speed of all completions as a share of that of all real motions.

    A mean of the shares of single completions would be that of the gaps in which hardly anything
    moves, where a small movement is a multiple of the real one.

    Args:
        real: the completed frames of each real motion, (T, J, 3).
        samples: samples of the completion of each, (T', J, 3).
        seed: seed of the interval.

    Returns:
        The share with its bootstrap interval over the completions, or None if nothing moves.
    """
    found: list[tuple[float, float]] = []
    for real_TJ3, of_one in zip(real, samples, strict=True):
        shares = [speed_kept(real_TJ3, one_TJ3) for one_TJ3 in of_one]
        known = [share for share in shares if share is not None]
        speed = joint_speed(real_TJ3)
        if known and speed:
            found.append((float(np.mean(known)), speed))
    if not found:
        return None
    return bootstrap_mean([share for share, _ in found], seed, [speed for _, speed in found])
