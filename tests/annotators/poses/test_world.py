"""People are placed in one space that stands still while the camera moves."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from annotators.clips.background import CameraPath
from annotators.poses.trajectory import Lens, pelvis_from_camera
from annotators.poses.world import Placed, View, root_trajectories, upright
from data.motion.skeleton import JOINT
from tests.support.motions import jumping, moved, ramp, standing

LENS = Lens(focal_px=1400, x_px=640, y_px=360)
CAMERA_HEIGHT_M = 1.4
FEET = [JOINT[f"{side}_{name}"] for side in ("left", "right") for name in ("ankle", "foot")]
Array = NDArray[np.float64]


def _following(num_frames: int, *, pan_deg: float = 25, shake_deg: float = 0.8) -> CameraPath:
    """Return a hand-held camera that pans to the left and zooms."""
    rng = np.random.default_rng(0)
    turns_M3 = np.cumsum(rng.normal(0, np.radians(shake_deg) / 3, (num_frames, 3)), axis=0)
    turns_M3[:, 1] += np.radians(np.linspace(0, pan_deg, num_frames))
    zoom_M = np.linspace(1, 1.2, num_frames)
    turns_M3 -= turns_M3[0]
    measured_M = np.ones(num_frames, np.bool_)
    return CameraPath(np.arange(num_frames) / 20, turns_M3, zoom_M, measured_M)


def _placed(
    motion_TJ3: Array, camera: CameraPath, *, hidden: Sequence[int] = (), noise_px: float = 0.0
) -> Placed:
    """Film a motion, given relative to the point below the camera, and place the person.

    Args:
        motion_TJ3: joints, (T, 22, 3), meters, the ground at 0.
        camera: the moving camera.
        hidden: frames whose feet are out of the picture, where the network folds the legs.
        noise_px: standard deviation of the error of each joint in the image.
    """
    times_T = np.arange(len(motion_TJ3)) / 20
    turn_T33, zoom_T = camera.at(times_T)
    from_camera_TJ3 = motion_TJ3 - np.array([0, CAMERA_HEIGHT_M, 0])
    inward_TJ3 = np.einsum("tji,tkj->tki", turn_T33, from_camera_TJ3)
    pixels_TJ2 = LENS.pixels(inward_TJ3 / -inward_TJ3[..., 2:], zoom_T)
    pixels_TJ2 += np.random.default_rng(1).normal(0, noise_px, pixels_TJ2.shape)
    body_TJ3 = inward_TJ3 - inward_TJ3[:, :1]
    confidence_TJ = np.ones(body_TJ3.shape[:2])
    for frame in hidden:
        body_TJ3[frame, FEET, 1] += 0.5
        confidence_TJ[frame, FEET] = 0.05
    view = View(camera, LENS, times_T)
    world_TJ3 = view.in_world(body_TJ3)
    steady_TJ2 = view.steadied(pixels_TJ2)
    np.testing.assert_allclose(view.shaken(steady_TJ2), pixels_TJ2, atol=1e-6)
    pelvis_T3 = view.pelvis(world_TJ3, steady_TJ2, confidence_TJ)
    return Placed(world_TJ3, pelvis_T3, confidence_TJ, measured=True)


def _walk(speed_mps: float) -> Array:
    """Return somebody who glides to the left at 7 m from the camera."""
    motion = moved(standing(3.0), np.pi / 2, (2.0, 0.0, -7.0))
    motion[:, :, 0] -= speed_mps * np.arange(len(motion))[:, None] / 20
    return motion


def test_a_moving_camera_does_not_move_the_person() -> None:
    motion = _walk(1.3)
    (root_T3,) = root_trajectories([_placed(motion, _following(len(motion)), noise_px=1.5)])
    assert np.abs(root_T3 - motion[:, 0]).max() < 0.25
    assert np.ptp(root_T3[:, 1]) < 0.08


def test_the_body_faces_the_same_way_while_the_camera_pans() -> None:
    motion = _walk(1.3)
    placed = _placed(motion, _following(len(motion)))
    np.testing.assert_allclose(placed.body_TJ3, motion - motion[:, :1], atol=1e-6)


def test_flight_is_seen_by_a_moving_camera() -> None:
    motion = moved(jumping(0.4), 0.3, (0.5, 0.0, -6.0))
    (root_T3,) = root_trajectories([_placed(motion, _following(len(motion)), noise_px=1.5)])
    rise_T = root_T3[:, 1] - np.median(root_T3[:, 1])
    true_T = motion[:, 0, 1] - np.median(motion[:, 0, 1])
    assert np.abs(rise_T - true_T).max() < 0.12


def test_a_jump_down_is_as_deep_as_it_is() -> None:
    motion = moved(standing(4.0), 0.3, (0.0, 0.0, -8.0))
    motion[:, :, 1] += ramp(len(motion), 40, 50, 2.0, 0.0)[:, None]
    (root_T3,) = root_trajectories([_placed(motion, CameraPath.still(np.arange(80) / 20))])
    np.testing.assert_allclose(root_T3[:, 1], motion[:, 0, 1], atol=0.16)


def test_feet_that_leave_the_picture_do_not_sink_the_body() -> None:
    motion = moved(standing(4.0), 0.0, (0.0, 0.0, -5.0))
    still = CameraPath.still(np.arange(len(motion)) / 20)
    (root_T3,) = root_trajectories([_placed(motion, still, hidden=range(30, 60))])
    assert np.ptp(root_T3[:, 1]) < 0.06


def test_a_body_that_sits_down_behind_a_table_sinks() -> None:
    motion = moved(standing(4.0), 0.0, (0.0, 0.0, -5.0))
    still = CameraPath.still(np.arange(len(motion)) / 20)
    motion[:, :, 1] -= ramp(len(motion), 35, 50, 0.0, 0.4)[:, None]
    (root_T3,) = root_trajectories([_placed(motion, still, hidden=range(25, 80))])
    assert root_T3[0, 1] - root_T3[-1, 1] == pytest.approx(0.4, abs=0.08)


def test_two_people_keep_their_distance() -> None:
    near = moved(standing(3.0), 0.0, (-1.0, 0.0, -5.0))
    far = moved(standing(3.0), np.pi, (1.5, 0.0, -8.0))
    camera = _following(len(near))
    one_T3, two_T3 = root_trajectories([_placed(near, camera), _placed(far, camera)])
    apart_T3 = (two_T3 - one_T3) - (far - near)[:, 0]
    assert np.abs(apart_T3).max() < 0.15


def _tilted(motion_TJ3: Array, axis: str, angle_deg: float) -> Array:
    """Return a motion in the axes of a camera that is tilted and does not know it."""
    tilt_33 = Rotation.from_euler(axis, angle_deg, degrees=True).as_matrix()
    height_3 = np.array([0, CAMERA_HEIGHT_M, 0])
    return (motion_TJ3 - height_3) @ tilt_33 + height_3


def _lean_deg(person: Placed) -> float:
    """Return the median angle of the body from the vertical."""
    neck_T3 = person.body_TJ3[:, JOINT["neck"]] - person.body_TJ3[:, JOINT["left_ankle"]]
    tilt_T = np.arctan2(np.hypot(neck_T3[:, 0], neck_T3[:, 2]), neck_T3[:, 1])
    return float(np.degrees(np.median(tilt_T)))


def test_a_camera_that_looks_down_does_not_lift_who_walks_away() -> None:
    """Relative to a camera that looks down, the floor rises with the distance."""
    motion = moved(standing(4.0), np.pi, (0.0, 0.0, -4.0))
    motion[:, :, 2] -= 1.0 * np.arange(len(motion))[:, None] / 20
    placed = _placed(_tilted(motion, "x", -25), CameraPath.still(np.arange(80) / 20))
    assert _lean_deg(placed) > 20
    (person,) = upright([placed])
    assert _lean_deg(person) < 7
    (root_T3,) = root_trajectories([person])
    assert np.ptp(root_T3[:, 1]) < 0.15


def test_a_camera_is_askew_only_if_all_people_lean() -> None:
    motion = moved(standing(2.0), 0.0, (0.0, 0.0, -6.0))
    other = moved(standing(2.0), 1.0, (1.5, 0.0, -7.0))
    still = CameraPath.still(np.arange(40) / 20)
    leaning = _placed(_tilted(motion, "z", 14), still)
    (alone,) = upright([leaning])
    assert _lean_deg(alone) > 8
    together = upright([leaning, _placed(_tilted(other, "z", 14), still)])
    assert max(_lean_deg(person) for person in together) < 5


def test_who_lies_is_not_upright() -> None:
    lying = _tilted(moved(standing(2.0), 0.0, (0.0, 0.0, -6.0)), "z", 80)
    placed = _placed(lying, CameraPath.still(np.arange(40) / 20))
    assert upright([placed]) == [placed]


def test_a_leg_that_is_wrong_for_a_moment_does_not_lift_the_body() -> None:
    motion = moved(standing(4.0), 0.0, (0.0, 0.0, -6.0))
    wrong = motion.copy()
    wrong[40:43, FEET, 1] -= 0.3
    placed = _placed(motion, CameraPath.still(np.arange(80) / 20))
    (root_T3,) = root_trajectories([replace(placed, body_TJ3=wrong - wrong[:, :1])])
    assert np.ptp(root_T3[:, 1]) < 0.05


def test_the_feet_lead_where_the_camera_is_not_measured() -> None:
    motion = moved(jumping(0.4), 0.3, (0.5, 0.0, -6.0))
    placed = _placed(motion, CameraPath.still(np.arange(len(motion)) / 20))
    blind = Placed(placed.body_TJ3, placed.pelvis_T3, placed.confidence_TJ, measured=False)
    (root_T3,) = root_trajectories([blind])
    lowest_T = (blind.body_TJ3 + root_T3[:, None])[:, FEET, 1].min(axis=1)
    assert np.ptp(lowest_T) < 0.1


def test_a_body_that_crouches_keeps_its_distance() -> None:
    """The network sees a crouching body too large, as if it were farther away."""
    motion = moved(standing(4.0), 0.0, (0.0, 0.0, -6.0))
    body_TJ3 = motion - motion[:, :1]
    body_TJ3[30:48, :, 1] *= 0.55
    from_camera_TJ3 = motion[:, :1] + body_TJ3 - np.array([0, CAMERA_HEIGHT_M, 0])
    rays_TJ3 = from_camera_TJ3 / -from_camera_TJ3[..., 2:]
    body_TJ3[30:48] *= 1.2
    pelvis_T3 = pelvis_from_camera(body_TJ3, rays_TJ3, np.ones(body_TJ3.shape[:2]))
    assert np.abs(pelvis_T3[:, 2] + 6.0).max() < 0.3
