"""The reader on real clips and on files with all known kinds of damage."""

import hashlib
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from data.errors import ItemError, Reason
from data.records import Frame, VideoProbe
from data.video.files import hash_file
from data.video.probe import probe_video
from data.video.reader import ReaderConfig, open_frames, scan_thumbnails
from tests.support import corruption
from tests.support.clips import FETCHED, clip_params

PYAV = ReaderConfig(decoder="pyav")
DECORD = ReaderConfig(decoder="decord")

# file: frames, exact fps, displayed size, decoder that `auto` takes
CLIPS = {
    "empty_scene.mp4": (132, Fraction(25), (1280, 720), "decord"),
    "arm_wrestling.mp4": (280, Fraction(28), (427, 256), "pyav"),
    "balance_single_cam01.mp4": (100, Fraction(60), (1080, 1920), "decord"),
    "balance_single_cam03.mp4": (100, Fraction(60), (1088, 1920), "decord"),
    "balance_two_cam01.mp4": (100, Fraction(60), (1088, 1920), "decord"),
    "basketball_two.mp4": (300, Fraction(30000, 1001), (426, 240), "decord"),
    "bikes_multishot.mp4": (250, Fraction(25), (640, 272), "decord"),
    "bottles_no_person.mp4": (1189, Fraction(179, 6), (640, 360), "decord"),
    "cake_handheld.mp4": (300, Fraction(30), (320, 426), "decord"),
    "composite_a_multishot.mp4": (416, Fraction(25), (640, 360), "decord"),
    "juggle_football.mp4": (247, Fraction(24), (1280, 720), "decord"),
    "one_by_one_entry.mp4": (1394, Fraction(10), (768, 432), "decord"),
    "park_walk_and_jump.mp4": (230, Fraction(30), (1768, 994), "decord"),
    "portrait.mp4": (120, Fraction(30000, 1001), (193, 144), "pyav"),
    "pour_coffee_hands.mp4": (287, Fraction(30000, 1001), (1280, 720), "decord"),
    "pushup_lying.mp4": (53, Fraction(25), (1920, 1080), "decord"),
    "sign_book.mkv": (109, Fraction(30), (640, 480), "pyav"),
    "street_crowd_5frames.mp4": (5, Fraction(5), (960, 540), "decord"),
    "street_crowd_dance.avi": (205, Fraction(50), (1280, 720), "decord"),
    "sword_form.mp4": (150, Fraction(30), (1280, 720), "decord"),
    "woman_dog.mp4": (289, Fraction(30000, 1001), (1280, 720), "decord"),
    "worker_walk.mp4": (71, Fraction(50, 3), (480, 270), "decord"),
    "yoga_woman.mp4": (300, Fraction(30), (568, 320), "decord"),
}


@pytest.fixture
def clip(steady_clip: Path) -> Path:
    """300 frames at 30 fps, with B-frames; square pixels."""
    return steady_clip


def read(
    path: Path,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    sample_fps: float | None = None,
    max_side_px: int | None = 96,
    config: ReaderConfig = PYAV,
) -> list[Frame]:
    with open_frames(
        path,
        probe_video(path),
        start_s=start_s,
        end_s=end_s,
        sample_fps=sample_fps,
        max_side_px=max_side_px,
        config=config,
    ) as reader:
        return list(reader)


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two images, 0..255."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(np.int16) - b).mean())


def failure(path: Path) -> ItemError:
    with pytest.raises(ItemError) as caught:
        probe_video(path)
    error = caught.value
    assert str(path) in error.detail
    assert "expected" in error.detail
    assert "found" in error.detail
    assert error.remedy.endswith(".")
    assert pickle.loads(pickle.dumps(error)).detail == error.detail  # noqa: S301
    return error


# ------------------------------------------------------------------------- healthy clips


@pytest.mark.parametrize("name", clip_params(CLIPS))
def test_probe_of_real_clip(real_clip: Callable[[str], Path], name: str) -> None:
    num_frames, fps, size_px, _ = CLIPS[name]
    path = real_clip(name)
    probe = probe_video(path)
    assert probe.issues == ()
    assert (probe.num_packets, probe.fps) == (num_frames, fps)
    assert (probe.width_px, probe.height_px) == size_px
    assert probe.rotation_deg == 0
    assert probe.constant_rate
    assert probe.duration_s == pytest.approx(float(num_frames / fps), abs=0.5 / float(fps))
    assert probe.size_bytes == path.stat().st_size


