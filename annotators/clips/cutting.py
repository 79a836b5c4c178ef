"""Cut a video into clips.

One decoding pass finds the shots. Each shot is then cut into clips of equal length.
"""

import math
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from pydantic import Field, model_validator

from annotators.clips.camera import CameraMotion
from annotators.clips.shots import THUMBNAIL_SIDE_PX, ShotConfig, ShotDetector
from data.config import Config
from data.errors import ItemError, Reason, Stage
from data.records import Clip, Rejection, Shot, VideoProbe, VideoScan, clip_id_of
from data.video.reader import scan_thumbnails

_MIN_DECODED_SHARE: Final = 0.5
"""A video is rejected when a smaller share of its frames decodes, because most of its content would
be missing."""

_MIN_MOVING_SPEED: Final = 0.02
"""Speed, in image widths per second, from which a camera counts as moving. On the development clips
cameras on tripods measure below 0.013 and handheld cameras above 0.03."""

_LUMA_WEIGHTS: Final = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
_EPSILON_S: Final = 1e-6


class ClipConfig(Config):
    """How videos are cut into clips."""

    max_clip_s: float = Field(
        default=10.0, gt=0, le=3600, description="Longer shots are cut into clips of equal length."
    )
    min_clip_s: float = Field(
        default=1.0, gt=0, description="Shorter shots are skipped. At most half of max_clip_s."
    )
    shots: ShotConfig = Field(
        default_factory=ShotConfig, description="How the cuts between shots are found."
    )

    @model_validator(mode="after")
    def _check_lengths(self) -> "ClipConfig":
        # A shot slightly longer than max_clip_s is cut into two halves, and each half has to be
        # at least min_clip_s long.
        if 2 * self.min_clip_s > self.max_clip_s:
            raise ValueError(
                f"min_clip_s: expected at most half of max_clip_s ({self.max_clip_s:g}), "
                f"found {self.min_clip_s:g}"
            )
        return self


def scan_video(path: Path, probe: VideoProbe, config: ClipConfig) -> VideoScan:
    """Decode every frame of a video once, at thumbnail size, and find its shots.

    Args:
        path: path of the video.
        probe: result of :func:`data.video.probe.probe_video` for this video.
        config: settings of the shot detector.

    Returns:
        The shots, which cover all frames from the first to the last that decodes. Frames are
        numbered as in :mod:`data.video.probe`: a frame that is lost to damage keeps its number.

    Raises:
        ItemError: ``zero_frames`` when there is no frame, ``decode_failed`` when fewer than half
            of the frames that the packets announce can be decoded, or an error of the reader.
    """
    detector = ShotDetector(float(probe.fps), config.shots)
    motion = CameraMotion()
    indices, times_s, luma = array("q"), array("d"), array("f")
    speed_at, speeds = array("q"), array("f")
    width_px = round(THUMBNAIL_SIDE_PX * min(1.0, probe.width_px / probe.height_px))
    with scan_thumbnails(path, probe, width_px=max(1, width_px)) as frames:
        for frame in frames:
            detector.push(frame.image)
            speed = motion.push(frame.pts_s, frame.image)
            if speed is not None:
                speed_at.append(len(indices))
                speeds.append(speed)
            indices.append(frame.index)
            times_s.append(frame.pts_s)
            luma.append(float(np.dot(cv2.mean(frame.image)[:3], _LUMA_WEIGHTS)))
        issues = frames.issues
    _check_decoded(path, probe, len(indices), issues)

    # When frames are lost at the end of the file, the last decoded frame is not prolonged.
    last_s = probe.duration_s - times_s[-1]
    if indices[-1] < probe.num_packets - 1:
        last_s = min(last_s, float(1 / probe.fps))
    end_s = times_s[-1] + last_s
    starts = (0, *detector.finish())
    shots: list[Shot] = []
    speed_numbers, speed_values = np.asarray(speed_at), np.asarray(speeds)
    for start, stop in zip(starts, (*starts[1:], len(indices)), strict=True):
        # A speed describes the motion up to its frame, so the speed at the cut itself compares
        # two different shots and is ignored.
        inside = (speed_numbers > start) & (speed_numbers < stop)
        camera_speed = float(np.median(speed_values[inside])) if inside.any() else 0.0
        last = stop == len(indices)
        shots.append(
            Shot(
                start_frame=indices[start],
                end_frame=indices[-1] + 1 if last else indices[stop],
                start_s=times_s[start],
                end_s=end_s if last else times_s[stop],
                brightness=float(np.mean(luma[start:stop])) / 255,
                camera="moving" if camera_speed >= _MIN_MOVING_SPEED else "static",
                camera_speed=camera_speed,
            )
        )
    return VideoScan(len(indices), end_s, tuple(shots), issues)


