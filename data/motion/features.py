"""Convert joint positions to the 263-d motion features of HumanML3D and back, and mirror motions.

Shapes: B batch (any leading dimensions), T frames at 20 fps, J = 22 joints (see
:mod:`data.motion.skeleton`), N = J - 1 bones (bone n ends in joint n + 1), D = ``NUM_FEATURES``.
Positions are meters, y up; the person's left is +x when facing +z.

Source: Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022, and the
feature extraction published with it. The results agree with the published vectors, on which
evaluators and checkpoints depend, including an apparent mistake (see :data:`HEADING_TRAP`).

Every function accepts NumPy arrays or torch tensors and returns the same type and dtype; internally
it uses float64 tensors. Recovery and mirroring are differentiable.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from data.motion.skeleton import JOINT, JOINT_NAMES, MIRROR, NUM_FEATURES, NUM_JOINTS, PARENTS

ArrayT = TypeVar("ArrayT", NDArray[np.floating[Any]], Tensor)
Lengths = NDArray[np.integer[Any]] | Tensor | Sequence[int]

_NUM_BONES: Final = NUM_JOINTS - 1

ROOT_YAW_VELOCITY: Final = slice(0, 1)
"""Half the change of yaw per frame, as in a quaternion, rad/frame."""
ROOT_VELOCITY: Final = slice(ROOT_YAW_VELOCITY.stop, ROOT_YAW_VELOCITY.stop + 2)
"""x and z of the root velocity in the coordinates of the root, m/frame."""
ROOT_HEIGHT: Final = slice(ROOT_VELOCITY.stop, ROOT_VELOCITY.stop + 1)
"""Height of the root above the floor, m."""
LOCAL_POSITIONS: Final = slice(ROOT_HEIGHT.stop, ROOT_HEIGHT.stop + 3 * _NUM_BONES)
"""Positions of joints 1-21 without the root's x, z and yaw (y is above the floor), m."""
LOCAL_ROTATIONS: Final = slice(LOCAL_POSITIONS.stop, LOCAL_POSITIONS.stop + 6 * _NUM_BONES)
"""Rotations of joints 1-21 relative to their parents: first and second column of the matrix."""
LOCAL_VELOCITIES: Final = slice(LOCAL_ROTATIONS.stop, LOCAL_ROTATIONS.stop + 3 * NUM_JOINTS)
"""Velocities of all joints in the coordinates of the root, m/frame."""
FOOT_CONTACTS: Final = slice(LOCAL_VELOCITIES.stop, LOCAL_VELOCITIES.stop + 4)
"""1 if a foot joint is at rest, in the order of :data:`CONTACT_JOINTS`."""

FEATURE_GROUPS: Final = {
    "root_yaw_velocity": ROOT_YAW_VELOCITY,
    "root_velocity": ROOT_VELOCITY,
    "root_height": ROOT_HEIGHT,
    "local_positions": LOCAL_POSITIONS,
    "local_rotations": LOCAL_ROTATIONS,
    "local_velocities": LOCAL_VELOCITIES,
    "foot_contacts": FOOT_CONTACTS,
}
"""Groups of the feature vector, in order and without gaps."""
assert FOOT_CONTACTS.stop == NUM_FEATURES  # noqa: S101 - D of the skeleton's own module

CONTACT_JOINTS: Final = tuple(
    JOINT[name] for name in ("left_ankle", "left_foot", "right_ankle", "right_foot")
)
CONTACT_THRESHOLD_M2: Final = 0.002
"""Squared displacement per frame below which a foot joint is at rest (published value)."""

HEADING_SIGMA_FRAMES: Final = 20.0
"""Standard deviation of the Gaussian that smooths the heading (published value)."""
_HEADING_RADIUS_FRAMES: Final = 80  # 4 sigma, where the published filter truncates the Gaussian.

HEADING_TRAP: Final = {
    "left_hip": 1.0,
    "right_hip": -1.0,
    "right_shoulder": 1.0,
    "left_shoulder": -1.0,
}
"""Weights of the joints in the across-body axis that defines the heading of every frame.

The axis should run from the person's left to the right. The published inverse kinematics expects
the hips in the opposite order of its caller, so the hip vector is negated, and the heading is that
of the shoulders minus the hips. The mistake is kept, because published statistics, evaluators and
checkpoints include it; without it, local positions change by up to 0.54 m. The facing direction of
frame 0 (:func:`canonical_joints`) uses the correct order.
"""
_FACING_AXIS: Final = HEADING_TRAP | {"left_hip": -1.0, "right_hip": 1.0}

