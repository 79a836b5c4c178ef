"""Pose tracks of a clip from the results of another estimator.

The joints are kept as the estimator gives them: they are only put on the time grid of 20 fps, where
short gaps are filled and marked, and on the ground. Smoothing and the assumed body height are for
the built-in estimator, whose joints need them.

Shapes: N rows, M rows of one person, T frames at 20 fps, J = 22 joints.
"""

import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annotators.poses.estimate import PoseConfig, blend_frames, time_grid
from annotators.poses.programs import PosePrograms
from annotators.poses.trajectory import Lens
from annotators.poses.world import Placed, root_trajectories
from data.arrays import BoolArray, FloatArray
from data.errors import ItemError, Reason
from data.importers.external_poses import ExternalPoses, read_external_poses
from data.records import Clip, PoseTrack, VideoProbe

_LOWEST_SHARE = 0.02
"""Share of all feet that are below the ground: in the space ``world``, where the estimator has its
own ground, this allows for feet that sink into it for a moment."""
_MISSING_STEPS = 1.5
"""Rows that are further apart than so many usual steps have a gap between them."""


@dataclass(frozen=True, slots=True)
class _Person:
    """A person on the time grid. Fields as in :class:`data.records.PoseTrack`.

    Attributes:
        body_TJ3: (T, 22, 3) joints relative to the pelvis.
        pelvis_T3: (T, 3) pelvis in the space of the file.
        size_px: median height in the image.
    """

    pts_T: FloatArray
    body_TJ3: FloatArray
    pelvis_T3: FloatArray
    pixels_TJ2: FloatArray
    confidence_TJ: FloatArray
    valid_T: BoolArray
    size_px: float

    @property
    def quality(self) -> float:
        return float(self.confidence_TJ[self.valid_T].mean())


def require_estimator(config: PoseConfig) -> None:
    """Check that the program or the folder of another estimator exists on this machine.

    Raises:
        ValueError: it does not.
    """
    external = config.external
    if external is None:
        return
    if config.estimator == "command" and shutil.which(external.command[0]) is None:
        raise ValueError(
            f"poses.external.command: expected a program, found none of the name "
            f"{external.command[0]!r}. Remedy: give its path, or install it on this machine."
        )
    if external.results is not None and not external.results.is_dir():
        raise ValueError(
            f"poses.external.results: expected a folder at {external.results}, found none. "
            "Remedy: correct the path."
        )


@contextmanager
def open_programs(
    config: PoseConfig, work: Path, environment: Mapping[str, str] | None = None
) -> Generator[PosePrograms | None]:
    """Open the processes of the estimator ``command``; None for any other estimator.

    Args:
        config: the configuration.
        work: folder of staged work, for the messages of the program.
        environment: environment variables of the program; None means those of this process.
    """
    if config.estimator != "command" or config.external is None:
        yield None
        return
    with PosePrograms(config.external, work / "external", environment) as programs:
        yield programs


def results_path(folder: Path, video: Path) -> Path:
    """Return the file with the results of a video: ``walk.mp4.npz`` or ``walk.npz``.

    Raises:
        ItemError: there is neither.
    """
    for name in (f"{video.name}.npz", f"{video.stem}.npz"):
        if (folder / name).is_file():
            return folder / name
    raise ItemError(
        Reason.NOT_FOUND,
        f"expected the poses of {video} as {video.name}.npz or {video.stem}.npz in {folder}, "
        "found neither.",
        "Run the estimator on this video, or leave the video out.",
    )


def read_tracks(path: Path, clip: Clip, probe: VideoProbe, config: PoseConfig) -> list[PoseTrack]:
    """Read the tracks of a clip.

    Args:
        path: results of the estimator, of the clip or of the whole video.
        clip: the clip.
        probe: probe of its video.
        config: limits that apply to the tracks of any estimator.

    Returns:
        At least one track, ordered by first appearance, then by size with the largest first.

    Raises:
        ItemError: the file is not as it should be, or has nobody in the clip for long enough.
    """
    rate = probe.fps if probe.constant_rate else None
    poses = _within(read_external_poses(path, rate), clip)
    people = [
        _on_grid(part, probe, config)
        for track in np.unique(poses.track_N)
        for part in _parts(poses.rows(poses.track_N == track), config)
    ]
    people = [person for person in people if person.quality >= config.min_quality]
    people = _most_prominent(people, config.max_people)
    if not people:
        raise ItemError(
            Reason.NO_PERSON,
            f"clip {clip.clip_id} ({clip.start_s:.2f}-{clip.end_s:.2f} s of {probe.path}): "
            f"expected a person for at least {config.min_track_s:g} s, found none in "
            f"{len(poses.pts_N)} rows of the estimator's results.",
            "Nothing to do if nobody is to be seen; otherwise check the times in the results.",
        )
    people.sort(key=lambda person: (person.pts_T[0], -person.size_px))
    roots = _in_camera(people) if poses.in_camera else _in_world(people)
    return [
        PoseTrack(
            track_id=number,
            pts_s=person.pts_T.astype(np.float64),
            joints_3d=person.body_TJ3.astype(np.float32),
            root_trajectory=root_T3.astype(np.float32),
            joints_2d=person.pixels_TJ2.astype(np.float32),
            confidence=person.confidence_TJ.astype(np.float32),
            valid=person.valid_T,
            quality=person.quality,
        )
        for number, (person, root_T3) in enumerate(zip(people, roots, strict=True))
    ]


