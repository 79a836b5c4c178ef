"""Estimate pose tracks of the people in a clip: 22 joints in 3-D and 2-D at 20 fps.

:mod:`annotators.poses.tracking` tracks people as 33 BlazePose landmarks in the analyzed frames.
This module converts them to the joints of :mod:`data.motion.skeleton` on a uniform time grid: it
fills and marks short gaps, smooths the joints and makes the bone lengths constant.
:mod:`annotators.poses.world` places the people in one space.

Shapes: M measured frames, T frames at 20 fps, N = 33 landmarks, J = 22 joints. 3-D positions are in
meters, x to the viewer's right, y up, z toward the camera. 2-D positions are in pixels of the
source video, y down.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field, model_validator

from annotators.clips.background import BackgroundMotion, CameraPath
from annotators.objects.scene import SceneWatch, Sighting, objects_near
from annotators.poses.networks.landmarks import NUM_LANDMARKS, PoseModel
from annotators.poses.programs import ExternalPoseConfig
from annotators.poses.side_swaps import find_side_swaps, swap_sides
from annotators.poses.tracking.parts import PartTrack, PartTracker
from annotators.poses.tracking.tracker import PeopleTracker
from annotators.poses.tracking.tracklets import Observation, Tracklet
from annotators.poses.trajectory import Lens
from annotators.poses.world import MIN_MEASURED_SHARE, Placed, View, root_trajectories, upright
from data.arrays import BoolArray, FloatArray, IndexArray
from data.config import Config
from data.errors import ItemError, Reason
from data.motion.skeleton import FPS, JOINT, JOINT_NAMES, MIRROR, NUM_JOINTS, PARENTS
from data.records import Clip, Frame, PoseTrack, VideoProbe

_SHORT_S: Final = 1.0
_SHORT_MIN_QUALITY: Final = 0.7
"""Tracks shorter than one second need a higher quality, because false detections are short, unless
both object detectors see the person. The one known false track (a hand at a bottle, 0.9 s) measures
0.62; short tracks of whole people measure 0.8 or more."""

_SURE_TRACK_SHARE: Final = 0.6
"""Share of the shortest time for which somebody is tracked whom both object detectors see. Shots of
a film and people who cross its edge are short; false detections, which the limit is for, are not
seen by both."""


class PoseConfig(Config):
    """How people are detected and tracked, and how tracks become motion."""

    estimator: Literal["mediapipe", "command", "results"] = Field(
        default="mediapipe",
        description="mediapipe: built in. command: the program of poses.external. results: the "
        "files of poses.external.",
    )
    external: ExternalPoseConfig | None = Field(
        default=None, description="Settings of the estimators command and results."
    )
    max_people: int = Field(default=4, ge=1, le=32, description="People tracked at a time.")
    sample_fps: float = Field(
        default=20.0, gt=0, le=60, description="Frames per second to analyze."
    )
    max_side_px: int = Field(
        default=960, ge=224, description="Larger frames are scaled down to this longer side."
    )
    search_interval_s: float = Field(
        default=1.0, gt=0, description="Time between searches for new people."
    )
    check_interval_s: float = Field(
        default=0.3, gt=0, description="Time between checks of a tracked person."
    )
    object_interval_s: float = Field(
        default=0.5, gt=0, description="Time between looks of the object detectors."
    )
    min_detection: float = Field(
        default=0.5, gt=0, lt=1, description="Smallest score of a face that is proposed."
    )
    min_presence: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Smallest probability of a person, by the landmark network.",
    )
    max_gap_s: float = Field(
        default=0.5,
        ge=0,
        description="Shorter gaps are filled and marked; longer gaps split a track.",
    )
    min_track_s: float = Field(
        default=0.5,
        ge=0,
        description="Shorter tracks are dropped; three fifths suffice for people whom both object "
        "detectors see.",
    )
    min_reliability: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Smallest share of a track's checks that confirm a real person.",
    )
    min_quality: float = Field(
        default=0.2, ge=0, le=1, description="Tracks with a lower mean confidence are dropped."
    )
    smoothing: Literal["one_euro", "savgol", "none"] = Field(
        default="one_euro", description="Filter against jitter; no filter delays the motion."
    )
    body_height_m: float = Field(
        default=1.7,
        gt=0.3,
        lt=2.6,
        description="Assumed body height, which one camera cannot measure.",
    )
    focal_length_widths: float = Field(
        default=1.1, gt=0.2, lt=10, description="Assumed focal length, in longer image sides."
    )

    @model_validator(mode="after")
    def _check_external(self) -> "PoseConfig":
        external = self.external
        given = external is not None and {
            "command": bool(external.command),
            "results": external.results is not None,
        }.get(self.estimator, True)
        if self.estimator != "mediapipe" and not given:
            raise ValueError(
                f"external.{self.estimator}: expected a value for the estimator "
                f"{self.estimator}, found none. Remedy: set poses.external.{self.estimator}."
            )
        if self.estimator == "mediapipe" and external is not None:
            raise ValueError(
                "external: expected none with the estimator mediapipe, found one. "
                "Remedy: set poses.estimator to command or results."
            )
        return self

    def recipe(self) -> dict[str, Any]:
        """Return the fields that affect the rows."""
        recipe = self.model_dump(mode="json", exclude={"estimator", "external"})
        if self.external is not None:
            # Another machine may have another path of the program; its name stands for it.
            recipe["external"] = self.external.model
        return recipe


_TOUCHING: Final = tuple(
    f"{side}_{part}" for part in ("wrist", "hip", "ankle") for side in ("left", "right")
)
_MIN_TOUCHING: Final = 0.3

_LANDMARK: Final = {
    "left_ear": 7,
    "right_ear": 8,
    "left_shoulder": 11,
    "right_shoulder": 12,
    "left_elbow": 13,
    "right_elbow": 14,
    "left_wrist": 15,
    "right_wrist": 16,
    "left_hip": 23,
    "right_hip": 24,
    "left_knee": 25,
    "right_knee": 26,
    "left_ankle": 27,
    "right_ankle": 28,
    "left_heel": 29,
    "right_heel": 30,
    "left_toes": 31,
    "right_toes": 32,
}

# Positions on the line from the hip center (0) to the shoulder center (1), and of the neck and head
# above it, measured on the joints of a standing HumanML3D body (reference clip 000021, frame 0).
_TRUNK_SHARE: Final = {"pelvis": 0.17, "spine1": 0.41, "spine2": 0.66, "spine3": 0.80}
_COLLAR_SHARE = 0.38
_NECK_TRUNK_SHARE, _NECK_HEAD_SHARE = 0.11, 0.25
_HEAD_SHARE = 0.9
_BALL_SHARE = 0.7
"""The SMPL foot joint is the ball of the foot: 0.7 of the way from the heel to the toe tip."""

_BONE_SHARE: Final = {
    "left_hip": 0.064,
    "spine1": 0.074,
    "left_knee": 0.231,
    "spine2": 0.077,
    "left_ankle": 0.246,
    "spine3": 0.043,
    "left_foot": 0.084,
    "neck": 0.118,
    "left_collar": 0.082,
    "head": 0.061,
    "left_shoulder": 0.075,
    "left_elbow": 0.165,
    "left_wrist": 0.150,
}
"""Bone lengths as shares of the body height, by the joint at the end of the bone. The right side
equals the left. The segment lengths are from Winter, Biomechanics and Motor Control of Human
Movement (fig. 4.1), adapted to the joint centers of SMPL."""

_BONE_FREEDOM = 0.2
"""Largest deviation of a body's proportions from the average. Larger deviations are more likely
errors of the network's depth."""


