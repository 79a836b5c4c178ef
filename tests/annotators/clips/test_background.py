"""The camera is measured on the background, whatever people do in front of it."""

from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from annotators.clips.background import BackgroundMotion, CameraPath, filled_path
from data.video.probe import probe_video
from data.video.reader import open_frames

WIDTH, HEIGHT, FOCAL_WIDTHS = 640, 360, 1.1
NUM_FRAMES = 30
Image = NDArray[np.uint8]


def _texture(seed: int = 0) -> Image:
    """Return a picture with structure at many scales, three times as large as a frame."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((3 * HEIGHT, 3 * WIDTH))
    for cell in (8, 24, 72):
        noise = rng.normal(size=(3 * HEIGHT // cell, 3 * WIDTH // cell))
        picture += cv2.resize(noise, (3 * WIDTH, 3 * HEIGHT), interpolation=cv2.INTER_LINEAR)
    return np.clip(128 + 40 * picture, 0, 255).astype(np.uint8)


def _intrinsics(focal_px: float, width: int, height: int) -> NDArray[np.float64]:
    return np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])


def _film(
    turns_M3: NDArray[np.float64], zoom_M: NDArray[np.float64], picture: Image
) -> tuple[list[Image], list[NDArray[np.float64]]]:
    """Film a far picture, in front of which a textured person walks from left to right.

    Args:
        turns_M3: rotation vectors from camera axes (y up, z toward the camera) to world axes.
        zoom_M: focal lengths relative to the first frame.
        picture: the background.

    Returns:
        The frames, and for each frame the box of the person in shares of the frame.
    """
    focal_px = FOCAL_WIDTHS * WIDTH
    flip_33 = np.diag([1.0, -1.0, -1.0])
    person = _texture(1)[:200, :90]
    frames: list[Image] = []
    boxes: list[NDArray[np.float64]] = []
    for step, (turn_3, zoom) in enumerate(zip(turns_M3, zoom_M, strict=True)):
        turn_33 = flip_33 @ Rotation.from_rotvec(turn_3).as_matrix() @ flip_33
        to_frame_33 = (
            _intrinsics(focal_px * zoom, WIDTH, HEIGHT)
            @ turn_33.T
            @ np.linalg.inv(_intrinsics(focal_px, 3 * WIDTH, 3 * HEIGHT))
        )
        luma = np.asarray(cv2.warpPerspective(picture, to_frame_33, (WIDTH, HEIGHT)), np.uint8)
        left, top = 60 + 14 * step, 120
        luma[top : top + 200, left : left + 90] = person
        frames.append(np.repeat(luma[:, :, None], 3, axis=2))
        box = [left / WIDTH, top / HEIGHT, (left + 90) / WIDTH, (top + 200) / HEIGHT]
        boxes.append(np.array([box]))
    return frames, boxes


def _measure(frames: list[Image], boxes: list[NDArray[np.float64]]) -> CameraPath:
    background = BackgroundMotion()
    for frame in frames:
        background.add(frame)
    return background.path(np.arange(len(frames)) / 20, boxes, FOCAL_WIDTHS)


def _moving() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a camera that pans 26 degrees, shakes, rolls and zooms in."""
    phase_M = np.arange(NUM_FRAMES) / NUM_FRAMES
    turns_deg_M3 = np.stack(
        [2 * np.sin(19 * phase_M), -27 * phase_M, 3 * np.sin(7 * phase_M)], axis=1
    )
    return np.radians(turns_deg_M3), 1 + 0.25 * phase_M


def _error_deg(path: CameraPath, turns_M3: NDArray[np.float64]) -> float:
    off = Rotation.from_rotvec(path.turns_M3) * Rotation.from_rotvec(turns_M3).inv()
    return float(np.degrees(off.magnitude()).max())


def test_a_camera_that_turns_and_zooms_is_measured() -> None:
    turns_M3, zoom_M = _moving()
    path = _measure(*_film(turns_M3, zoom_M, _texture()))
    assert path.measured_M.all()
    assert _error_deg(path, turns_M3) < 0.4
    np.testing.assert_allclose(path.zoom_M, zoom_M, rtol=0.02)


