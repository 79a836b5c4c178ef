"""From the results of another estimator to tracks on the time grid and on the ground."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotators.poses.estimate import PoseConfig
from annotators.poses.external import read_tracks
from annotators.poses.trajectory import Lens
from data.errors import ItemError, Reason
from data.motion.skeleton import FPS, JOINT
from data.records import PoseTrack, VideoProbe
from data.video.probe import probe_video
from tests.support.motions import as_clip, as_track, jumping, moved, raising_left_arm


@pytest.fixture(scope="module")
def probe(brief_clip: Path) -> VideoProbe:
    return replace(probe_video(brief_clip), width_px=1280, height_px=720)


def _read(
    folder: Path, probe: VideoProbe, arrays: dict[str, Any], **config: Any
) -> list[PoseTrack]:
    path = folder / "poses.npz"
    np.savez(path, **arrays)
    clip = as_clip(as_track(raising_left_arm()))
    return read_tracks(path, clip, probe, PoseConfig.model_validate(config))


def _arrays(motion: Any, **more: Any) -> dict[str, Any]:
    pixels = as_track(motion).joints_2d.astype(np.float64)
    times = np.arange(len(motion)) / FPS
    return {"joints_3d": motion, "joints_2d": pixels, "pts_s": times, **more}


def test_short_gaps_are_filled_and_long_ones_split(tmp_path: Path, probe: VideoProbe) -> None:
    arrays = _arrays(raising_left_arm())
    rows_N = np.array([*range(24), *range(28, 40), *range(60, 80)])
    gapped = {name: values[rows_N] for name, values in arrays.items()}
    one, two = _read(tmp_path, probe, gapped)
    assert (one.num_frames, two.num_frames) == (40, 20)
    assert np.flatnonzero(~one.valid).tolist() == [24, 25, 26, 27]
    assert (one.confidence[24:28] == 0).all()
    assert one.joints_3d[:24] == pytest.approx(
        arrays["joints_3d"][:24] - arrays["joints_3d"][:24, :1], abs=1e-6
    )
    assert two.pts_s[0] == pytest.approx(3.0)


def test_rows_outside_of_the_clip_and_short_tracks_are_left_out(
    tmp_path: Path, probe: VideoProbe
) -> None:
    arrays = _arrays(raising_left_arm())
    early = {**arrays, "pts_s": arrays["pts_s"] - 1.0}
    (track,) = _read(tmp_path, probe, early)
    assert (track.num_frames, track.pts_s[0]) == (60, 0.0)
    with pytest.raises(ItemError, match="found none in 5 rows") as nobody:
        _read(tmp_path, probe, {**arrays, "pts_s": arrays["pts_s"] - 3.75})
    assert nobody.value.reason is Reason.NO_PERSON
    unsure = {**arrays, "confidence": np.full(len(arrays["pts_s"]), 0.1)}
    with pytest.raises(ItemError, match="expected a person"):
        _read(tmp_path, probe, unsure)


def test_the_largest_people_at_a_time_are_kept(tmp_path: Path, probe: VideoProbe) -> None:
    motion = raising_left_arm()
    sizes = (0.5, 1.0, 0.8)
    arrays = _arrays(np.concatenate([motion] * 3))
    arrays["joints_2d"] = np.concatenate([as_track(motion).joints_2d * size for size in sizes])
    arrays["pts_s"] = np.tile(np.arange(len(motion)) / FPS, 3)
    arrays["track"] = np.repeat([0, 1, 2], len(motion))
    tracks = _read(tmp_path, probe, arrays, max_people=2)
    heights = [float(np.ptp(track.joints_2d[0, :, 1])) for track in tracks]
    whole = float(np.ptp(as_track(motion).joints_2d[0, :, 1]))
    assert heights == pytest.approx([whole, 0.8 * whole], rel=1e-4)


def test_a_world_keeps_its_heights_above_one_ground(tmp_path: Path, probe: VideoProbe) -> None:
    """Somebody stands on a table beside somebody who jumps, in a space with its zero elsewhere."""
    jump, table = jumping(0.4), moved(raising_left_arm(), 0.0, (1.5, 0.75, 0.0))
    motion = moved(np.concatenate([jump, table]), 0.0, (0.0, 3.0, 0.0))
    arrays = _arrays(motion, track=np.repeat([0, 1], [len(jump), len(table)]))
    arrays["pts_s"] = np.tile(np.arange(80) / FPS, 2)
    tracks = sorted(_read(tmp_path, probe, arrays), key=lambda t: float(t.root_trajectory[0, 0]))
    lowest = [track.motion_TJ3[:, :, 1].min(axis=1) for track in tracks]
    assert lowest[0].max() == pytest.approx(0.4, abs=0.03)
    assert np.median(lowest[0]) == pytest.approx(0.0, abs=0.02)
    assert lowest[1] == pytest.approx(0.75, abs=0.03)
    gap_m = tracks[1].root_trajectory[0, 0] - tracks[0].root_trajectory[0, 0]
    assert gap_m == pytest.approx(1.5, abs=1e-3)


def test_feet_that_nobody_sees_are_not_the_ground(tmp_path: Path, probe: VideoProbe) -> None:
    motion = raising_left_arm()
    feet = [JOINT[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "foot")]
    motion[50:, feet, 1] -= 0.6
    confidence = np.full((80, 22), 0.9)
    confidence[50:, feet] = 0.1
    (track,) = _read(tmp_path, probe, _arrays(motion, confidence=confidence))
    lowest_T = track.motion_TJ3[:, :, 1].min(axis=1)
    assert lowest_T[:48] == pytest.approx(0.0, abs=0.01)
    assert lowest_T[52:] == pytest.approx(-0.6, abs=0.01)
    confidence[:, feet] = 0.1
    (track,) = _read(tmp_path, probe, _arrays(motion, confidence=confidence))
    assert track.motion_TJ3[:48, :, 1].min(axis=1) == pytest.approx(0.0, abs=0.01)


def test_joints_of_a_camera_are_projected_and_set_on_the_ground(
    tmp_path: Path, probe: VideoProbe
) -> None:
    # 4 m before a camera at a height of 1 m; OpenCV's axes.
    seen = (jumping(0.4) - [0.0, 1.0, 4.0]) * [1.0, -1.0, -1.0]
    arrays = _arrays(seen, space=np.array("camera"), focal_px=np.array(900.0))
    del arrays["joints_2d"]
    (track,) = _read(tmp_path, probe, arrays)
    lens = Lens(900.0, 640.0, 360.0)
    expected = lens.pixels(seen * [1.0, -1.0, -1.0], np.ones(len(seen)))
    assert track.joints_2d == pytest.approx(expected, abs=0.01)
    lowest_T = track.motion_TJ3[:, :, 1].min(axis=1)
    assert lowest_T.max() == pytest.approx(0.4, abs=0.06)
    assert np.median(lowest_T) == pytest.approx(0.0, abs=0.03)
    assert track.root_trajectory[0, 2] == pytest.approx(-4.0, abs=0.01)
    del arrays["space"]
    arrays["joints_3d"] = seen * [1.0, -1.0, -1.0]
    with pytest.raises(ItemError, match="expected joints_2d beside joints in the space world"):
        _read(tmp_path, probe, arrays)