REFERENCE_BONE_LENGTHS_M: Final = {
    "left_hip": 0.103074,
    "right_hip": 0.109883,
    "spine1": 0.131568,
    "left_knee": 0.393623,
    "right_knee": 0.390188,
    "spine2": 0.143190,
    "left_ankle": 0.432433,
    "right_ankle": 0.425643,
    "spine3": 0.057365,
    "left_foot": 0.143382,
    "right_foot": 0.149419,
    "neck": 0.219360,
    "left_collar": 0.137487,
    "right_collar": 0.143383,
    "head": 0.103039,
    "left_shoulder": 0.131614,
    "right_shoulder": 0.122984,
    "left_elbow": 0.256840,
    "right_elbow": 0.263092,
    "left_wrist": 0.266012,
    "right_wrist": 0.269876,
}
"""Length of the bone that ends in each joint, in frame 0 of HumanML3D clip 000021."""

MIN_BONE_M: Final = 1e-5
"""Length below which the direction of a bone is undefined."""

_REST_DIRECTIONS: Final = {
    **dict.fromkeys(("left_hip", "left_collar"), (1.0, 0.0, 0.0)),
    **dict.fromkeys(("right_hip", "right_collar"), (-1.0, 0.0, 0.0)),
    **dict.fromkeys(("spine1", "spine2", "spine3", "neck"), (0.0, 1.0, 0.0)),
    **dict.fromkeys(("head", "left_foot", "right_foot"), (0.0, 0.0, 1.0)),
}
"""Bone directions for which all rotations are the identity; legs and arms point down."""
_REST_N3: Final = torch.tensor(
    [_REST_DIRECTIONS.get(name, (0.0, -1.0, 0.0)) for name in JOINT_NAMES[1:]], dtype=torch.float64
)
# Rotation axis of a bone that points exactly against its rest direction.
_FLIP_AXIS_N3: Final = _REST_N3.roll(1, dims=-1).abs()

# In the published kinematic chains, the rotations of the collars are relative to the root, not to
# their parent spine3.
_ROTATION_PARENTS_N: Final = [
    0 if "collar" in name else parent
    for name, parent in zip(JOINT_NAMES[1:], PARENTS[1:], strict=True)
]
_FIRST_CHILD: Final = [
    next((child for child, parent in enumerate(PARENTS) if parent == joint), -1)
    for joint in range(NUM_JOINTS)
]

_RIGHT_LEG: Final = [JOINT["right_knee"] - 1, JOINT["right_ankle"] - 1]

HeadingWrap = Literal["continuous", "published"]
"""Yaw velocity in a frame where the heading passes the direction opposite to frame 0.

The quaternion changes its sign there, and the published arcsine yields a velocity with the wrong
sign, so that recovery turns the rest of the motion by twice the step. ``continuous`` yields the
true velocity. All other frames and values are equal.
"""


def canonical_joints(
    joints_BTJ3: ArrayT,
    lengths_B: Lengths | None = None,
    *,
    retarget: bool = True,
) -> ArrayT:
    """Normalize a motion: reference skeleton, floor at 0, start at the origin, facing +z.

    Retargeting keeps the direction of every bone, sets its length to that of the reference
    skeleton, and scales the root's path by the ratio of the right legs' lengths in frame 0. This
    equals the published inverse and forward kinematics, in which the headings cancel. The
    direction of a bone of zero length (pelvis and spine1 of CMU coincide) is that to the child of
    its end.

    Args:
        joints_BTJ3: positions, (..., T, 22, 3), meters, y up.
        lengths_B: number of frames of each motion, (...); later frames are padding. None: all T.
        retarget: whether to change the bone lengths.

    Returns:
        Positions, (..., T, 22, 3), meters. Frames after a motion's length repeat its last frame.

    Raises:
        ValueError: a shape is wrong, a length is outside 1..T, a value is not finite, or a bone has
            no direction.
    """
    joints = _hold_last(_joints(joints_BTJ3), lengths_B)
    return _like(_canonical(joints, retarget=retarget), joints_BTJ3)


