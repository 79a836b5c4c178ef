"""Shots are found exactly on real clips, and on sequences made from their frames."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from annotators.clips.camera import global_shift
from annotators.clips.cutting import ClipConfig, scan_video
from annotators.clips.shots import ShotConfig, ShotDetector
from benchmarks.synthetic_shots import (
    JOINS,
    TRAPS,
    Frames,
    join_dissolve,
    load_source,
    whip_pan,
    write_video,
)
from data.video.probe import probe_video
from tests.support.clips import clip_params

SINGLE_SHOT = (
    "empty_scene.mp4",
    "arm_wrestling.mp4",
    "balance_single_cam01.mp4",
    "balance_single_cam03.mp4",
    "balance_two_cam01.mp4",
    "basketball_two.mp4",
    "bottles_no_person.mp4",
    "cake_handheld.mp4",
    "juggle_football.mp4",
    "one_by_one_entry.mp4",
    "park_walk_and_jump.mp4",
    "portrait.mp4",
    "pour_coffee_hands.mp4",
    "pushup_lying.mp4",
    "sign_book.mkv",
    "street_crowd_5frames.mp4",
    "street_crowd_dance.avi",
    "sword_form.mp4",
    "woman_dog.mp4",
    "worker_walk.mp4",
    "yoga_woman.mp4",
)
MOVING_CAMERA = {
    "arm_wrestling.mp4",
    "basketball_two.mp4",
    "cake_handheld.mp4",
    "portrait.mp4",  # in a car that shakes
    "street_crowd_5frames.mp4",
    "street_crowd_dance.avi",
}
FPS = 25.0


def find_cuts(frames: Frames, fps: float = FPS, config: ShotConfig | None = None) -> list[int]:
    detector = ShotDetector(fps, config)
    for frame in frames:
        detector.push(frame)
    return list(detector.finish())


@pytest.fixture(scope="module")
def park(sample_clip: Path) -> Frames:
    """90 frames, 256 x 144 pixels: two people."""
    return load_source(sample_clip)[:90]


@pytest.fixture(scope="module")
def rabbit(empty_scene_clip: Path) -> Frames:
    """90 frames, 256 x 144 pixels: an animated rabbit."""
    return load_source(empty_scene_clip)[:90]


@pytest.fixture(scope="module")
def man(portrait_clip: Path) -> Frames:
    """90 frames, 192 x 144 pixels: one man from his chest up."""
    return load_source(portrait_clip)[:90, :, :192]


# ----------------------------------------------------------------------------- real clips


def test_cuts_of_a_real_multishot_clip_are_exact(multishot_clip: Path) -> None:
    scan = scan_video(multishot_clip, probe_video(multishot_clip), ClipConfig())
    assert [shot.start_frame for shot in scan.shots] == [0, 30, 76, 137, 187, 242]


def test_cuts_of_the_composite_are_exact(videos_dir: Path) -> None:
    path = videos_dir / "composite_a_multishot.mp4"
    truth = json.loads((videos_dir / "composite_shots.json").read_text())[path.name]
    scan = scan_video(path, probe_video(path), ClipConfig())
    spans = [(shot.start_frame, shot.end_frame) for shot in scan.shots]
    assert spans == [(shot["start"], shot["end"]) for shot in truth["shots"]]
    assert scan.num_frames == truth["frames"]
    assert [shot.start_s for shot in scan.shots] == pytest.approx([0, 4, 5.64, 9.64, 12.64])


@pytest.mark.parametrize("name", clip_params(SINGLE_SHOT))
def test_a_single_shot_is_not_cut(real_clip: Callable[[str], Path], name: str) -> None:
    path = real_clip(name)
    probe = probe_video(path)
    scan = scan_video(path, probe, ClipConfig())
    assert [shot.start_frame for shot in scan.shots] == [0]
    (shot,) = scan.shots
    assert shot.end_frame == scan.num_frames == probe.num_packets
    assert shot.start_s == 0
    assert shot.end_s == scan.duration_s == pytest.approx(probe.duration_s)
    assert 0.1 < shot.brightness < 0.9
    assert (shot.camera == "moving") == (name in MOVING_CAMERA), shot.camera_speed


# ---------------------------------------------------------------------------------- cuts


@pytest.mark.parametrize("crf", [20, 42])
@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(50)])
def test_hard_cuts_survive_encoding(
    tmp_path: Path, park: Frames, man: Frames, rabbit: Frames, fps: Fraction, crf: int
) -> None:
    path = tmp_path / "cuts.mp4"
    shots = (park[:40, :, :192], man[:55], rabbit[:35, :, :192], park[40:90, :, :192])
    write_video(path, np.concatenate(shots), fps, crf)
    scan = scan_video(path, probe_video(path), ClipConfig())
    assert [shot.start_frame for shot in scan.shots] == [0, 40, 95, 130]


def test_cuts_of_a_dark_upright_video(man: Frames, rabbit: Frames) -> None:
    frames = np.concatenate([man[:50, :, 60:140], rabbit[:50, :, 60:140]])
    dark = (frames * 0.15).astype(np.uint8)
    assert dark.shape[1] > dark.shape[2]
    assert find_cuts(dark) == [50]


def test_another_framing_of_the_same_scene_is_a_cut(rabbit: Frames) -> None:
    detector = ShotDetector(FPS)
    for frame in (*rabbit[:45], *rabbit[45:90, :72, :128]):
        detector.push(frame)
    assert detector.finish() == (45,)


@pytest.mark.parametrize("seed", range(4))
def test_dissolve_is_cut_in_its_middle(man: Frames, rabbit: Frames, seed: int) -> None:
    frames, truth = join_dissolve(man, rabbit[:, :, :192], np.random.default_rng(seed))
    (cut,) = find_cuts(frames)
    assert cut == pytest.approx((truth.first + truth.last) / 2, abs=4)


@pytest.mark.parametrize("kind", ["fade_black", "fade_white"])
def test_fade_is_cut_where_it_is_blank(man: Frames, rabbit: Frames, kind: str) -> None:
    frames, _ = JOINS[kind](man, rabbit[:, :, :192], np.random.default_rng(1))
    (cut,) = find_cuts(frames)
    assert frames[cut].std() < 1


def test_gradual_transitions_can_be_left_out(man: Frames, rabbit: Frames) -> None:
    frames, _ = join_dissolve(man, rabbit[:, :, :192], np.random.default_rng(0))
    assert find_cuts(frames, config=ShotConfig(gradual=False)) == []


def test_long_black_stretch_is_a_shot_and_short_black_ends_are_not(man: Frames) -> None:
    black = np.zeros_like(man)
    assert find_cuts(np.concatenate([man, black[:60], man])) == [90, 150]
    assert find_cuts(np.concatenate([black[:60], man])) == [60]
    assert find_cuts(np.concatenate([black[:10], man, black[:10]])) == []


# ------------------------------------------------------------------------------ no cuts


@pytest.mark.parametrize("trap", sorted(TRAPS))
@pytest.mark.parametrize("seed", range(3))
def test_a_disturbance_is_not_a_cut(park: Frames, trap: str, seed: int) -> None:
    assert find_cuts(TRAPS[trap](park, np.random.default_rng(seed))) == []


@pytest.mark.parametrize("seed", range(3))
def test_whip_pan_is_not_a_cut(rabbit: Frames, seed: int) -> None:
    frames = whip_pan(rabbit, (256, 144), np.random.default_rng(seed))
    assert find_cuts(frames) == []


def test_damage_that_creeps_in_and_is_gone_at_once_is_not_a_cut(rabbit: Frames) -> None:
    rows = np.arange(rabbit.shape[1])[:, None, None]
    damaged: list[Frames] = []
    for good_rows in [*range(130, 20, -10), *[20] * 30]:
        smear = np.broadcast_to(rabbit[40, good_rows], rabbit[40].shape)
        damaged.append(np.where(rows < good_rows, rabbit[40], smear))
    assert find_cuts(np.concatenate([rabbit[:40], np.stack(damaged), rabbit[40:]])) == []


def test_nothing_is_found_in_nothing(rabbit: Frames) -> None:
    assert find_cuts(rabbit[:0]) == []
    assert find_cuts(rabbit[:1]) == []
    assert find_cuts(np.repeat(rabbit[:1], 400, axis=0)) == []


# ------------------------------------------------------------------------------- memory


def test_memory_does_not_grow_and_chunks_do_not_show(man: Frames, rabbit: Frames) -> None:
    unit = np.concatenate([man, rabbit[:, :, :192]])
    detector = ShotDetector(FPS)
    most = 0
    for _ in range(10):
        for frame in unit:
            detector.push(frame)
            most = max(most, detector.num_frames_in_memory)
    assert detector.finish() == tuple(range(90, 1800, 90))
    assert most < 400


# ------------------------------------------------------------------------- configuration


@pytest.mark.parametrize("wrong", [{"max_similarity": 0}, {"min_step": -1}, {"thresold": 1}])
def test_wrong_thresholds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ShotConfig.model_validate(wrong)


# ------------------------------------------------------------------------------- camera


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.25, 0.0), (3.0, -2.0), (-5.0, 2.0)])
def test_global_shift_is_measured_below_a_pixel(park: Frames, shift: tuple[float, float]) -> None:
    frame = park[0].mean(axis=2)
    scale = 4
    left, top = 40, 24

    def view(x: float, y: float) -> NDArray[np.uint8]:
        x_px, y_px = round(left + x * scale), round(top + y * scale)
        part = frame[y_px : y_px + 96, x_px : x_px + 144]
        return part.reshape(24, scale, 36, scale).mean(axis=(1, 3)).astype(np.uint8)

    found = global_shift(view(0, 0), view(-shift[0], -shift[1]))
    assert found == pytest.approx(shift, abs=0.1)


def test_flat_images_have_no_shift() -> None:
    flat = np.full((36, 64), 128, dtype=np.uint8)
    assert global_shift(flat, flat) is None