def test_every_clip_is_tested(videos_dir: Path) -> None:
    videos = {p.name for p in videos_dir.iterdir() if p.suffix in {".mp4", ".mkv", ".avi"}}
    assert videos | set(FETCHED) == set(CLIPS)


@pytest.mark.parametrize("name", clip_params(CLIPS))
def test_auto_decoder_and_pyav_see_the_same(real_clip: Callable[[str], Path], name: str) -> None:
    path = real_clip(name)
    num_frames, fps, _, decoder = CLIPS[name]
    for max_side_px, tolerance in ((None, 0.0), (256, 0.5)):
        with open_frames(
            path, probe_video(path), start_s=0.4, end_s=1.4, max_side_px=max_side_px
        ) as reader:
            automatic = list(reader)
        pyav = read(path, start_s=0.4, end_s=1.4, max_side_px=max_side_px)
        assert (reader.decoder, reader.issues) == (decoder, ())
        assert [(f.index, f.pts_s) for f in automatic] == [(f.index, f.pts_s) for f in pyav]
        expected = [i for i in range(num_frames) if Fraction(2, 5) <= i / fps < Fraction(7, 5)]
        assert [f.index for f in pyav] == expected
        for one, other in zip(automatic, pyav, strict=True):
            assert difference(one.image, other.image) <= tolerance


@pytest.mark.parametrize(
    "name", clip_params(("bikes_multishot.mp4", "portrait.mp4", "sign_book.mkv"))
)
def test_pts_and_index_of_every_frame(real_clip: Callable[[str], Path], name: str) -> None:
    num_frames, fps, _, _ = CLIPS[name]
    for config in (ReaderConfig(), PYAV):
        frames = read(real_clip(name), config=config)
        assert [f.index for f in frames] == list(range(num_frames))
        np.testing.assert_allclose(
            [f.pts_s for f in frames], np.arange(num_frames) / float(fps), atol=1e-3
        )
        assert frames[0].pts_s == 0


def test_images_are_upright_rgb_and_contiguous(clip: Path) -> None:
    for config in (PYAV, DECORD):
        (frame,) = read(clip, end_s=0.01, max_side_px=None, config=config)
        assert frame.image.shape == (320, 568, 3)
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        with av.open(str(clip)) as container:
            decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
        assert difference(frame.image, decoded.astype(np.uint8)) < 1


@pytest.mark.parametrize("max_side_px", [1, 100, 567, 568, 10_000])
def test_longer_side_is_limited_and_never_enlarged(clip: Path, max_side_px: int) -> None:
    # decord is not trusted with narrow pictures; asked for by name, it would be refused.
    for config in (PYAV, ReaderConfig() if max_side_px == 1 else DECORD):
        (frame,) = read(clip, end_s=0.01, max_side_px=max_side_px, config=config)
        height_px, width_px, _ = frame.image.shape
        assert width_px == min(max_side_px, 568)
        assert height_px == max(1, round(320 * width_px / 568))


def test_decord_is_not_asked_for_narrow_pictures(clip: Path) -> None:
    for side_px, decoder in ((31, "pyav"), (32, "decord")):
        with open_frames(clip, probe_video(clip), end_s=0.01, max_side_px=side_px) as reader:
            assert (len(list(reader)), reader.decoder) == (1, decoder)
    with pytest.raises(ItemError, match=r"expected a file for decord.*are 31 px wide"):
        read(clip, end_s=0.01, max_side_px=31, config=DECORD)


# ------------------------------------------------------------------------- spans, sampling


@pytest.mark.parametrize("config", [PYAV, DECORD], ids=["pyav", "decord"])
def test_span_is_half_open(clip: Path, config: ReaderConfig) -> None:
    whole = read(clip, config=config)
    spans = [(0, 1), (30, 31), (29, 61), (149, 250), (299, 300), (3, 300)]
    for first, last in spans:
        end_s = whole[last].pts_s if last < 300 else None
        part = read(clip, start_s=whole[first].pts_s, end_s=end_s, config=config)
        assert [f.index for f in part] == list(range(first, last))
        for frame in part:
            np.testing.assert_array_equal(frame.image, whole[frame.index].image)