def joints_to_features(
    joints_BTJ3: ArrayT,
    lengths_B: Lengths | None = None,
    *,
    retarget: bool = True,
    heading_wrap: HeadingWrap = "continuous",
) -> ArrayT:
    """Compute the features of motions: one row per frame except the last, which has no velocity.

    The result is differentiable except for the foot contacts. The heading of a frame depends on 80
    frames on either side, so features of a cropped motion differ from cropped features.

    Args:
        joints_BTJ3: positions, (..., T, 22, 3), meters, y up, 20 fps, any location and heading.
        lengths_B: number of frames of each motion, (...), at least 2. None: all T.
        retarget: as in :func:`canonical_joints`.
        heading_wrap: see :data:`HeadingWrap`.

    Returns:
        (..., T - 1, D). Rows from ``lengths_B - 1`` on are 0.

    Raises:
        ValueError: as :func:`canonical_joints`, or a motion has fewer than 2 frames.
    """
    raw = _joints(joints_BTJ3)
    if raw.shape[-3] < 2:
        raise ValueError(
            f"joints: expected at least 2 frames, found {raw.shape[-3]}: a row of features needs "
            "the frame after it. Drop the motion."
        )
    joints = _canonical(_hold_last(raw, lengths_B, at_least=2), retarget=retarget)

    half_yaw_BT = _half_yaw(joints)
    yaw_BT = 2 * half_yaw_BT
    root_step = _turn(joints[..., 1:, 0, :] - joints[..., :-1, 0, :], yaw_BT[..., 1:])
    on_root = joints * joints.new_tensor([0.0, 1.0, 0.0]) + (
        (joints - joints[..., :1, :]) * joints.new_tensor([1.0, 0.0, 1.0])
    )
    local = _turn(on_root, yaw_BT[..., None])
    step = joints[..., 1:, :, :] - joints[..., :-1, :, :]
    feet = step[..., list(CONTACT_JOINTS), :].square().sum(-1)
    features = torch.cat(
        [
            _yaw_velocity(half_yaw_BT, heading_wrap)[..., None],
            root_step[..., [0, 2]],
            joints[..., :-1, 0, 1:2],
            local[..., :-1, 1:, :].flatten(-2),
            _rotations_6d(joints, yaw_BT)[..., :-1, :, :].flatten(-2),
            _turn(step, yaw_BT[..., :-1, None]).flatten(-2),
            (feet < CONTACT_THRESHOLD_M2).to(joints.dtype),
        ],
        dim=-1,
    )
    if lengths_B is not None:
        row_T = torch.arange(features.shape[-2], device=features.device)
        real_BT = row_T < torch.as_tensor(lengths_B, device=row_T.device)[..., None] - 1
        features = torch.where(real_BT[..., None], features, 0.0)
    return _like(features, joints_BTJ3)


def features_to_joints(features_BTD: ArrayT) -> ArrayT:
    """Recover joint positions from features; differentiable.

    As published, only the root velocities and the local positions are used, because rotations and
    joint velocities are redundant. Frame t depends only on rows up to t, so padding is harmless.

    Args:
        features_BTD: (..., T, D), not normalized.

    Returns:
        Positions, (..., T, 22, 3), meters, y up; frame 0 at x = z = 0.

    Raises:
        ValueError: the last dimension is not D.
    """
    if features_BTD.ndim < 2 or features_BTD.shape[-1] != NUM_FEATURES:
        raise ValueError(
            f"features: expected (..., T, {NUM_FEATURES}), found {tuple(features_BTD.shape)}. "
            "Pass whole feature vectors, before normalization."
        )
    features = _double(features_BTD)
    yaw_BT, path = root_path(features)
    local = features[..., LOCAL_POSITIONS].unflatten(-1, (_NUM_BONES, 3))
    joints = _turn(local, -yaw_BT[..., None]) + path[..., None, :]
    height = functional.pad(features[..., ROOT_HEIGHT], (1, 1))
    return _like(torch.cat([(path + height)[..., None, :], joints], dim=-2), features_BTD)