def _joint_weights() -> FloatArray:
    weights_JN = np.zeros((NUM_JOINTS, NUM_LANDMARKS))

    def add(joint: str, landmark: str, weight: float) -> None:
        weights_JN[JOINT[joint], _LANDMARK[landmark]] += weight

    def add_middle(joint: str, part: str, weight: float) -> None:
        for side in ("left", "right"):
            add(joint, f"{side}_{part}", weight / 2)

    for side in ("left", "right"):
        for part in ("hip", "shoulder", "elbow", "wrist", "knee", "ankle"):
            add(f"{side}_{part}", f"{side}_{part}", 1)
        add(f"{side}_foot", f"{side}_heel", 1 - _BALL_SHARE)
        add(f"{side}_foot", f"{side}_toes", _BALL_SHARE)
        add_middle(f"{side}_collar", "shoulder", 1 - _COLLAR_SHARE)
        add(f"{side}_collar", f"{side}_shoulder", _COLLAR_SHARE)
    for joint, share in _TRUNK_SHARE.items():
        add_middle(joint, "hip", 1 - share)
        add_middle(joint, "shoulder", share)
    add_middle("neck", "hip", -_NECK_TRUNK_SHARE)
    add_middle("neck", "shoulder", 1 + _NECK_TRUNK_SHARE - _NECK_HEAD_SHARE)
    add_middle("neck", "ear", _NECK_HEAD_SHARE)
    add_middle("head", "shoulder", 1 - _HEAD_SHARE)
    add_middle("head", "ear", _HEAD_SHARE)
    return weights_JN