def _check_decoded(path: Path, probe: VideoProbe, num_frames: int, issues: tuple[str, ...]) -> None:
    found = f"found {num_frames} ({', '.join(issues) or 'no error reported'})"
    if num_frames == 0:
        raise ItemError(
            Reason.ZERO_FRAMES,
            f"{path}: expected frames from {probe.num_packets} packets, {found}.",
            "Check that the video plays; record or export it again.",
        )
    # Packets hidden by an edit list are not expected to decode.
    expected = min(probe.num_packets, round(probe.duration_s * probe.fps))
    if num_frames < _MIN_DECODED_SHARE * expected:
        raise ItemError(
            Reason.DECODE_FAILED,
            f"{path}: expected about {expected} frames and at least half of them, {found}.",
            "Copy or download the file again, or re-encode it (ffmpeg -i in -c:v libx264 out.mp4).",
        )


def cut_clips(
    video_id: str, scan: VideoScan, config: ClipConfig
) -> tuple[list[Clip], list[Rejection]]:
    """Cut shots into clips of equal length that are no longer than ``max_clip_s``.

    No clip spans a cut. A shot of 10.4 s becomes two clips of 5.2 s instead of one of 10 s and a
    remainder of 0.4 s, because a movement in such a short clip could not be described.

    Args:
        video_id: content hash of the video.
        scan: the shots of the video.
        config: limits on the length of clips.

    Returns:
        The clips in order of time, and one rejection per shot shorter than ``min_clip_s``.
    """
    clips: list[Clip] = []
    rejections: list[Rejection] = []
    for shot_index, shot in enumerate(scan.shots):
        length_s = shot.end_s - shot.start_s
        if length_s < config.min_clip_s - _EPSILON_S:
            rejections.append(_too_short(video_id, shot, config.min_clip_s))
            continue
        num_frames = shot.end_frame - shot.start_frame
        frame_s = length_s / num_frames
        max_frames = max(1, math.floor((config.max_clip_s + _EPSILON_S) / frame_s))
        num_clips = math.ceil(num_frames / max_frames)
        offsets = [n * num_frames // num_clips for n in range(num_clips + 1)]
        for start, end in pairwise(offsets):
            start_frame, end_frame = shot.start_frame + start, shot.start_frame + end
            clips.append(
                Clip(
                    clip_id=clip_id_of(video_id, start_frame, end_frame),
                    video_id=video_id,
                    shot_index=shot_index,
                    start_frame=start_frame,
                    end_frame=end_frame,
                    start_s=shot.start_s + start * frame_s,
                    end_s=shot.end_s if end == num_frames else shot.start_s + end * frame_s,
                    brightness=shot.brightness,
                    camera=shot.camera,
                    camera_speed=shot.camera_speed,
                )
            )
    return clips, rejections


def _too_short(video_id: str, shot: Shot, min_clip_s: float) -> Rejection:
    error = ItemError(
        Reason.TOO_SHORT,
        f"expected a shot of at least {min_clip_s:g} s, found {shot.end_s - shot.start_s:.3f} s.",
        "Lower min_clip_s to keep it.",
    )
    item_id = clip_id_of(video_id, shot.start_frame, shot.end_frame)
    item = f"{video_id} {shot.start_s:.3f}-{shot.end_s:.3f} s"
    return Rejection.of(item_id, item, Stage.CLIPS, error)