def root_path(features_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the turns and steps of the root; differentiable.

    Args:
        features_BTD: (..., T, D), not normalized.

    Returns:
        Heading of each frame, (..., T), in radians about +y against that of frame 0, and place on
        the floor, (..., T, 3), in meters from that of frame 0, with y = 0; same dtype.
    """
    # The velocity of a row leads to the next frame: shift by one row, beginning with 0.
    moved = functional.pad(features_BTD[..., :-1, : ROOT_VELOCITY.stop], (0, 0, 1, 0))
    yaw_BT = 2 * moved[..., 0].cumsum(-1)
    step = torch.stack([moved[..., 1], torch.zeros_like(yaw_BT), moved[..., 2]], dim=-1)
    return yaw_BT, _turn(step, -yaw_BT).cumsum(-2)


def joint_steps(features_BTD: Tensor) -> Tensor:
    """Compute the steps of all joints that :func:`features_to_joints` implies; differentiable.

    Unlike positions, they need no sums over time, so that an error in one frame is not one in all
    frames after it.

    Args:
        features_BTD: (..., T, D), not normalized.

    Returns:
        Displacement of each joint from a row to the next one, (..., T - 1, 22, 3), in meters, in
        the coordinates of the root at the later row; same dtype.
    """
    root = features_BTD[..., :-1, : ROOT_VELOCITY.stop]
    height = features_BTD[..., ROOT_HEIGHT]
    pelvis = functional.pad(height, (1, 1))[..., None, :]
    local = features_BTD[..., LOCAL_POSITIONS].unflatten(-1, (_NUM_BONES, 3))
    joints = torch.cat([pelvis, local], dim=-2)
    moved = torch.stack([root[..., 1], torch.zeros_like(root[..., 1]), root[..., 2]], dim=-1)
    return (
        joints[..., 1:, :, :]
        - _turn(joints[..., :-1, :, :], 2 * root[..., :1])
        + (moved[..., None, :])
    )


def stream_joints(chunks_TD: Iterable[Tensor]) -> Iterator[Tensor]:
    """Apply :func:`features_to_joints` to a motion in chunks, in constant memory.

    Args:
        chunks_TD: chunks of features, (T, D) each, not normalized.

    Yields:
        Positions of each chunk, (T, 22, 3), meters; together they equal those of the whole motion.
    """
    held: Tensor | None = (
        None  # the previous row, whose velocities lead to the first row of the chunk
    )
    yaw = torch.zeros((), dtype=torch.float64)
    place = torch.zeros(3, dtype=torch.float64)
    on_floor = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    for chunk in chunks_TD:
        if not len(chunk):
            continue
        rows = chunk if held is None else torch.cat([held, chunk])
        joints = _turn(features_to_joints(rows).double(), -yaw.expand(len(rows), 1)) + place
        yield joints[len(rows) - len(chunk) :].to(chunk.dtype)
        yaw = yaw + 2 * rows[:-1, 0].double().sum()
        place = joints[-1, 0] * on_floor
        held = rows[-1:]


def mirror_joints(joints_BTJ3: ArrayT) -> ArrayT:
    """Mirror a motion: swap left and right, negate x.

    Args:
        joints_BTJ3: positions, (..., 22, 3).

    Returns:
        Positions, (..., 22, 3).

    Raises:
        ValueError: the last dimensions are not (22, 3).
    """
    joints = _double(joints_BTJ3)
    _check_joint_shape(joints)
    return _like(joints[..., list(MIRROR), :] * joints.new_tensor(_FLIP_X), joints_BTJ3)


def mirror_features(features_BTD: ArrayT) -> ArrayT:
    """Compute the features of the mirrored motion.

    The result equals the features of mirrored joints with one exception: the reference skeleton is
    not symmetric (legs and hips differ by 7 mm), and retargeting a mirrored motion gives every limb
    the length of its new side. :data:`HEADING_TRAP` does not affect the equality.

    Args:
        features_BTD: (..., D), not normalized, because the means are not symmetric.

    Returns:
        Features, (..., D).

    Raises:
        ValueError: the last dimension is not D.
    """
    features = _double(features_BTD)
    if features.shape[-1] != NUM_FEATURES:
        raise ValueError(
            f"features: expected a last dimension of {NUM_FEATURES}, found "
            f"{tuple(features.shape)}. Pass whole feature vectors, before normalization."
        )
    mirrored = features[..., _MIRROR_INDEX_D] * features.new_tensor(_MIRROR_SIGN_D)
    return _like(mirrored, features_BTD)


_FLIP_X: Final = [-1.0, 1.0, 1.0]


def _mirror_tables() -> tuple[list[int], list[float]]:
    """For each mirrored feature: index and sign of the feature that it is taken from."""
    index = np.arange(NUM_FEATURES)
    sign = np.ones(NUM_FEATURES)
    sign[ROOT_YAW_VELOCITY] = -1
    sign[ROOT_VELOCITY] = _FLIP_X[0], _FLIP_X[2]
    mirror = np.array(MIRROR)
    # A mirrored rotation is M R M with M = diag(-1, 1, 1); these are the signs of two columns.
    columns = np.array([1.0, -1.0, -1.0, -1.0, 1.0, 1.0])
    for group, swap, flip in (
        (LOCAL_POSITIONS, mirror[1:] - 1, _FLIP_X),
        (LOCAL_ROTATIONS, mirror[1:] - 1, columns),
        (LOCAL_VELOCITIES, mirror, _FLIP_X),
    ):
        index[group] = index[group].reshape(len(swap), -1)[swap].ravel()
        sign[group] = np.tile(flip, len(swap))
    order = [CONTACT_JOINTS.index(MIRROR[joint]) for joint in CONTACT_JOINTS]
    index[FOOT_CONTACTS] = index[FOOT_CONTACTS][order]
    return index.tolist(), sign.tolist()


_MIRROR_INDEX_D, _MIRROR_SIGN_D = _mirror_tables()


_SIDE_WORDS: Final = {"left": "right", "right": "left"}
_NO_SIDE: Final = (
    r"right (?:away|now|angles?|back up)",
    r"(?:he|she|they|who|it|person|man|woman|has|have|had) left (?:the|a|an|off|behind|home|for)",
    r"(?:nothing|anything|what is|what's) left",
)
_MIRRORED_WORDS: Final = re.compile(
    rf"\b(?P<keep>{'|'.join(_NO_SIDE)})\b"
    r"|\b(?P<article>an )?(?:counter|anti)[- ]?(?P<clock>clockwise)\b"
    r"|\b(?P<clockwise>clockwise)\b"
    r"|\bup(?P<upleft>left)\b"
    r"|\b(?P<side>left|right)(?=(?:s|y|wards?|most|hand|handed|foot|footed|side)?\b)",
    re.IGNORECASE,
)


def mirror_text(text: str) -> str:
    """Rewrite a description for the mirrored motion.

    The words left and right are swapped, including forms such as leftward, left-handed and lefts,
    and so are clockwise and counterclockwise (anticlockwise becomes clockwise, which becomes
    counterclockwise). Words that merely contain them (upright) are kept, and so are fixed phrases
    without a side: "right away", "right now", "right angle", "gets right back up", "he left the
    room", "what is left". Ambiguous cases are swapped: "steps right before turning" refers to a
    side far more often than to a moment in such texts.
    """

    def swapped(match: re.Match[str]) -> str:
        word = match.group()
        if match["keep"]:
            return word
        if match["clock"]:
            return _in_case_of(word, "a clockwise" if match["article"] else "clockwise")
        if match["clockwise"]:
            return _in_case_of(word, "counterclockwise")
        if match["upleft"]:  # not "upright", which is another word
            return _in_case_of(word, "up right")
        return _in_case_of(word, _SIDE_WORDS[word.lower()])

    return _MIRRORED_WORDS.sub(swapped, text)


def _in_case_of(old: str, new: str) -> str:
    if old.isupper():
        return new.upper()
    return new.capitalize() if old[0].isupper() else new


def _double(array: NDArray[np.floating[Any]] | Tensor) -> Tensor:
    if isinstance(array, Tensor):
        return array.double()
    return torch.from_numpy(np.array(array, dtype=np.float64))


def _like(result: Tensor, given: ArrayT) -> ArrayT:
    """Convert a result to the array type and dtype of the caller's argument."""
    if isinstance(given, Tensor):
        return result.to(given.dtype)
    return result.detach().numpy().astype(given.dtype, copy=False)


def _check_joint_shape(joints: Tensor) -> None:
    if joints.ndim < 2 or tuple(joints.shape[-2:]) != (NUM_JOINTS, 3):
        raise ValueError(
            f"joints: expected (..., {NUM_JOINTS}, 3), found {tuple(joints.shape)}. "
            "Convert the motion to the 22-joint skeleton first."
        )


def _joints(joints_BTJ3: NDArray[np.floating[Any]] | Tensor) -> Tensor:
    joints = _double(joints_BTJ3)
    _check_joint_shape(joints)
    if joints.ndim < 3 or joints.shape[-3] < 1:
        raise ValueError(
            f"joints: expected (..., T, {NUM_JOINTS}, 3) with at least 1 frame, found "
            f"{tuple(joints.shape)}. Pass a sequence of frames."
        )
    return joints


def _hold_last(joints: Tensor, lengths_B: Lengths | None, at_least: int = 1) -> Tensor:
    """Replace padding by the last frame of the motion.

    The floor and the edge mode of the smoothing filter are then independent of the lengths.
    """
    if lengths_B is not None:
        lengths = torch.as_tensor(lengths_B, device=joints.device)
        num_frames = joints.shape[-3]
        if lengths.shape != joints.shape[:-3]:
            raise ValueError(
                f"lengths: expected one per motion, shape {tuple(joints.shape[:-3])}, found "
                f"{tuple(lengths.shape)}. Pass the frame count of every motion of the batch."
            )
        if lengths.min() < at_least or lengths.max() > num_frames:
            raise ValueError(
                f"lengths: expected {at_least}..{num_frames} frames, found "
                f"{int(lengths.min())}..{int(lengths.max())}. Drop motions that are too short; "
                "count frames of joints, not rows of features."
            )
        frame_T = torch.arange(num_frames, device=joints.device)
        frame_BT = torch.minimum(frame_T, lengths[..., None].long() - 1)
        joints = joints.take_along_dim(frame_BT[..., None, None], dim=-3)
    finite = joints.isfinite()
    if not finite.all():
        index = (~finite).nonzero()[0].tolist()
        raise ValueError(
            f"joints: expected finite positions, found {int((~finite).sum())} others, the first in "
            f"frame {index[-3]}, joint {JOINT_NAMES[index[-2]]} (index {index}). "
            "Leave the motion out: data.motion.quality.find_flaws names such motions."
        )
    return joints


def _turn(vectors: Tensor, yaw: Tensor) -> Tensor:
    """Rotate (..., 3) about +y by ``yaw`` (...), radians."""
    x, y, z = vectors.unbind(-1)
    cos, sin = yaw.cos(), yaw.sin()
    return torch.stack([cos * x + sin * z, y.expand_as(cos * x), cos * z - sin * x], dim=-1)


def bones_without_direction(joints_BTJ3: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Find bones whose direction is undefined, even by the child of their end, (..., T, N).

    Also marks the right shin if the right leg has no length in frame 0, by which the root is
    scaled.
    """
    vectors, lengths = _bone_vectors(_double(joints_BTJ3))
    pointless = torch.linalg.vector_norm(vectors, dim=-1) < MIN_BONE_M
    pointless[..., 0, _RIGHT_LEG[-1]] |= lengths[..., 0, _RIGHT_LEG].sum(-1) < MIN_BONE_M
    return pointless.numpy()


def _bone_vectors(joints: Tensor) -> tuple[Tensor, Tensor]:
    """Vector, (..., N, 3), not normalized, and length, (..., N), of each bone."""
    starts = joints[..., list(PARENTS[1:]), :]
    bones = joints[..., 1:, :] - starts
    lengths = torch.linalg.vector_norm(bones, dim=-1)
    flat = lengths < MIN_BONE_M
    if flat.any():
        children = _FIRST_CHILD[1:]
        beyond = joints[..., [child if child >= 0 else 0 for child in children], :] - starts
        has_child = torch.tensor([child >= 0 for child in children], device=joints.device)
        bones = torch.where((flat & has_child)[..., None], beyond, bones)
    return bones, lengths


def _bones(joints: Tensor) -> tuple[Tensor, Tensor]:
    """Unit direction, (..., N, 3), and length, (..., N), of each bone."""
    bones, lengths = _bone_vectors(joints)
    norms = torch.linalg.vector_norm(bones, dim=-1, keepdim=True)
    if (norms < MIN_BONE_M).any():
        index = (norms[..., 0] < MIN_BONE_M).nonzero()[0].tolist()
        raise ValueError(
            f"joints: expected joints in different places, found {JOINT_NAMES[index[-1] + 1]} on "
            f"its parent in frame {index[-2]} (index {index}). Leave the motion out: "
            "data.motion.quality.find_flaws names such motions."
        )
    return bones / norms, lengths


def _canonical(joints: Tensor, *, retarget: bool) -> Tensor:
    if retarget:
        directions, lengths = _bones(joints)
        target_N = joints.new_tensor([REFERENCE_BONE_LENGTHS_M[name] for name in JOINT_NAMES[1:]])
        leg_B1 = lengths[..., :1, _RIGHT_LEG].sum(-1)
        if (leg_B1 < MIN_BONE_M).any():
            raise ValueError(
                "joints: expected a right leg in frame 0, found its joints in one place. Leave the "
                "motion out: data.motion.quality.find_flaws names such motions."
            )
        scale = target_N[_RIGHT_LEG].sum() / leg_B1
        bones = directions * target_N[:, None]
        placed = [joints[..., 0, :] * scale[..., None]]
        for joint in range(1, NUM_JOINTS):
            placed.append(placed[PARENTS[joint]] + bones[..., joint - 1, :])
        joints = torch.stack(placed, dim=-2)

    floor = joints[..., 1].amin(dim=(-2, -1))
    root = joints[..., 0, 0, :]
    origin = torch.stack([root[..., 0], floor, root[..., 2]], dim=-1)
    forward = _forward(joints[..., :1, :, :], _FACING_AXIS)
    yaw = -torch.atan2(forward[..., 0], forward[..., 1])
    return _turn(joints - origin[..., None, None, :], yaw[..., None])


def _forward(joints: Tensor, axis: Mapping[str, float]) -> Tensor:
    """Components x and z of the cross product of up and the unit across-body axis, (..., T, 2)."""
    weights = joints.new_tensor(list(axis.values()))
    across = weights @ joints[..., [JOINT[name] for name in axis], :]
    across = functional.normalize(across, dim=-1)
    return torch.stack([across[..., 2], -across[..., 0]], dim=-1)


def _half_yaw(joints: Tensor) -> Tensor:
    """Half the rotation about y that maps the smoothed heading to +z, (..., T), in ±pi/2."""
    forward = _forward(joints, HEADING_TRAP)
    radius = _HEADING_RADIUS_FRAMES
    offset_K = torch.arange(-radius, radius + 1, dtype=joints.dtype, device=joints.device)
    kernel_K = torch.softmax(-0.5 * (offset_K / HEADING_SIGMA_FRAMES).square(), dim=0)
    signal = forward.movedim(-2, -1)  # (..., 2, T)
    flat = functional.pad(signal.reshape(-1, 1, signal.shape[-1]), (radius, radius), "replicate")
    smooth = functional.conv1d(flat, kernel_K[None, None]).reshape(signal.shape)
    half_yaw = -torch.atan2(smooth[..., 0, :], smooth[..., 1, :]) / 2
    # As published, the heading of frame 0 is +z instead of the smoothed one.
    return torch.cat([torch.zeros_like(half_yaw[..., :1]), half_yaw[..., 1:]], dim=-1)


def _yaw_velocity(half_yaw_BT: Tensor, wrap: HeadingWrap) -> Tensor:
    change = half_yaw_BT.diff(dim=-1)
    if wrap == "published":
        return change.sin().asin()
    # Half angles a and a + pi describe the same rotation.
    return change - torch.pi * (change / torch.pi).round()


def _rotations_6d(joints: Tensor, yaw_BT: Tensor) -> Tensor:
    """First two columns of each joint's rotation relative to its parent, (..., T, N, 6)."""
    directions, _ = _bones(joints)
    rest_N3, flip_N3 = _REST_N3.to(joints.device), _FLIP_AXIS_N3.to(joints.device)
    # The shortest rotation from the rest direction to the bone, with axis k = rest x bone and
    # c = rest . bone, is c I + [k]x + k k' / (1 + c), or half a turn if they are opposite.
    axis = torch.linalg.cross(rest_N3.expand_as(directions), directions)
    cosine = (rest_N3 * directions).sum(-1)[..., None, None]
    identity = torch.eye(3, dtype=joints.dtype, device=joints.device)
    zero = torch.zeros_like(axis[..., 0])
    x, y, z = axis.unbind(-1)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    opposite = 1 + cosine < 1e-12
    outer = axis[..., :, None] * axis[..., None, :] / torch.where(opposite, 1.0, 1 + cosine)
    half_turn = 2 * flip_N3[:, :, None] * flip_N3[:, None, :] - identity
    global_N = torch.where(opposite, half_turn, cosine * identity + skew + outer)

    root = _turn(identity, yaw_BT[..., None]).mT[..., None, :, :]  # rotated rows: the transpose
    parents = torch.cat([root, global_N], dim=-3)[..., _ROTATION_PARENTS_N, :, :]
    local = parents.mT @ global_N[..., :2]
    return local.mT.flatten(-2)
