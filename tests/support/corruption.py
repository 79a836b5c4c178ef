"""Damaged and odd files, made from real ones. Every function writes ``target`` and returns it."""

import io
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.stream import VideoStream

Retime = Callable[[Fraction], Fraction]


def bytes_changed_midfile(
    source: Path, target: Path, *, num_places: int = 40, seed: int = 0
) -> Path:
    """An MP4 with short runs of random bytes in the middle half of its media data."""
    data = bytearray(source.read_bytes())
    start, end = _box(data, b"mdat")
    generator = np.random.default_rng(seed)
    quarter = (end - start) // 4
    for position in generator.integers(start + quarter, end - quarter, num_places).tolist():
        data[position : position + 24] = generator.bytes(24)
    target.write_bytes(data)
    return target


def truncated_index_first(source: Path, target: Path, *, keep: float = 0.6) -> Path:
    """An MP4 with its index in front, cut: the index promises samples that are not there."""
    remuxed(source, target, options={"movflags": "faststart"})
    return cut(target, target, keep=keep)


def without_index(source: Path, target: Path, *, keep: float = 0.6) -> Path:
    """An MP4 whose index would have come last, cut before it."""
    remuxed(source, target)
    return cut(target, target, keep=keep)


def cut(source: Path, target: Path, *, keep: float) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * keep)])
    return target


def over_reported_length(source: Path, target: Path, *, factor: int = 20) -> Path:
    """An MP4 whose movie, track and media headers claim ``factor`` times the duration."""
    data = bytearray(source.read_bytes())
    moov_start, moov_end = _box(data, b"moov")
    offsets = {b"mvhd": (16, 24), b"tkhd": (20, 28), b"mdhd": (16, 24)}
    num_patched = 0
    for kind, (short_offset, long_offset) in offsets.items():
        position = moov_start
        while (position := data.find(kind, position, moov_end)) >= 0:
            version = data[position + 4]
            layout, offset = (">Q", long_offset) if version else (">I", short_offset)
            place = position + 4 + offset
            (duration,) = struct.unpack_from(layout, data, place)
            struct.pack_into(layout, data, place, duration * factor)
            num_patched += 1
            position += 4
    assert num_patched >= 3, f"{source}: expected 3 or more headers to patch, found {num_patched}"
    target.write_bytes(data)
    return target


def over_reported_avi(source: Path, target: Path, *, factor: int = 20) -> Path:
    """An AVI whose main and stream headers claim ``factor`` times the frames."""
    remuxed(source, target, container_format="avi")
    data = bytearray(target.read_bytes())
    for kind, offset in ((b"avih", 16), (b"strh", 32)):
        place = data.index(kind) + 8 + offset
        (length,) = struct.unpack_from("<I", data, place)
        struct.pack_into("<I", data, place, length * factor)
    target.write_bytes(data)
    return target


def start_offset(source: Path, target: Path, *, offset_s: float = 5.0) -> Path:
    """The same frames, the first of them at ``offset_s`` in the container's time."""
    return remuxed(source, target, retime=lambda time_s: time_s + Fraction(offset_s))


def variable_rate(source: Path, target: Path) -> Path:
    """The same frames at an irregular rate: the second half is shown at a third of the speed."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        pts = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        middle_s = (min(pts) + (max(pts) - min(pts)) // 2) * stream.time_base

    def slow_down(time_s: Fraction) -> Fraction:
        return time_s if time_s <= middle_s else middle_s + 3 * (time_s - middle_s)

    return remuxed(source, target, retime=slow_down)


def hidden_start(source: Path, target: Path, *, hidden_s: float = 0.5) -> Path:
    """An MP4 whose edit list hides the first ``hidden_s``, which are needed for decoding."""
    return remuxed(
        source,
        target,
        options={"avoid_negative_ts": "disabled", "use_editlist": "1"},
        retime=lambda time_s: time_s - Fraction(hidden_s),
    )


def rotated(source: Path, target: Path, *, clockwise_deg: int, mirrored: bool = False) -> Path:
    """The same frames with a display matrix that says how to show them upright."""
    return remuxed(source, target, clockwise_deg=clockwise_deg, mirrored=mirrored)


def remuxed(
    source: Path,
    target: Path,
    *,
    container_format: str | None = None,
    options: dict[str, str] | None = None,
    retime: Retime | None = None,
    clockwise_deg: int | None = None,
    mirrored: bool = False,
) -> Path:
    """The video packets of a file in another container, unchanged except for their times."""
    with (
        av.open(str(source)) as reader,
        av.open(str(target), "w", format=container_format, options=options or {}) as writer,
    ):
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        # AVI takes H.264 only with start codes.
        to_start_codes = None
        if writer.format.name == "avi" and stream.codec_context.name == "h264":
            to_start_codes = BitStreamFilterContext("h264_mp4toannexb", stream, copy)
        if clockwise_deg is not None:
            copy.set_display_rotation(-clockwise_deg, hflip=mirrored)
        for packet in reader.demux(stream):
            if packet.dts is None:
                continue
            base = packet.time_base
            if retime is not None:
                assert packet.pts is not None
                packet.pts = round(retime(packet.pts * base) / base)
                packet.dts = round(retime(packet.dts * base) / base)
            for ready in [packet] if to_start_codes is None else to_start_codes.filter(packet):
                ready.stream = copy
                writer.mux(ready)
    return target


def reencoded(
    source: Path, target: Path, *, codec: str = "mpeg4", num_frames: int = 40, b_frames: int = 0
) -> Path:
    """The first frames of a file, encoded anew at 160 x 120."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream(codec, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.max_b_frames = b_frames
        for number, frame in zip(range(num_frames), reader.decode(video=0), strict=False):
            small = frame.reformat(160, 120, "yuv420p")
            small.pts, small.time_base = number, Fraction(1, 25)
            writer.mux(stream.encode(small))
        writer.mux(stream.encode(None))
    return target


