"""Shots are cut into clips of equal length, and unreadable files are rejected."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from annotators.clips.cutting import ClipConfig, cut_clips, scan_video
from data.errors import ItemError, Reason, Stage
from data.records import Shot, VideoScan
from data.video.probe import probe_video
from data.video.reader import open_frames
from tests.support import corruption


def make_scan(lengths: list[int], fps: float) -> VideoScan:
    shots: list[Shot] = []
    start = 0
    for length in lengths:
        end = start + length
        shots.append(Shot(start, end, start / fps, end / fps, 0.5, "static", 0.0))
        start = end
    return VideoScan(start, start / fps, tuple(shots), ())


configs = st.floats(0.2, 30).flatmap(
    lambda longest: st.builds(
        ClipConfig, max_clip_s=st.just(longest), min_clip_s=st.floats(0.05, longest / 2)
    )
)
scans = st.builds(
    make_scan,
    st.lists(st.integers(1, 2000), min_size=1, max_size=6),
    st.sampled_from([5.0, 10.0, 24000 / 1001, 25.0, 30.0, 59.94, 240.0]),
)


@given(scans, configs)
def test_clips_cover_shots_exactly_within_the_limits(scan: VideoScan, config: ClipConfig) -> None:
    clips, rejections = cut_clips("video", scan, config)
    num_short = 0
    for index, shot in enumerate(scan.shots):
        inside = [clip for clip in clips if clip.shot_index == index]
        if not inside:
            num_short += 1
            assert shot.end_s - shot.start_s < config.min_clip_s
            continue
        assert inside[0].start_frame == shot.start_frame
        assert inside[0].start_s == shot.start_s
        assert inside[-1].end_frame == shot.end_frame
        assert inside[-1].end_s == shot.end_s
        for before, after in pairwise(inside):
            assert before.end_frame == after.start_frame
            assert before.end_s == after.start_s
        frame_s = (shot.end_s - shot.start_s) / (shot.end_frame - shot.start_frame)
        num_frames = [clip.end_frame - clip.start_frame for clip in inside]
        assert max(num_frames) - min(num_frames) <= 1
        for clip in inside:
            length_s = clip.end_s - clip.start_s
            assert length_s == pytest.approx((clip.end_frame - clip.start_frame) * frame_s)
            # A clip has at least one frame, even if the frame is longer than the limit.
            assert length_s <= max(config.max_clip_s, frame_s) + 1e-5
            # Halves differ by at most one frame.
            assert length_s >= config.min_clip_s - frame_s - 1e-5
    assert len(rejections) == num_short
    ids = [clip.clip_id for clip in clips] + [rejection.item_id for rejection in rejections]
    assert len(set(ids)) == len(ids)
    assert cut_clips("video", scan, config) == (clips, rejections)


def test_a_shot_a_little_too_long_becomes_two_halves() -> None:
    clips, rejections = cut_clips("video", make_scan([260], 25.0), ClipConfig())
    assert [(c.start_frame, c.end_frame) for c in clips] == [(0, 130), (130, 260)]
    assert [(c.start_s, c.end_s) for c in clips] == [(0, 5.2), (5.2, 10.4)]
    assert rejections == []


def test_ids_depend_on_content_and_span_only() -> None:
    (first,), _ = cut_clips("a", make_scan([50], 25.0), ClipConfig())
    (slower,), _ = cut_clips("a", make_scan([50], 10.0), ClipConfig())
    (other,), _ = cut_clips("b", make_scan([50], 25.0), ClipConfig())
    assert first.clip_id == slower.clip_id == "7e3d817b2699f1c0"
    assert other.clip_id != first.clip_id


def test_a_short_shot_is_rejected_with_the_id_its_clip_would_have() -> None:
    scan = make_scan([50, 20, 50], 25.0)
    clips, (rejection,) = cut_clips("video", scan, ClipConfig())
    assert [clip.shot_index for clip in clips] == [0, 2]
    assert (rejection.stage, rejection.reason) == (Stage.CLIPS, Reason.TOO_SHORT)
    kept, _ = cut_clips("video", scan, ClipConfig(min_clip_s=0.5))
    assert rejection.item_id == kept[1].clip_id
    assert "0.800 s" in rejection.detail
    assert "min_clip_s" in rejection.remedy


def test_five_frames_of_one_second_are_one_clip(brief_clip: Path) -> None:
    path = brief_clip
    scan = scan_video(path, probe_video(path), ClipConfig())
    (clip,), rejections = cut_clips("video", scan, ClipConfig())
    assert (clip.start_frame, clip.end_frame) == (0, 5)
    assert rejections == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_clip_s": 11.0},
        {"min_clip_s": 6.0},
        {"min_clip_s": 0.0},
        {"max_clip_s": 0.0},
        {"max_clip": 5.0},
        {"shots": {"min_stp": 5.0}},
    ],
)
def test_wrong_limits_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ClipConfig.model_validate(wrong)


# -------------------------------------------------------------------------------- files


def test_damage_moves_no_frame_numbers(steady_clip: Path, tmp_path: Path) -> None:
    source = steady_clip
    path = corruption.bytes_changed_midfile(source, tmp_path / "damaged.mp4", num_places=200)
    scan = scan_video(path, probe_video(path), ClipConfig())
    whole = scan_video(source, probe_video(source), ClipConfig())
    assert 240 < scan.num_frames < 300
    assert any(issue.startswith("decode_errors:") for issue in scan.issues)
    assert (scan.shots[0].start_frame, scan.shots[-1].end_frame) == (0, 300)
    assert scan.duration_s == whole.duration_s


def test_a_video_of_which_most_is_lost_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lost.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in range(20):
            frame = av.VideoFrame(64, 48, "yuvj420p")
            for plane in frame.planes:
                plane.update(bytes(100 + number for _ in range(plane.buffer_size)))
            for packet in stream.encode(frame):
                container.mux(packet)
    data = path.read_bytes()
    starts = [n for n in range(len(data)) if data.startswith(b"\xff\xd8\xff", n)]
    assert len(starts) == 20
    damaged = bytearray(data)
    for start, end in pairwise([*starts[5:], data.rindex(b"\xff\xd9")]):
        damaged[start : end - 16] = bytes(end - 16 - start)
    path.write_bytes(damaged)
    with pytest.raises(ItemError) as caught:
        scan_video(path, probe_video(path), ClipConfig())
    assert caught.value.reason is Reason.DECODE_FAILED
    assert "expected about 20 frames" in caught.value.detail


def test_times_are_those_of_a_varying_rate(walk_clip: Path, tmp_path: Path) -> None:
    path = corruption.variable_rate(walk_clip, tmp_path / "varying.mkv")
    probe = probe_video(path)
    scan = scan_video(path, probe, ClipConfig())
    (shot,) = scan.shots
    assert (shot.start_frame, shot.end_frame) == (0, 71)
    assert shot.end_s == pytest.approx(probe.duration_s)


def test_clips_can_be_read_back_frame_by_frame(multishot_clip: Path) -> None:
    path = multishot_clip
    probe = probe_video(path)
    assert probe.fps == Fraction(25)
    config = ClipConfig(max_clip_s=2.0, min_clip_s=0.2)
    clips, _ = cut_clips("video", scan_video(path, probe, config), config)
    numbers: list[int] = []
    for clip in clips:
        with open_frames(
            path, probe, start_s=clip.start_s, end_s=clip.end_s, max_side_px=32
        ) as frames:
            inside = [frame.index for frame in frames]
        assert (inside[0], inside[-1] + 1) == (clip.start_frame, clip.end_frame)
        numbers += inside
    assert numbers == list(range(250))