def test_a_person_in_front_does_not_move_a_still_camera() -> None:
    still = np.zeros((NUM_FRAMES, 3)), np.ones(NUM_FRAMES)
    path = _measure(*_film(*still, _texture()))
    assert not path.moves
    assert path.measured_M.all()


def test_a_large_person_is_left_out_by_the_box() -> None:
    """A plain wall has few corners, and the person has most of them."""
    wall = np.full_like(_texture(), 128)
    for line in range(0, 3 * WIDTH, 120):
        wall[:, line : line + 8] = wall[line : line + 8] = 90
    turns_M3, zoom_M = _moving()
    frames, boxes = _film(turns_M3 / 5, np.ones_like(zoom_M), wall)
    path = _measure(frames, boxes)
    assert _error_deg(path, turns_M3 / 5) < 0.4


def test_a_camera_turns_all_around() -> None:
    """The orientation stays continuous, also where frames are missing."""
    pan_M = np.radians(np.linspace(0, 400, 81))
    turns_M3 = Rotation.from_rotvec(pan_M[:, None] * [0.0, 1.0, 0.0]).as_rotvec()
    turns_M3[38:44] = np.nan
    path = filled_path(
        np.arange(81) / 20, turns_M3, np.where(np.isnan(turns_M3[:, 0]), np.nan, 0.0)
    )
    np.testing.assert_allclose(path.turns_M3[:, 1], pan_M, atol=1e-6)


def test_a_bus_that_passes_does_not_move_a_still_camera() -> None:
    frames, _ = _film(np.zeros((NUM_FRAMES, 3)), np.ones(NUM_FRAMES), _texture())
    bus = _texture(2)[:, :300]
    for step, frame in enumerate(frames):
        left = 10 * step
        frame[40:, left : left + 300] = bus[: HEIGHT - 40, :, None]
    path = _measure(frames, [np.zeros((0, 4))] * NUM_FRAMES)
    assert not path.moves


def test_a_flash_is_skipped() -> None:
    turns_M3, zoom_M = _moving()
    frames, boxes = _film(turns_M3, zoom_M, _texture())
    for step in (12, 13, 14):
        frames[step] = np.full_like(frames[step], 250)
    path = _measure(frames, boxes)
    assert not path.measured_M[12:15].any()
    assert path.measured_M[[10, 16, 29]].all()
    for shown in (slice(0, 12), slice(15, None)):
        part = CameraPath(*(values[shown] for values in astuple(path)))
        assert _error_deg(part, turns_M3[shown]) < 0.4


def test_a_plain_background_is_not_measured() -> None:
    turns_M3, zoom_M = _moving()
    plain = np.full_like(_texture(), 128)
    path = _measure(*_film(turns_M3, zoom_M, plain))
    assert path.measured_share(0.0, NUM_FRAMES / 20) < 0.2


def test_without_frames_the_camera_is_still() -> None:
    path = BackgroundMotion().path(np.zeros(0), [], FOCAL_WIDTHS)
    assert not path.moves
    assert path.measured_share(0, 1) == pytest.approx(0)


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "moves"),
    [
        # The sun flares near frame 164 of the park.
        *((name, False) for name in ("park_walk_and_jump.mp4", "sword_form.mp4")),
        *((name, True) for name in ("basketball_two.mp4", "street_crowd_dance.avi")),
    ],
)
def test_cameras_of_real_clips(corpus: Path, name: str, moves: bool) -> None:
    path = corpus / "videos" / name
    probe = probe_video(path)
    background, times = BackgroundMotion(), []
    with open_frames(
        path,
        probe,
        start_s=0.0,
        end_s=min(8.0, probe.duration_s),
        sample_fps=20.0,
        max_side_px=480,
    ) as frames:
        for frame in frames:
            background.add(frame.image)
            times.append(frame.pts_s)
    camera = background.path(np.array(times), [np.zeros((0, 4))] * len(times), FOCAL_WIDTHS)
    assert camera.measured_share(0.0, 8.0) > 0.85
    assert camera.moves is moves