def _within(poses: ExternalPoses, clip: Clip) -> ExternalPoses:
    inside_N = (poses.pts_N >= clip.start_s - 1e-6) & (poses.pts_N < clip.end_s - 1e-6)
    return poses.rows(inside_N)


def _parts(poses: ExternalPoses, config: PoseConfig) -> list[ExternalPoses]:
    """Split the rows of one person at long gaps, and drop short parts."""
    steps_s = np.diff(poses.pts_N)
    if not len(steps_s):
        return []
    longest_s = max(config.max_gap_s, _MISSING_STEPS * float(np.median(steps_s)))
    cuts = np.flatnonzero(steps_s > longest_s + 1e-6) + 1
    parts = [poses.rows(index) for index in np.split(np.arange(len(poses.pts_N)), cuts)]
    least_s = config.min_track_s - 1e-6
    return [p for p in parts if len(p.pts_N) > 1 and p.pts_N[-1] - p.pts_N[0] >= least_s]


def _on_grid(poses: ExternalPoses, probe: VideoProbe, config: PoseConfig) -> _Person:
    times_M = poses.pts_N
    pts_T, left_T, share_T = time_grid(times_M)
    steps_M = np.diff(times_M)
    usual_s = _MISSING_STEPS * float(np.median(steps_M))
    valid_T = (steps_M[left_T] <= usual_s) | (share_T == 0) | (share_T == 1)
    joints_TJ3 = blend_frames(poses.joints_NJ3.astype(np.float64), left_T, share_T)
    seen_TJ = blend_frames(poses.confidence_NJ, left_T, share_T)
    if poses.pixels_NJ2 is not None:
        pixels_TJ2 = blend_frames(poses.pixels_NJ2, left_T, share_T)
    else:
        pixels_TJ2 = _projected(joints_TJ3, poses, probe, config)
    pelvis_T3 = joints_TJ3[:, 0]
    return _Person(
        pts_T,
        joints_TJ3 - pelvis_T3[:, None],
        pelvis_T3,
        pixels_TJ2,
        np.where(valid_T[:, None], seen_TJ, 0.0),
        valid_T,
        float(np.median(np.ptp(pixels_TJ2[:, :, 1], axis=1))),
    )


def _projected(
    joints_TJ3: FloatArray, poses: ExternalPoses, probe: VideoProbe, config: PoseConfig
) -> FloatArray:
    """Put joints in camera axes into the image, (T, J, 2), pixels."""
    if not poses.in_camera:
        raise ItemError(
            Reason.WRONG_FORM,
            "expected joints_2d beside joints in the space world, found none.",
            "Save joints_2d, or the joints in the space camera.",
        )
    focal_px = config.focal_length_widths * max(probe.width_px, probe.height_px)
    lens = Lens(poses.focal_px or focal_px, probe.width_px / 2, probe.height_px / 2)
    return lens.pixels(joints_TJ3, np.ones(len(joints_TJ3)))


def _most_prominent(people: Sequence[_Person], max_people: int) -> list[_Person]:
    """Keep the largest people, so many at a time."""
    kept: list[_Person] = []
    for person in sorted(people, key=lambda person: -person.size_px):
        beside = [
            other
            for other in kept
            if other.pts_T[0] <= person.pts_T[-1] and person.pts_T[0] <= other.pts_T[-1]
        ]
        if len(beside) < max_people:
            kept.append(person)
    return kept


def _placed(person: _Person) -> Placed:
    return Placed(person.body_TJ3, person.pelvis_T3, person.confidence_TJ, measured=True)


def _in_camera(people: Sequence[_Person]) -> list[FloatArray]:
    return root_trajectories([_placed(person) for person in people])


def _in_world(people: Sequence[_Person]) -> list[FloatArray]:
    """Put the ground of the estimator's space, where the lowest visible feet are, at 0."""
    placed = [_placed(person) for person in people]
    lowest = [one.pelvis_T3[:, 1] + one.lowest_T for one in placed]
    # Feet that nobody sees are a guess, which may be below the ground.
    seen = [low_T[one.feet_seen_T] for low_T, one in zip(lowest, placed, strict=True)]
    if any(map(len, seen)):
        ground_m = float(np.quantile(np.concatenate(seen), _LOWEST_SHARE))
    else:
        ground_m = float(np.median(np.concatenate(lowest)))
    return [person.pelvis_T3 - np.array([0.0, ground_m, 0.0]) for person in people]