JOINT_WEIGHTS_JN: Final = _joint_weights()
"""Affine combination of landmarks that gives each joint, (22, 33), used in 3-D and in the image."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A track before its person has a place in the world.

    Attributes:
        pts_T: (T,) times of the frames, seconds.
        pixels_TJ2: (T, 22, 2) joints in the image, pixels.
        valid_T: (T,) whether the frame was measured.
        placed: joints and pelvis in world axes.
        size_px: median size of the person in the image.
    """

    pts_T: FloatArray
    pixels_TJ2: FloatArray
    valid_T: BoolArray
    placed: Placed
    size_px: float

    @property
    def quality(self) -> float:
        """Mean confidence over the measured frames, 0..1."""
        return float(self.placed.confidence_TJ[self.valid_T].mean())

    def track(self, number: int, person: Placed, root_T3: FloatArray) -> PoseTrack:
        """Return the track of the person in the final axes, with the root trajectory, (T, 3)."""
        return PoseTrack(
            track_id=number,
            pts_s=self.pts_T.astype(np.float64),
            joints_3d=person.body_TJ3.astype(np.float32),
            root_trajectory=root_T3.astype(np.float32),
            joints_2d=self.pixels_TJ2.astype(np.float32),
            confidence=self.placed.confidence_TJ.astype(np.float32),
            valid=self.valid_T,
            quality=self.quality,
        )


def estimate_poses(
    frames: Iterable[Frame],
    clip: Clip,
    probe: VideoProbe,
    config: PoseConfig,
    model: PoseModel,
    watch: SceneWatch,
) -> list[PoseTrack]:
    """Detect and track the people of a clip.

    Args:
        frames: frames of the clip in order, about ``config.sample_fps`` per second, with a longer
            side of at most ``config.max_side_px``. The iterable is consumed as a stream.
        clip: clip that the frames belong to.
        probe: probe of its video, for the size of the source.
        config: limits and thresholds.
        model: pose networks.
        watch: object detectors. Afterwards it has what they saw, also where nobody is tracked.

    Returns:
        At least one track, ordered by first appearance, then by size with the largest first. People
        of whom only a part is seen come last.

    Raises:
        ItemError: ``no_person`` when no person is tracked for at least ``config.min_track_s``.
    """
    tracker = PeopleTracker(
        model,
        max_people=config.max_people,
        search_interval_s=config.search_interval_s,
        check_interval_s=config.check_interval_s,
        min_presence=config.min_presence,
        min_detection=config.min_detection,
        max_gap_s=config.max_gap_s,
    )
    parts = PartTracker(watch.see, memory_s=config.object_interval_s)
    pixel_scale = 1.0
    times: list[float] = []
    background = BackgroundMotion()
    for frame in frames:
        pixel_scale = probe.width_px / frame.image.shape[1]
        times.append(frame.pts_s)
        background.add(frame.image)
        step = len(times) - 1
        sighting = watch.look(step, frame.pts_s, frame.image)
        tracker.add(frame, sighting)
        parts.add(step, frame, sighting, tracker.bodies)

    people = tracker.finish()
    frame_px = np.array([probe.width_px, probe.height_px]) / pixel_scale
    camera = background.path(
        np.array(times), _boxes(people, len(times), frame_px), config.focal_length_widths
    )
    if clip.camera != "moving" and camera.measured_share(-np.inf, np.inf) < MIN_MEASURED_SHARE:
        # A wall without texture in front of a camera on a tripod.
        camera = CameraPath.still(np.array(times))
    lens = Lens(
        focal_px=config.focal_length_widths * max(probe.width_px, probe.height_px),
        x_px=probe.width_px / 2,
        y_px=probe.height_px / 2,
    )
    tracks = _tracks(people, times, pixel_scale, camera, lens, config)
    in_part = parts.finish(people, config.min_track_s)
    tracks += [
        _part_track(number, one, pixel_scale) for number, one in enumerate(in_part, len(tracks))
    ]
    if not tracks:
        raise ItemError(
            Reason.NO_PERSON,
            f"clip {clip.clip_id} ({clip.start_s:.2f}-{clip.end_s:.2f} s of {probe.path}): "
            f"expected a person for at least {config.min_track_s:g} s, "
            f"found none in {len(times)} frames.",
            "Nothing to do if nobody is to be seen; otherwise lower poses.min_detection or "
            "poses.min_track_s, or raise poses.max_side_px.",
        )
    return [
        track if track.boxes is not None else _with_objects(track, watch.sightings, pixel_scale)
        for track in tracks
    ]