def filmed_again(
    source: Path,
    target: Path,
    *,
    frames: Sequence[int],
    rate: Fraction | int,
    size_px: tuple[int, int] | None = None,
) -> Path:
    """Some frames of a file in the given order, encoded anew (H.264 with B-frames)."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        shown = reader.streams.video[0]
        width_px, height_px = size_px or (shown.width, shown.height)
        decoded = {
            number: frame.reformat(width_px, height_px, "yuv420p")
            for number, frame in enumerate(reader.decode(shown))
            if number in set(frames)
        }
        stream = writer.add_stream("libx264", rate=rate)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for place, number in enumerate(frames):
            frame = decoded[number]
            frame.pts, frame.time_base = place, 1 / Fraction(rate)
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return target


def audio_only(target: Path, *, duration_s: float = 1.0) -> Path:
    """A sine tone as AAC in MP4."""
    rate = 44100
    wave = np.sin(np.arange(int(rate * duration_s)) * 0.05).astype(np.float32)[None]
    with av.open(str(target), "w") as writer:
        stream = writer.add_stream("aac", rate=rate, layout="mono")
        for start in range(0, wave.shape[1] - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(wave[:, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts = rate, start
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return target


def audio_with_cover(source: Path, target: Path) -> Path:
    """AAC in MP4 with the first frame of a video as cover art."""
    audio = audio_only(target.with_name("audio-for-cover.mp4"))
    picture = io.BytesIO()
    with av.open(str(source)) as reader:
        next(iter(reader.decode(video=0))).to_image().save(picture, format="JPEG")
    data = bytearray(audio.read_bytes())
    cover = _mp4_box(b"data", struct.pack(">II", 13, 0) + picture.getvalue())
    item_list = _mp4_box(b"ilst", _mp4_box(b"covr", cover))
    handler = _mp4_box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    user_data = _mp4_box(b"udta", _mp4_box(b"meta", bytes(4) + handler + item_list))
    # The index comes last in this file, so that it can grow without moving any sample.
    start, end = _box(data, b"moov")
    assert end == len(data), f"{audio}: expected the index at the end"
    data[start - 8 : start - 4] = struct.pack(">I", end - start + 8 + len(user_data))
    target.write_bytes(data + user_data)
    return target


def raw_video(target: Path, *, width_px: int, height_px: int) -> Path:
    """Two uncompressed black frames (YUV4MPEG2); of a huge size only the header is written."""
    frame = b"FRAME\n" + bytes(min(width_px * height_px * 3 // 2, 10**6))
    header = f"YUV4MPEG2 W{width_px} H{height_px} F25:1 Ip A1:1 C420jpeg\n"
    target.write_bytes(header.encode() + frame * 2)
    return target


def still_image(source: Path, target: Path) -> Path:
    """The first frame as JPEG, whatever the target's extension."""
    with av.open(str(source)) as reader:
        next(iter(reader.decode(video=0))).to_image().save(target, format="JPEG")
    return target


def text_named_video(target: Path) -> Path:
    """Prose."""
    target.write_text("This is not a video.\n" * 200, encoding="utf-8")
    return target


def zero_bytes(target: Path) -> Path:
    """An empty file."""
    target.touch()
    return target


def directory_named_video(target: Path) -> Path:
    """A folder."""
    target.mkdir()
    return target


def dangling_link(target: Path) -> Path:
    """A link to a file that is not there."""
    target.symlink_to(target.with_name("not-there.mp4"))
    return target


def pipe(target: Path) -> Path:
    """A named pipe without a writer: opening it for reading blocks for ever."""
    os.mkfifo(target)
    return target


def unix_socket(target: Path) -> Path:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(target))
    return target


def _mp4_box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _box(data: bytes | bytearray, kind: bytes) -> tuple[int, int]:
    """Start and end of the content of a top-level MP4 box."""
    for found, start, end in _boxes(data):
        if found == kind:
            return start, end
    raise ValueError(f"expected an MP4 with a box {kind.decode()}, found none")


def _boxes(data: bytes | bytearray) -> Iterator[tuple[bytes, int, int]]:
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
            header = 16
        end = position + length if length else len(data)
        yield kind, position + header, end
        position = end