def test_seeking_changes_nothing(multishot_clip: Path, tmp_path: Path) -> None:
    paths = [multishot_clip] + [
        corruption.remuxed(multishot_clip, tmp_path / name) for name in ("a.mkv", "a.ts", "a.avi")
    ]
    for path in paths:
        whole = read(path, max_side_px=32)
        assert [f.index for f in whole] == list(range(250))
        for first in (5, 76, 77, 187, 230):
            end_s = whole[first + 20].pts_s if first < 230 else None
            part = read(path, start_s=whole[first].pts_s, end_s=end_s, max_side_px=32)
            assert [f.index for f in part] == list(range(first, first + 20))
            for frame in part:
                np.testing.assert_array_equal(frame.image, whole[frame.index].image)


def test_span_behind_the_end_is_empty(clip: Path) -> None:
    for config in (PYAV, DECORD):
        assert read(clip, start_s=11.0, config=config) == []


@pytest.mark.parametrize("config", [PYAV, DECORD], ids=["pyav", "decord"])
@pytest.mark.parametrize(
    ("sample_fps", "expected"),
    [
        (30.0, list(range(30))),
        (60.0, list(range(30))),
        (1000.0, list(range(30))),
        (10.0, list(range(0, 30, 3))),
        (20.0, [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16, 18, 19, 21, 22, 24, 25, 27, 28]),
        (1.0, [0]),
        (0.1, [0]),
    ],
)
def test_sampling_takes_the_nearest_frames_once(
    clip: Path, config: ReaderConfig, sample_fps: float, expected: list[int]
) -> None:
    frames = read(clip, end_s=1.0, sample_fps=sample_fps, config=config)
    assert [f.index for f in frames] == expected


def test_sampling_grid_starts_at_the_span(clip: Path) -> None:
    frames = read(clip, start_s=0.52, end_s=1.02, sample_fps=10)
    # Grid 0.52, 0.62, …: the nearest frames inside the span.
    assert [f.index for f in frames] == [16, 19, 22, 25, 28]


