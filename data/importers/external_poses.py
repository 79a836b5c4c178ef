"""Read the results of other pose estimators: ``.npz`` files with one row per person and frame.

The arrays, N rows in any order (``docs/pose_estimators.md``):

- ``joints_3d`` (N, J, 3) floats, meters. J = 22 joints of SMPL, or any number with ``joint_names``.
- ``pts_s`` (N) floats: seconds since the first frame of the video; or ``frame`` (N) integers:
  frames since the first one, at the frame rate ``fps`` (by default that of the video).
- ``track`` (N) integers, optional: the person; by default there is one.
- ``confidence`` (N) or (N, J) floats in 0..1, optional; by default 1.
- ``joints_2d`` (N, J, 2) floats, optional: pixels of the upright video, x right, y down.
- ``space``, optional text. ``world`` (the default): y up. ``camera``: x right, y down, z forward,
  as OpenCV has it.
- ``joint_names`` (J) texts, optional: names that include the 22 of :mod:`data.motion.skeleton`.
- ``focal_px``, optional number: focal length that puts joints in ``camera`` into the image.

Headers are read before values, and nothing is unpickled.

Shapes: N rows, J joints of the file, then the 22 of the skeleton.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from data.arrays import FloatArray, IndexArray
from data.errors import ItemError, Reason
from data.importers.archives import MAX_ARRAY_BYTES, file_chunks, open_archive, open_npz_member
from data.motion.skeleton import FPS, JOINT, JOINT_NAMES, NUM_JOINTS
from data.motion_records import ContentId, Found, ImportedMotion, Pending
from data.plain_text import MAX_MESSAGE_CHARS, plain_text

MAX_GAP_S: Final = 0.5
"""Longest time without a row inside a motion that is imported."""
MIN_CREDIBLE: Final = 0.5
"""Confidence from which a joint was seen, as for the motions of the built-in estimator."""
_MAX_FACT_BYTES: Final = 64_000_000
_MIN_SIZE_M, _MAX_SIZE_M = 0.3, 4.0
"""Median extent of a body. Other sizes are other units."""
_MIN_UPRIGHT: Final = -0.3
"""Correlation of the heights of joints in space and in the image. It is near 1 where y is up in
both, near -1 where one is upside down, and near 0 where a body lies or is seen from above."""
_REMEDY: Final = "Correct the program that wrote it, see docs/pose_estimators.md."


@dataclass(frozen=True, slots=True)
class ExternalPoses:
    """People over time, as another estimator gives them. Rows are sorted by track, then by time.

    Attributes:
        track_N: (N,) ids of the people.
        pts_N: (N,) seconds since the first frame of the video, ascending in each track.
        joints_NJ3: (N, 22, 3) meters, x to the viewer's right, y up, z toward the viewer.
        confidence_NJ: (N, 22) in 0..1.
        pixels_NJ2: (N, 22, 2) pixels, or None.
        in_camera: whether the positions are relative to the camera at each frame.
        focal_px: focal length in pixels, or None.
    """

    track_N: IndexArray
    pts_N: FloatArray
    joints_NJ3: FloatArray
    confidence_NJ: FloatArray
    pixels_NJ2: FloatArray | None
    in_camera: bool
    focal_px: float | None

    def rows(self, chosen: NDArray[Any]) -> "ExternalPoses":
        """Return a part of the rows."""
        return ExternalPoses(
            self.track_N[chosen],
            self.pts_N[chosen],
            self.joints_NJ3[chosen],
            self.confidence_NJ[chosen],
            None if self.pixels_NJ2 is None else self.pixels_NJ2[chosen],
            self.in_camera,
            self.focal_px,
        )


def is_external(members: Collection[str]) -> bool:
    """Return whether a ``.npz`` with members of these names has this form."""
    return "joints_3d" in members and bool({"pts_s", "frame"} & set(members))


def read_external_poses(path: Path, video_fps: Fraction | None = None) -> ExternalPoses:
    """Read and check the results of an estimator.

    Args:
        path: the ``.npz`` file.
        video_fps: frame rate for ``frame`` without ``fps``.

    Raises:
        ItemError: the file cannot be read, an array is missing, or has another shape, too many
            bytes or values that cannot be.
    """
    with open_archive(path) as archive:
        file = _File(path, archive)
        joints_NJ3 = file.floats("joints_3d", "(N, J, 3)", 3)
        count, num_joints, axes = joints_NJ3.shape
        if axes != 3:
            raise file.wrong("joints_3d of (N, J, 3)", f"{joints_NJ3.shape}")
        order_J = _order(file, num_joints)
        pts_N = _times(file, count, video_fps)
        track_N = _ids(file, count)
        pixels = file.optional_floats("joints_2d", ((count, num_joints, 2),))
        seen = file.optional_floats("confidence", ((count,), (count, num_joints)))
        in_camera = _space(file) == "camera"
        focal_px = file.number("focal_px")
    if seen is None:
        seen = np.ones(count)
    if seen.size and not (seen.min() >= 0 and seen.max() <= 1):
        raise file.wrong("confidence in 0..1", f"{seen.min():g} to {seen.max():g}")
    if focal_px is not None and not focal_px > 0:
        raise file.wrong("a focal_px above 0", f"{focal_px:g}")
    seen_NJ = seen[:, order_J] if seen.ndim == 2 else np.repeat(seen[:, None], NUM_JOINTS, axis=1)
    # OpenCV's axes point right, down and away from the camera.
    signs = np.array([1.0, -1.0, -1.0] if in_camera else [1.0, 1.0, 1.0], joints_NJ3.dtype)
    sorted_N = np.lexsort((pts_N, track_N))
    poses = ExternalPoses(
        track_N,
        pts_N,
        joints_NJ3[:, order_J] * signs,
        seen_NJ,
        None if pixels is None else pixels[:, order_J],
        in_camera,
        focal_px,
    ).rows(sorted_N)
    _check(file, poses)
    return poses


def find_external_poses(path: Path) -> Found:
    """Find the motions of the people of a file, which are imported without their video.

    Args:
        path: the ``.npz`` file.

    Raises:
        ItemError: as :func:`read_external_poses`.
    """
    with open_archive(path) as archive:
        file = _File(path, archive)
        tracks = np.unique(_ids(file, file.num_rows)).tolist()
    content = ContentId("external", file_chunks(path))
    for track in tracks:
        motion_id, name = content.with_parts(str(track)), f"{path.stem}/{track}"
        item = plain_text(f"{path}:{track}", MAX_MESSAGE_CHARS)
        read = partial(_read, path, track, motion_id, item, name)
        yield Pending(motion_id, plain_text(name, MAX_MESSAGE_CHARS), item, read)


def _read(path: Path, track: int, motion_id: str, item: str, name: str) -> ImportedMotion:
    poses = read_external_poses(path)
    poses = poses.rows(poses.track_N == track)
    fps, joints_TJ3, confidence_TJ = _at_constant_rate(poses, item)
    credible_TJ = confidence_TJ >= MIN_CREDIBLE
    return ImportedMotion(
        motion_id=motion_id,
        source="joints",
        source_path=item,
        source_id=name,
        fps=fps,
        joints_TJ3=joints_TJ3.astype(np.float32),
        group=f"external/{path.stem}",
        quality=float(poses.confidence_NJ.mean()),
        credible_TJ=None if credible_TJ.all() else credible_TJ,
    )


def _at_constant_rate(poses: ExternalPoses, item: str) -> tuple[Fraction, FloatArray, FloatArray]:
    """Return one person at a constant frame rate, interpolated if there is none.

    Returns:
        Frame rate, joints (T, 22, 3) and confidence (T, 22).
    """
    pts_N = poses.pts_N
    steps_s = np.diff(pts_N)
    if not len(steps_s):
        return Fraction(FPS), poses.joints_NJ3, poses.confidence_NJ
    if steps_s.max() > MAX_GAP_S + 1e-6:
        raise ItemError(
            Reason.WRONG_FORM,
            f"expected at most {MAX_GAP_S:g} s between the rows of a person in {item}, found "
            f"{steps_s.max():.2f} s.",
            "Give the parts of the motion different values of track.",
        )
    step_s = float(np.median(steps_s))
    if np.abs(steps_s - step_s).max() < 0.1 * step_s and 1 <= 1 / step_s <= 1000:
        rate = (len(pts_N) - 1) / float(pts_N[-1] - pts_N[0])
        return Fraction(rate).limit_denominator(1001), poses.joints_NJ3, poses.confidence_NJ
    grid_T = np.arange(pts_N[0], pts_N[-1] + 1e-9, 1 / FPS)
    joints_TC, confidence_TJ = (
        np.stack([np.interp(grid_T, pts_N, column_N) for column_N in values_NC.T], axis=1)
        for values_NC in (poses.joints_NJ3.reshape(len(pts_N), -1), poses.confidence_NJ)
    )
    return Fraction(FPS), joints_TC.reshape(-1, NUM_JOINTS, 3), confidence_TJ


class _File:
    """The arrays of an open file, each checked by its header before it is read."""

    def __init__(self, path: Path, archive: ZipFile) -> None:
        self.path = path
        self._archive = archive
        self._members: Mapping[str, ZipInfo] = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def num_rows(self) -> int:
        """N, by the header of ``joints_3d``."""
        with open_npz_member(self._archive, self._members["joints_3d"]) as array:
            return array.shape[0] if array.shape else 0

    def floats(self, name: str, shape: str, num_axes: int) -> FloatArray:
        """Read a required array of finite floats."""
        if name not in self._members:
            found = ", ".join(sorted(self._members)[:8]) or "no array"
            raise self.wrong(f"an array {name} of {shape}", plain_text(found))
        return self._read(name, "f", shape, num_axes)

    def optional_floats(
        self, name: str, shapes: tuple[tuple[int, ...], ...]
    ) -> NDArray[np.float64] | None:
        """Read an optional array of finite floats that has one of the shapes."""
        if name not in self._members:
            return None
        wanted = " or ".join(str(shape) for shape in shapes)
        return self._read(name, "f", wanted, None, shapes).astype(np.float64)

    def values(self, name: str, kinds: str, count: int) -> NDArray[Any]:
        """Read an array of one value per row."""
        return self._read(name, kinds, f"({count},)", None, ((count,),))

    def texts(self, name: str) -> list[str]:
        """Read an array of texts."""
        return [str(text) for text in self._read(name, "U", "texts", None).ravel()]

    def number(self, name: str) -> float | None:
        """Read an optional number."""
        if name not in self._members:
            return None
        return float(self._read(name, "fiu", "one number", None, ((), (1,))).reshape(()))

    def wrong(self, expected: str, found: str) -> ItemError:
        """Return the error of a file that has another form."""
        return ItemError(
            Reason.WRONG_FORM, f"expected {expected} in {self.path}, found {found}.", _REMEDY
        )

    def _read(
        self,
        name: str,
        kinds: str,
        wanted: str,
        num_axes: int | None,
        shapes: tuple[tuple[int, ...], ...] = (),
    ) -> NDArray[Any]:
        with open_npz_member(self._archive, self._members[name]) as array:
            fits = (not shapes or array.shape in shapes) and (
                num_axes is None or len(array.shape) == num_axes
            )
            if array.dtype.kind not in kinds or not fits:
                raise self.wrong(f"{name} of {wanted}", f"{array.dtype} of {array.shape}")
            limit = MAX_ARRAY_BYTES if array.dtype.kind == "f" else _MAX_FACT_BYTES
            values = array.read(limit)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            rows_NX = np.atleast_1d(values).reshape(values.shape[0] if values.shape else 1, -1)
            bad = int((~np.isfinite(rows_NX)).any(axis=1).sum())
            raise ItemError(
                Reason.NON_FINITE,
                f"expected finite numbers in {name} of {self.path}, found others in {bad} rows.",
                "Leave out the rows of frames in which the person was not found.",
            )
        return values


def _order(file: _File, num_joints: int) -> list[int]:
    """Return the index of each joint of the skeleton in the file."""
    if "joint_names" not in file:
        if num_joints != NUM_JOINTS:
            raise file.wrong(
                f"joints_3d of (N, {NUM_JOINTS}, 3), or joint_names", f"{num_joints} joints"
            )
        return list(range(NUM_JOINTS))
    names = file.texts("joint_names")
    places = {name: index for index, name in enumerate(names)}
    lacking = [name for name in JOINT_NAMES if name not in places]
    if len(names) != num_joints or lacking:
        found = f"{len(names)} names for {num_joints} joints"
        found += f", without {', '.join(lacking[:4])}" if lacking else ""
        raise file.wrong("joint_names with the joints of the skeleton", found)
    return [places[name] for name in JOINT_NAMES]


def _times(file: _File, count: int, video_fps: Fraction | None) -> NDArray[np.float64]:
    if "pts_s" in file:
        return file.values("pts_s", "f", count).astype(np.float64)
    if "frame" not in file:
        raise file.wrong("an array pts_s or frame", "neither")
    fps = file.number("fps") or (float(video_fps) if video_fps is not None else 0.0)
    if not 1 <= fps <= 1000:
        raise file.wrong("a number fps of 1 to 1000", f"{fps:g}")
    return file.values("frame", "iu", count).astype(np.float64) / fps


def _ids(file: _File, count: int) -> IndexArray:
    if "track" not in file:
        return np.zeros(count, np.intp)
    return file.values("track", "iu", count).astype(np.intp)


def _space(file: _File) -> str:
    named = file.texts("space") if "space" in file else ["world"]
    if named not in (["world"], ["camera"]):
        raise file.wrong("the space world or camera", plain_text(", ".join(named[:3]), 100))
    return named[0]


def _check(file: _File, poses: ExternalPoses) -> None:
    """Check what values of the right shape can still have wrong."""
    if not len(poses.pts_N):
        return
    same = (np.diff(poses.track_N) == 0) & (np.diff(poses.pts_N) <= 1e-6)
    if same.any():
        at_s = float(poses.pts_N[1:][same][0])
        raise file.wrong("one row per person and time", f"two of one track at {at_s:.3f} s")
    extents_N = np.ptp(poses.joints_NJ3, axis=1).max(axis=1)
    size_m = float(np.median(extents_N))
    if not _MIN_SIZE_M <= size_m <= _MAX_SIZE_M:
        raise file.wrong(
            f"bodies of {_MIN_SIZE_M:g} to {_MAX_SIZE_M:g} m", f"{size_m:g}; the unit is meters"
        )
    if poses.pixels_NJ2 is not None:
        heights_NJ = poses.joints_NJ3[:, :, 1] - poses.joints_NJ3[:, JOINT["pelvis"], None, 1]
        rises_NJ = poses.pixels_NJ2[:, JOINT["pelvis"], None, 1] - poses.pixels_NJ2[:, :, 1]
        size = np.linalg.norm(heights_NJ, axis=1) * np.linalg.norm(rises_NJ, axis=1)
        agree_N = (heights_NJ * rises_NJ).sum(axis=1) / np.maximum(size, 1e-9)
        if float(np.median(agree_N)) < _MIN_UPRIGHT:
            raise file.wrong(
                "y up in the space world and y down in the space camera",
                "bodies that are upside down compared to joints_2d",
            )
