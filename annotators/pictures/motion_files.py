"""A motion as a file, in the format that the name of the file tells."""

from collections.abc import Sequence
from pathlib import Path

from annotators.pictures.stick_figure import describe_steps, draw_motion, save_moving
from data.arrays import FloatArray
from data.exporters import write_bvh, write_features, write_glb, write_joints
from data.motion.features import features_to_joints


def write_motion(
    path: Path,
    features_TD: FloatArray,
    title: str,
    steps: Sequence[tuple[float, float, str]] = (),
) -> None:
    """Write a motion: ``.npy`` (features), ``.joints.npy``, ``.bvh``, ``.glb``, ``.gif``, ``.mp4``.

    Args:
        path: the file.
        features_TD: features, (T, 263), not normalized.
        title: text above the figure of an animation.
        steps: start_s, end_s and text of the steps below the figure; by default what is measured.

    Raises:
        ValueError: the name ends otherwise, or the motion has no frames or is not finite.
    """
    joints_TJ3 = features_to_joints(features_TD)
    name = path.name.lower()
    if name.endswith(".joints.npy"):
        write_joints(path, joints_TJ3)
    elif name.endswith(".npy"):
        write_features(path, features_TD)
    elif name.endswith(".bvh"):
        write_bvh(path, joints_TJ3)
    elif name.endswith(".glb"):
        write_glb(path, joints_TJ3, title)
    else:
        save_moving(draw_motion(joints_TJ3, title, steps or describe_steps(joints_TJ3)), path)