def _part_track(number: int, person: PartTrack, pixel_scale: float) -> PoseTrack:
    """Return the track of somebody of whom only a part is seen: boxes, and no joints."""
    pts_T, left_T, share_T = time_grid(np.array(person.times_s))
    boxes_T4 = blend_frames(np.array(person.boxes), left_T, share_T) * pixel_scale
    center_T2 = (boxes_T4[:, :2] + boxes_T4[:, 2:]) / 2
    num_frames = len(pts_T)
    return PoseTrack(
        track_id=number,
        pts_s=pts_T.astype(np.float64),
        joints_3d=np.zeros((num_frames, NUM_JOINTS, 3), np.float32),
        root_trajectory=np.zeros((num_frames, 3), np.float32),
        joints_2d=np.repeat(center_T2[:, None], NUM_JOINTS, axis=1).astype(np.float32),
        confidence=np.zeros((num_frames, NUM_JOINTS), np.float32),
        valid=np.zeros(num_frames, np.bool_),
        quality=0.0,
        boxes=boxes_T4.astype(np.float32),
    )


def _with_objects(track: PoseTrack, sightings: Sequence[Sighting], pixel_scale: float) -> PoseTrack:
    """Return a track with the things near the person's wrists, hips and ankles."""
    at_TJ2 = track.joints_2d / np.float32(pixel_scale)
    joints = {name: at_TJ2[:, JOINT[name]] for name in _TOUCHING}
    seen = {name: track.confidence[:, JOINT[name]] > _MIN_TOUCHING for name in _TOUCHING}
    # Of people who lie, the length.
    height_T = np.ptp(at_TJ2, axis=1).max(axis=1)
    return replace(track, objects=objects_near(sightings, joints, seen, track.pts_s, height_T))


def _tracks(
    people: Iterable[Tracklet],
    times: list[float],
    pixel_scale: float,
    camera: CameraPath,
    lens: Lens,
    config: PoseConfig,
) -> list[PoseTrack]:
    """Convert people to tracks in one space, in order of first appearance and size."""
    drafts: list[_Draft] = []
    # A frame is seen until the next one.
    frame_s = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    for person in people:
        if person.reliability < config.min_reliability:
            continue
        for part in _split_at_gaps(person, times, config.max_gap_s):
            length_s = part[-1].pts_s - part[0].pts_s + frame_s
            share = _SURE_TRACK_SHARE if person.is_sure else 1.0
            if length_s < share * config.min_track_s - 1e-6 or len(part) < 2:
                continue
            draft = _draft(part, pixel_scale, camera, lens, config)
            is_doubtful = length_s < _SHORT_S - 1e-6 and not person.is_sure
            least = _SHORT_MIN_QUALITY if is_doubtful else 0.0
            if draft.quality >= max(config.min_quality, least):
                drafts.append(draft)
    drafts.sort(key=lambda draft: (draft.pts_T[0], -draft.size_px))
    placed = upright([draft.placed for draft in drafts])
    return [
        draft.track(number, person, root_T3)
        for number, (draft, person, root_T3) in enumerate(
            zip(drafts, placed, root_trajectories(placed), strict=True)
        )
    ]


def _boxes(people: Iterable[Tracklet], num_frames: int, frame_px: FloatArray) -> list[FloatArray]:
    """Return the boxes of the people at each frame, (N, 4), in shares of the frame's size."""
    boxes: list[list[FloatArray]] = [[] for _ in range(num_frames)]
    for person in people:
        for seen in person.observations:
            image_N2 = seen.landmarks.image_N2 / frame_px
            boxes[seen.step].append(np.concatenate([image_N2.min(axis=0), image_N2.max(axis=0)]))
    return [np.array(of_frame).reshape(-1, 4) for of_frame in boxes]


def _split_at_gaps(
    person: Tracklet, times: list[float], max_gap_s: float
) -> list[list[Observation]]:
    """Split a track at gaps longer than ``max_gap_s``.

    The interval between two frames of a video with a low frame rate is not a gap.
    """
    parts: list[list[Observation]] = [[person.observations[0]]]
    for seen in person.observations[1:]:
        last = parts[-1][-1]
        if seen.step > last.step + 1 and seen.pts_s - times[last.step + 1] > max_gap_s + 1e-6:
            parts.append([])
        parts[-1].append(seen)
    return parts