def test_sampling_of_a_variable_rate(clip: Path, tmp_path: Path) -> None:
    path = corruption.variable_rate(clip, tmp_path / "v.mkv")
    frames = read(path, sample_fps=20)
    pts_s = np.array([f.pts_s for f in read(path)])
    grid_s = np.arange(0, pts_s[-1], 1 / 20)
    nearest = {int(np.argmin(np.round(np.abs(pts_s - t), 6))) for t in grid_s}
    assert [f.index for f in frames] == sorted(nearest)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start_s": -1.0}, "expected 0 <= start_s < end_s"),
        ({"start_s": 2.0, "end_s": 2.0}, "expected 0 <= start_s < end_s"),
        ({"start_s": float("nan")}, "expected 0 <= start_s < end_s"),
        ({"end_s": float("nan")}, "expected 0 <= start_s < end_s"),
        ({"sample_fps": 0.0}, "expected sample_fps > 0"),
        ({"sample_fps": float("inf")}, "expected sample_fps > 0"),
        ({"max_side_px": 0}, "expected max_side_px >= 1"),
    ],
)
def test_invalid_arguments_are_refused(clip: Path, wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_frames(clip, probe_video(clip), **wrong)  # pyright: ignore[reportArgumentType]


def test_config_refuses_typos() -> None:
    with pytest.raises(ValidationError):
        ReaderConfig.model_validate({"decoder": "opencv"})
    with pytest.raises(ValidationError):
        ReaderConfig.model_validate({"decodr": "auto"})


# ------------------------------------------------------------------------- thumbnails


@pytest.mark.parametrize(
    "name",
    clip_params(
        ("empty_scene.mp4", "bottles_no_person.mp4", "sign_book.mkv", "basketball_two.mp4")
    ),
)
def test_thumbnails_are_every_frame_and_look_the_same(
    real_clip: Callable[[str], Path], name: str
) -> None:
    path = real_clip(name)
    probe = probe_video(path)
    with scan_thumbnails(path, probe, width_px=128) as reader:
        thumbnails = list(reader)
    assert reader.issues == ()
    frames = read(path, max_side_px=128)
    assert [(f.index, f.pts_s) for f in thumbnails] == [(f.index, f.pts_s) for f in frames]
    # A loop filter left out on frames that others refer to would add up to more than 4.
    worst = max(difference(a.image, b.image) for a, b in zip(thumbnails, frames, strict=True))
    assert worst < 2.5
    assert {f.image.shape[1] for f in thumbnails} == {128}


def test_thumbnails_are_never_enlarged(walk_clip: Path) -> None:
    path = walk_clip
    with scan_thumbnails(path, probe_video(path), width_px=5000) as reader:
        assert {f.image.shape for f in reader} == {(270, 480, 3)}


# ------------------------------------------------------------------------- odd but sound


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_start_offset_is_removed(clip: Path, tmp_path: Path, suffix: str) -> None:
    path = corruption.start_offset(clip, tmp_path / f"a{suffix}", offset_s=5.0)
    probe = probe_video(path)
    assert probe.start_offset_s == pytest.approx(5.0)
    assert probe.duration_s == pytest.approx(10.0, abs=0.002)
    assert (probe.fps, probe.issues) == (30, ())
    with open_frames(path, probe, max_side_px=96) as reader:
        frames = list(reader)
    assert reader.decoder == "pyav"
    assert [f.index for f in frames] == list(range(300))
    np.testing.assert_allclose([f.pts_s for f in frames], np.arange(300) / 30, atol=1e-3)
    np.testing.assert_array_equal(frames[-1].image, read(clip)[-1].image)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_rate(clip: Path, tmp_path: Path, suffix: str) -> None:
    path = corruption.variable_rate(clip, tmp_path / f"v{suffix}")
    probe = probe_video(path)
    assert not probe.constant_rate
    assert probe.issues == ()
    with open_frames(path, probe, max_side_px=96) as reader:
        frames = list(reader)
    assert reader.decoder == "pyav"
    assert len(frames) == 300
    intervals_s = np.diff([f.pts_s for f in frames])
    assert intervals_s[0] == pytest.approx(1 / 30, abs=1e-3)
    assert intervals_s[-1] == pytest.approx(3 / 30, abs=1e-3)
    assert float(probe.fps) == pytest.approx(299 / frames[-1].pts_s)


def test_edit_list_hides_frames(clip: Path, tmp_path: Path) -> None:
    path = corruption.hidden_start(clip, tmp_path / "h.mp4", hidden_s=0.5)
    probe = probe_video(path)
    assert probe.issues == ("hidden_by_edit_list:15",)
    frames = read(path)
    assert [f.index for f in frames] == list(range(285))
    assert frames[0].pts_s == 0
    whole = read(clip)
    np.testing.assert_array_equal(frames[0].image, whole[15].image)
    np.testing.assert_array_equal(frames[284].image, whole[299].image)
    (late,) = read(path, start_s=frames[200].pts_s, end_s=frames[201].pts_s)
    np.testing.assert_array_equal(late.image, whole[215].image)


@pytest.mark.parametrize("clockwise_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation(clip: Path, tmp_path: Path, clockwise_deg: int, mirrored: bool) -> None:
    path = corruption.rotated(
        clip, tmp_path / "r.mp4", clockwise_deg=clockwise_deg, mirrored=mirrored
    )
    probe = probe_video(path)
    assert probe.rotation_deg == clockwise_deg
    upright = (568, 320) if clockwise_deg % 180 == 0 else (320, 568)
    assert (probe.width_px, probe.height_px) == upright
    expected = np.rot90(read(clip, end_s=0.01)[0].image, -(clockwise_deg // 90))
    if mirrored:
        expected = expected[:, ::-1]
    (frame,) = read(path, end_s=0.01, config=ReaderConfig())
    assert difference(frame.image, expected) < 0.5
    with scan_thumbnails(path, probe, width_px=50) as reader:
        thumbnail = next(iter(reader)).image
    assert thumbnail.shape[:2] == (round(50 * upright[1] / upright[0]), 50)


def test_times_of_avi_with_reordered_frames(clip: Path, tmp_path: Path) -> None:
    """AVI stores only the decoding order: no frame may be lost to generated times."""
    path = corruption.remuxed(clip, tmp_path / "b.avi")
    probe = probe_video(path)
    assert "no_timestamps" in probe.issues
    frames, whole = read(path, config=ReaderConfig()), read(clip)
    assert len(frames) == 300
    for frame, expected in zip(frames, whole, strict=True):
        assert frame.index == expected.index
        assert frame.pts_s == pytest.approx(expected.pts_s, abs=1e-3)
        np.testing.assert_array_equal(frame.image, expected.image)


def test_raw_stream_without_times(clip: Path, tmp_path: Path) -> None:
    path = corruption.remuxed(clip, tmp_path / "r.h264", container_format="h264")
    assert probe_video(path).issues == ("no_timestamps",)
    frames = read(path, config=ReaderConfig())
    assert [f.index for f in frames] == list(range(300))
    # Without times in the stream, FFmpeg assumes 25 frames per second.
    np.testing.assert_allclose([f.pts_s for f in frames], np.arange(300) / 25, atol=1e-6)
    np.testing.assert_array_equal(frames[150].image, read(clip)[150].image)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "mpeg4"), ("a.ts", "mpeg2video"), ("a.mpg", "mpeg2video")]
)
@pytest.mark.parametrize("b_frames", [0, 2])
def test_old_codecs(clip: Path, tmp_path: Path, name: str, codec: str, b_frames: int) -> None:
    # In a.mpg several frames lie in one packet of the stream, of which one has a time.
    path = corruption.reencoded(clip, tmp_path / name, codec=codec, b_frames=b_frames)
    frames = read(path, config=ReaderConfig(), max_side_px=None)
    assert [f.index for f in frames] == list(range(40))
    np.testing.assert_allclose([f.pts_s for f in frames], np.arange(40) / 25, atol=1e-3)
    assert frames[0].image.shape == (120, 160, 3)


def test_extension_does_not_matter(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "mp4-inside.avi"
    path.write_bytes(clip.read_bytes())
    assert probe_video(path).issues == ()
    assert len(read(path, config=DECORD)) == 300


def test_path_that_is_not_utf8(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.mp4"
    path.write_bytes(clip.read_bytes())
    with open_frames(path, probe_video(path), end_s=0.5, max_side_px=32) as reader:
        assert len(list(reader)) == 15
    assert reader.decoder == "pyav"


def test_path_with_special_characters(clip: Path, tmp_path: Path) -> None:
    for name in ("http:x.mp4", "%03d.mp4", "a b#c?.mp4", "-i.mp4", "файл.mp4"):
        path = tmp_path / name
        path.write_bytes(clip.read_bytes())
        assert len(read(path, end_s=0.5, config=ReaderConfig())) == 15


# ------------------------------------------------------------------------- over-reported


def test_over_reported_length_is_not_believed(clip: Path, tmp_path: Path) -> None:
    path = corruption.over_reported_length(clip, tmp_path / "o.mp4", factor=20)
    probe = probe_video(path)
    assert (probe.num_packets, probe.fps) == (300, 30)
    assert probe.duration_s == pytest.approx(10.0)
    assert len(read(path, config=ReaderConfig())) == 300


def test_over_reported_avi_is_not_believed(clip: Path, tmp_path: Path) -> None:
    source = corruption.reencoded(clip, tmp_path / "s.avi")
    path = corruption.over_reported_avi(source, tmp_path / "o.avi", factor=20)
    probe = probe_video(path)
    assert probe.issues == ("over_reported_length",)
    assert probe.duration_s == pytest.approx(1.6)
    with open_frames(path, probe) as reader:
        assert len(list(reader)) == 40
    assert reader.decoder == "pyav"
    with pytest.raises(ItemError, match="over_reported_length") as caught:
        open_frames(path, probe, config=DECORD)
    assert caught.value.reason is Reason.DECODE_FAILED


# ------------------------------------------------------------------------- damage


def test_damage_in_mid_file_costs_only_the_damaged_frames(clip: Path, tmp_path: Path) -> None:
    source = clip
    path = corruption.bytes_changed_midfile(source, tmp_path / "d.mp4", num_places=200)
    whole = read(source)
    by_decoder: list[list[int]] = []
    for config in (PYAV, ReaderConfig()):
        with open_frames(path, probe_video(path), max_side_px=96, config=config) as reader:
            frames = list(reader)
        indices = [f.index for f in frames]
        by_decoder.append(indices)
        assert indices == sorted(set(indices))
        assert 240 < len(frames) < 300
        assert any(issue.startswith("decode_errors:") for issue in reader.issues)
        assert f"missing_frames:{300 - len(frames)}" in reader.issues
        assert reader.decoder == "pyav"
        # Frames keep their place: index and time are those of the undamaged file.
        for frame in frames:
            assert frame.pts_s == whole[frame.index].pts_s
        first, last = frames[0], frames[-1]
        assert (first.index, last.index) == (0, 299)
        assert difference(first.image, whole[0].image) < 0.5
    assert by_decoder[0] == by_decoder[1]
    assert "decord_failed:1" in reader.issues


def test_damage_is_reported_by_the_thumbnail_scan(clip: Path, tmp_path: Path) -> None:
    source = clip
    path = corruption.bytes_changed_midfile(source, tmp_path / "d.mp4", num_places=200)
    with scan_thumbnails(path, probe_video(path)) as reader:
        frames = list(reader)
    assert any(issue.startswith("decode_errors:") for issue in reader.issues)
    assert f"missing_frames:{300 - len(frames)}" in reader.issues
    assert 240 < len(frames) < 300


def test_codec_without_a_decoder(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "unknown.mp4"
    path.write_bytes(clip.read_bytes().replace(b"avc1", b"zzzz"))
    assert failure(path).reason is Reason.DECODE_FAILED


def test_a_file_without_a_decodable_frame_is_rejected(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov", start) - 4
    data[start:end] = b"\xff" * (end - start)
    path = tmp_path / "noise.mp4"
    path.write_bytes(data)
    probe = probe_video(path)
    with (
        open_frames(path, probe) as reader,
        pytest.raises(ItemError, match="decoded none") as caught,
    ):
        list(reader)
    assert caught.value.reason is Reason.DECODE_FAILED


def test_truncated_files(clip: Path, tmp_path: Path) -> None:
    mkv = corruption.remuxed(clip, tmp_path / "a.mkv")
    avi = corruption.remuxed(clip, tmp_path / "a.avi")
    paths = [
        corruption.truncated_index_first(clip, tmp_path / "index_first.mp4"),
        corruption.truncated_index_first(clip, tmp_path / "almost.mp4", keep=0.999),
        corruption.without_index(clip, tmp_path / "no_index.mp4"),
        corruption.cut(mkv, tmp_path / "cut.mkv", keep=0.6),
        corruption.cut(avi, tmp_path / "cut.avi", keep=0.6),
    ]
    for path in paths:
        assert failure(path).reason is Reason.TRUNCATED, path


def test_file_that_lost_only_its_tail_of_tags_is_whole(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "tail.mp4"
    free = (5000).to_bytes(4, "big") + b"free" + bytes(100)
    path.write_bytes(clip.read_bytes() + free)
    assert probe_video(path).num_packets == 300


def test_cut_transport_stream_is_read_to_its_end(clip: Path, tmp_path: Path) -> None:
    whole = corruption.remuxed(clip, tmp_path / "a.ts")
    path = corruption.cut(whole, tmp_path / "cut.ts", keep=0.5)
    frames = read(path, config=ReaderConfig())
    assert 100 < len(frames) < 250
    assert probe_video(path).duration_s == pytest.approx(frames[-1].pts_s, abs=0.2)


def make_ffconcat(target: Path, clip: Path) -> Path:
    target.write_text(f"ffconcat version 1.0\nfile '{clip}'\n", encoding="utf-8")
    return target


def make_playlist(target: Path, clip: Path) -> Path:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:10", "#EXTINF:10,", str(clip), "#EXT-X-ENDLIST"]
    target.write_text("\n".join(lines), encoding="utf-8")
    return target


BAD_FILES: dict[str, tuple[Callable[[Path, Path], Path], Reason]] = {
    "missing": (lambda target, _: target, Reason.NOT_FOUND),
    "dangling link": (lambda target, _: corruption.dangling_link(target), Reason.NOT_FOUND),
    "below a file": (lambda _, clip: clip / "x.mp4", Reason.NOT_FOUND),
    "folder": (lambda target, _: corruption.directory_named_video(target), Reason.NOT_A_FILE),
    "pipe": (lambda target, _: corruption.pipe(target), Reason.NOT_A_FILE),
    "socket": (lambda target, _: corruption.unix_socket(target), Reason.NOT_A_FILE),
    "device": (lambda *_: Path("/dev/zero"), Reason.NOT_A_FILE),
    "empty": (lambda target, _: corruption.zero_bytes(target), Reason.EMPTY_FILE),
    "too long a name": (lambda target, _: target.with_name("x" * 300), Reason.UNREADABLE),
    "text": (lambda target, _: corruption.text_named_video(target), Reason.NOT_A_VIDEO),
    "image": (lambda target, clip: corruption.still_image(clip, target), Reason.NOT_A_VIDEO),
    "list of files": (make_ffconcat, Reason.NOT_A_VIDEO),
    "playlist": (make_playlist, Reason.NOT_A_VIDEO),
    "audio": (lambda target, _: corruption.audio_only(target), Reason.NO_VIDEO_STREAM),
    "3000 fps": (
        lambda target, clip: corruption.remuxed(clip, target, retime=lambda time_s: time_s / 100),
        Reason.ABSURD_HEADER,
    ),
    "55 hours": (
        lambda target, clip: corruption.remuxed(clip, target, retime=lambda t: t * 20_000),
        Reason.ABSURD_HEADER,
    ),
    "20000 px": (
        lambda target, _: corruption.raw_video(target, width_px=20_000, height_px=8),
        Reason.ABSURD_HEADER,
    ),
    "100000 px": (
        lambda target, _: corruption.raw_video(target, width_px=100_000, height_px=100_000),
        Reason.NOT_A_VIDEO,
    ),
    "cover art": (
        lambda target, clip: corruption.audio_with_cover(clip, target),
        Reason.NO_VIDEO_STREAM,
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_refused_with_its_reason(clip: Path, tmp_path: Path, name: str) -> None:
    make, reason = BAD_FILES[name]
    path = make(tmp_path / "bad.mp4", clip)
    assert failure(path).reason is reason
    if reason in {Reason.NOT_FOUND, Reason.NOT_A_FILE, Reason.EMPTY_FILE, Reason.UNREADABLE}:
        with pytest.raises(ItemError) as caught:
            hash_file(path)
        assert caught.value.reason is reason


def test_permission_denied(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read every file, so the refusal is simulated."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    probe_video.__globals__["_scan_cached"].cache_clear()
    for function in (probe_video, hash_file):
        with pytest.raises(ItemError, match="Permission denied") as caught:
            function(clip)
        assert caught.value.reason is Reason.UNREADABLE


def test_null_character_in_path() -> None:
    with pytest.raises(ItemError) as caught:
        probe_video(Path("a\0b.mp4"))
    assert caught.value.reason is Reason.NOT_FOUND


# ------------------------------------------------------------------------- identity, decoder


def test_hash_is_of_the_content(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other-name.bin"
    copy.write_bytes(clip.read_bytes())
    assert hash_file(copy) == hash_file(clip) == hashlib.sha256(clip.read_bytes()).hexdigest()[:16]
    copy.write_bytes(clip.read_bytes() + b"\0")
    assert hash_file(copy) != hash_file(clip)


def test_changed_file_is_scanned_anew(clip: Path, walk_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clip.read_bytes())
    assert probe_video(path).num_packets == 300
    path.write_bytes(walk_clip.read_bytes())
    assert probe_video(path).num_packets == 71


def test_decord_alone_refuses_what_it_would_read_wrongly(clip: Path, tmp_path: Path) -> None:
    path = corruption.start_offset(clip, tmp_path / "late.mp4")
    with pytest.raises(ItemError, match=r"starts at 5 s") as caught:
        open_frames(path, probe_video(path), config=DECORD)
    assert caught.value.reason is Reason.DECODE_FAILED


def test_pyav_takes_over_when_decord_cannot_open(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise RuntimeError("cannot open")

    monkeypatch.setattr("data.video.reader._decord_reader", refuse)
    with open_frames(clip, probe_video(clip), end_s=1.0, max_side_px=32) as reader:
        assert len(list(reader)) == 30
    assert (reader.decoder, reader.issues) == ("pyav", ("decord_refused:1",))


def test_stopping_early_releases_the_file(clip: Path) -> None:
    probe: VideoProbe = probe_video(clip)
    for config in (PYAV, DECORD):
        with open_frames(clip, probe, max_side_px=32, config=config) as reader:
            assert next(iter(reader)).index == 0
        reader.close()
