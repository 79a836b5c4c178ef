"""Tiny and huge videos are read, or rejected before they exhaust memory."""

import resource
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
from av.video.stream import VideoStream

from data.errors import ItemError, Reason
from data.video.probe import MAX_PIXELS, probe_video
from data.video.reader import ReaderConfig, open_frames, scan_thumbnails
from data.workers.workers import WorkerConfig, Workers


def _write(path: Path, width_px: int, height_px: int) -> Path:
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream("mpeg4", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for number in range(30):
            image = np.full((height_px, width_px, 3), (200, 8 * number, 30), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("size", [(2, 2), (8, 64), (16, 16), (24, 24), (26, 20), (32, 32)])
def test_narrow_videos_have_three_color_channels(tmp_path: Path, size: tuple[int, int]) -> None:
    path = _write(tmp_path / "narrow.mp4", *size)
    probe = probe_video(path)
    with open_frames(path, probe) as frames:
        images = [frame.image for frame in frames]
    assert {image.shape for image in images} == {(size[1], size[0], 3)}
    assert len(images) == 30
    # Red, as it was written, from the first frame to the last.
    assert all(image[..., 0].mean() > image[..., 2].mean() + 50 for image in images)
    with scan_thumbnails(path, probe) as frames:
        assert {frame.image.shape for frame in frames} == {(size[1], size[0], 3)}


def test_a_video_that_is_made_narrow_has_three_color_channels(tmp_path: Path) -> None:
    path = _write(tmp_path / "tall.mp4", 32, 320)
    with open_frames(path, probe_video(path), max_side_px=100) as frames:
        assert {frame.image.shape for frame in frames} == {(100, 10, 3)}


def test_decord_alone_refuses_narrow_videos(tmp_path: Path) -> None:
    path = _write(tmp_path / "narrow.mp4", 16, 16)
    with pytest.raises(ItemError, match="16 px wide"):
        open_frames(path, probe_video(path), config=ReaderConfig(decoder="decord"))


def test_a_gif_with_a_huge_canvas_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.gif"
    small = [PIL.Image.new("P", (8, 8), color) for color in (1, 2, 3)]
    small[0].save(path, save_all=True, append_images=small[1:], duration=40)
    data = bytearray(path.read_bytes())
    data[6:10] = (12_000).to_bytes(2, "little") * 2  # 576 MB a frame
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ItemError, match=f"a frame of at most {MAX_PIXELS} px") as caught:
        probe_video(path)
    assert caught.value.reason is Reason.ABSURD_HEADER
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def _look_into(path: Path) -> tuple[int, int]:
    """Number of frames of a file, and the frames of its first seconds."""
    probe = probe_video(path)
    with open_frames(path, probe, end_s=8.0, sample_fps=20.0) as frames:
        return probe.num_packets, sum(1 for _ in frames)


def _write_gif(path: Path, side_px: int, num_frames: int, pause_cs: int = 4) -> Path:
    """A GIF whose frames change one pixel each and take 24 bytes, for any canvas size."""
    head = b"GIF89a" + struct.pack("<HHBBB", side_px, side_px, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    pause = b"\x21\xf9\x04\x04" + struct.pack("<H", pause_cs) + b"\0\0"
    pixel = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    path.write_bytes(head + (pause + pixel) * num_frames + b"\x3b")
    return path


def test_a_small_gif_that_would_take_hours_is_refused(tmp_path: Path) -> None:
    """A file of 2.4 MB holds 100,000 frames of 64 MB each, 67 minutes long."""
    path = _write_gif(tmp_path / "hours.gif", 4000, 100_000)
    assert path.stat().st_size < 2_500_000
    with pytest.raises(ItemError, match="100000 frames of 4000 x 4000") as caught:
        probe_video(path)
    assert caught.value.reason is Reason.ABSURD_HEADER
    assert "ffmpeg" in caught.value.remedy


def test_a_limit_does_not_grow_with_the_length_that_a_file_declares(tmp_path: Path) -> None:
    """A file of 3 KB is 22 hours long; a minute per second of video would be two months."""
    path = _write_gif(tmp_path / "slow.gif", 100, 125, pause_cs=65_000)
    duration_s = probe_video(path).duration_s
    assert duration_s > 80_000
    config = WorkerConfig()
    assert config.timeout_s(duration_s) == config.max_timeout_s == 4 * 3600.0
    assert WorkerConfig(max_timeout_s=200.0).timeout_s(duration_s) == 200.0
    with pytest.raises(ValueError, match=r"max_timeout_s: expected at least .*Remedy"):
        WorkerConfig(max_timeout_s=60.0)


def test_a_gif_of_very_many_frames_stays_within_memory(tmp_path: Path) -> None:
    path = _write_gif(tmp_path / "many.gif", 16, 100_000)
    # As floats, its pictures would take 0.3 GB.
    config = WorkerConfig(num_workers=1, memory_gb=0.3)
    with Workers(config) as workers:
        ((_, found),) = workers.run(_look_into, [path], video_s=lambda _: 8.0)
    assert found == (100_000, 160)