def _draft(
    part: list[Observation], pixel_scale: float, camera: CameraPath, lens: Lens, config: PoseConfig
) -> _Draft:
    """Convert the observations of one person to joints in world axes on the 20 fps grid."""
    times_M = np.array([seen.pts_s for seen in part])
    steps_M = np.array([seen.step for seen in part])
    image_MN2 = np.stack([seen.landmarks.image_N2 for seen in part]).astype(np.float64)
    world_MN3 = np.stack([seen.landmarks.world_N3 for seen in part]).astype(np.float64)
    visibility_MN = np.stack([seen.landmarks.visibility_N for seen in part]).astype(np.float64)

    pixels_MJ2 = JOINT_WEIGHTS_JN @ image_MN2 * pixel_scale
    # The network's y points down and its z away from the camera.
    body_MJ3 = JOINT_WEIGHTS_JN @ world_MN3 * np.array([1.0, -1.0, -1.0])
    seen_MJ = visibility_MN @ _confidence_weights().T
    swapped_MJ = find_side_swaps(body_MJ3 - body_MJ3[:, :1], times_M)
    pixels_MJ2, body_MJ3, seen_MJ = (
        swap_sides(values, swapped_MJ) for values in (pixels_MJ2, body_MJ3, seen_MJ)
    )

    pts_T, left_T, share_T = time_grid(times_M)
    pixels_TJ2 = blend_frames(pixels_MJ2, left_T, share_T)
    body_TJ3 = blend_frames(body_MJ3, left_T, share_T)
    valid_T = (np.diff(steps_M)[left_T] == 1) | (share_T == 0) | (share_T == 1)
    confidence_TJ = np.where(valid_T[:, None], blend_frames(seen_MJ, left_T, share_T), 0)

    size_px = float(np.median([seen.landmarks.next_roi.size_px for seen in part]))
    # Pixels are converted to meters at the distance of the body before smoothing, so that one
    # filter setting is valid for people of any size in the image. The shakes of the camera are
    # removed before, because they would be smoothed like movements of the body.
    meter_px = size_px * pixel_scale / (1.4 * config.body_height_m)
    view = View(camera, lens, pts_T)
    steady_TJ2 = smooth(view.steadied(pixels_TJ2) / meter_px, config.smoothing) * meter_px
    body_TJ3 = smooth(view.in_world(body_TJ3 - body_TJ3[:, :1]), config.smoothing)
    body_TJ3 = with_constant_bones(body_TJ3, confidence_TJ, config.body_height_m)
    measured = camera.measured_share(pts_T[0], pts_T[-1]) >= MIN_MEASURED_SHARE
    pelvis_T3 = view.pelvis(body_TJ3, steady_TJ2, confidence_TJ)
    return _Draft(
        pts_T,
        view.shaken(steady_TJ2),
        valid_T,
        Placed(body_TJ3, pelvis_T3, confidence_TJ, measured),
        size_px,
    )


def _confidence_weights() -> FloatArray:
    """Return the weights, (22, 33), that average landmark confidences to joint confidences."""
    weights_JN = np.abs(JOINT_WEIGHTS_JN)
    return weights_JN / weights_JN.sum(axis=1, keepdims=True)


def time_grid(times_M: FloatArray) -> tuple[FloatArray, IndexArray, FloatArray]:
    """Return the 20 fps time grid and the position of each time between two measurements.

    Returns:
        Times (T,), index of the previous measurement (T,), and interpolation weight of the next
        measurement (T,).
    """
    count = int(np.floor((times_M[-1] - times_M[0]) * FPS + 1e-6)) + 1
    pts_T = times_M[0] + np.arange(count) / FPS
    left_T = np.clip(np.searchsorted(times_M, pts_T, side="right") - 1, 0, len(times_M) - 2)
    share_T = (pts_T - times_M[left_T]) / (times_M[left_T + 1] - times_M[left_T])
    # A grid time that equals a measured time up to rounding is not inside a gap.
    near_T = np.round(share_T)
    share_T = np.where(np.abs(share_T - near_T) < 1e-6, near_T, np.clip(share_T, 0, 1))
    return pts_T, left_T, share_T


def blend_frames(values_MX: FloatArray, left_T: IndexArray, share_T: FloatArray) -> FloatArray:
    """Interpolate values, (M, ...), at the positions of :func:`time_grid`."""
    share = share_T.reshape(-1, *[1] * (values_MX.ndim - 1))
    return values_MX[left_T] * (1 - share) + values_MX[left_T + 1] * share


# ------------------------------------------------------------------------------- smoothing


def smooth(
    points_TJD: FloatArray, method: Literal["one_euro", "savgol", "none"], rate_hz: float = FPS
) -> FloatArray:
    """Remove jitter without delay.

    ``one_euro`` is the filter of Casiez et al. (CHI 2012), applied forward and backward and
    averaged, which cancels its delay. It smooths slow joints strongly and fast joints little.

    Args:
        points_TJD: (T, J, 2 or 3) positions, meters.
        method: name of the filter.
        rate_hz: frames per second.

    Returns:
        Smoothed positions of the same shape.
    """
    if method == "none" or len(points_TJD) < 5:
        return points_TJD
    if method == "savgol":
        from scipy.signal import savgol_filter  # noqa: PLC0415 - takes a second, and few use it

        return np.asarray(savgol_filter(points_TJD, 5, 2, axis=0), dtype=np.float64)
    forward = _one_euro(points_TJD, rate_hz)
    backward = _one_euro(points_TJD[::-1], rate_hz)[::-1]
    return (forward + backward) / 2


_MIN_CUTOFF_HZ, _CUTOFF_PER_SPEED, _SPEED_CUTOFF_HZ = 1.6, 4.0, 3.0


def _one_euro(points_TJD: FloatArray, rate_hz: float) -> FloatArray:
    smoothed = np.empty_like(points_TJD)
    smoothed[0] = points_TJD[0]
    velocity_JD = np.zeros_like(points_TJD[0])
    speed_step = 1 / (1 + rate_hz / (2 * np.pi * _SPEED_CUTOFF_HZ))
    for t in range(1, len(points_TJD)):
        raw_JD = (points_TJD[t] - points_TJD[t - 1]) * rate_hz
        velocity_JD = velocity_JD + speed_step * (raw_JD - velocity_JD)
        speed_J1 = np.linalg.norm(velocity_JD, axis=-1, keepdims=True)
        cutoff_hz_J1 = _MIN_CUTOFF_HZ + _CUTOFF_PER_SPEED * speed_J1
        step_J1 = 1 / (1 + rate_hz / (2 * np.pi * cutoff_hz_J1))
        smoothed[t] = smoothed[t - 1] + step_J1 * (points_TJD[t] - smoothed[t - 1])
    return smoothed


# ------------------------------------------------------------------------------------ body


def with_constant_bones(
    body_TJ3: FloatArray, confidence_TJ: FloatArray, height_m: float
) -> FloatArray:
    """Make bone lengths constant and symmetric while keeping the bone directions.

    The bone lengths of monocular estimates vary from frame to frame with the estimated depth.
    Constant lengths are the medians over the track, scaled to the body height and limited to a
    range around the proportions of an average body.

    Args:
        body_TJ3: (T, 22, 3) positions, meters.
        confidence_TJ: (T, 22) weights of the joints in each frame.
        height_m: height of the whole body.

    Returns:
        (T, 22, 3) positions in meters, with the pelvis at 0.
    """
    parents = np.array(PARENTS)
    bone_TJ3 = body_TJ3 - body_TJ3[:, np.maximum(parents, 0)]
    length_TJ = np.linalg.norm(bone_TJ3, axis=2)
    median_J = np.array(
        [_weighted_median(length_TJ[:, j], confidence_TJ[:, j] + 1e-3) for j in range(NUM_JOINTS)]
    )
    median_J = (median_J + median_J[list(MIRROR)]) / 2
    average_J = np.array(
        [_BONE_SHARE.get(name.replace("right_", "left_"), 0.0) * height_m for name in JOINT_NAMES]
    )
    scale = average_J.sum() / max(float(median_J.sum()), 1e-6)
    length_J = np.clip(
        median_J * scale, average_J * (1 - _BONE_FREEDOM), average_J * (1 + _BONE_FREEDOM)
    )
    direction_TJ3 = bone_TJ3 / np.maximum(length_TJ, 1e-6)[:, :, None]
    result_TJ3 = np.zeros_like(body_TJ3)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            result_TJ3[:, joint] = result_TJ3[:, parent] + direction_TJ3[:, joint] * length_J[joint]
    return result_TJ3


def _weighted_median(values_T: FloatArray, weights_T: FloatArray) -> float:
    order = np.argsort(values_T)
    total = np.cumsum(weights_T[order])
    return float(values_T[order][np.searchsorted(total, total[-1] / 2)])
