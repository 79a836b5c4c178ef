"""Mutated videos, and what goes with them: results of pose programs, cached replies of models."""

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import av
import numpy as np

from benchmarks.support.fuzzing.mutations import (
    NAMES,
    NOT_UTF8,
    mutated_bytes,
    mutated_container,
    mutated_json,
    write,
)
from benchmarks.support.fuzzing.running import Batch, chunks

_FRAMES: Final = 16
_CONTAINERS: Final = {".mp4": "libx264", ".mkv": "libx264", ".avi": "mpeg4", ".mov": "mpeg4"}


def video_batches(
    folder: Path, rng: Random, counts: dict[str, int], control: Path, assets: dict[str, Path]
) -> Iterator[Batch]:
    """Make inputs of each kind, so many as ``counts`` says, and batches of them.

    Args:
        folder: gets the inputs.
        rng: the random numbers.
        counts: number of inputs by kind.
        control: a good video of a person, for every batch.
        assets: files of the pose model and the object detectors.
    """
    bases = {end: encoded(folder / f"base{end}", codec) for end, codec in _CONTAINERS.items()}
    made = [
        _video(bases, folder / "videos", number, rng) for number in range(counts.get("videos", 0))
    ]
    for number, some in enumerate(chunks(made, 25)):
        paths = tuple(path for path, _ in some)
        names = tuple(f"{path.name}: {name}" for path, name in some)
        root = folder / f"dataset{number}"
        act = partial(annotate, (control, *paths), root, assets)
        yield Batch("videos", names, act, root, paths, control=True)
    if counts.get("video file names"):
        paths = _named(folder / "names", bases[".mp4"], counts["video file names"])
        root = folder / "dataset-of-names"
        act = partial(annotate, (control, *paths), root, assets)
        names = tuple(repr(path.name) for path in paths)
        yield Batch("video file names", names, act, root, control=True)
    for number in range(counts.get("pose programs", 0)):
        place = folder / "programs" / str(number)
        told, program = _program(place, number)
        root = place / "dataset"
        act = partial(_annotate_with, (bases[".mp4"],), root, program)
        yield Batch("pose programs", (told,), act, root)
    yield from _replies(folder / "replies", rng, counts.get("cached replies", 0))


def encoded(path: Path, codec: str, *, rate: Any = 10, rotation: int | None = None) -> Path:
    """Write a small video of a moving square."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as writer:
        stream: Any = writer.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number in range(_FRAMES):
            picture = np.full((96, 128, 3), 60, np.uint8)
            picture[20:60, 4 * number : 4 * number + 40] = 200
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, int(rate))
            writer.mux(stream.encode(frame.reformat(format="yuv420p")))
        writer.mux(stream.encode(None))
    return path


def annotate(videos: tuple[Path, ...], root: Path, assets: dict[str, Path]) -> None:
    """Annotate videos as the flow does, without its server."""
    _annotate_with(videos, root, {}, assets["pose_model"], assets["object_detectors"])


def _annotate_with(
    videos: tuple[Path, ...],
    root: Path,
    changes: dict[str, Any],
    model: Path | None = None,
    detectors: Path | None = None,
) -> None:
    from annotators.chat.model import NO_MODELS  # noqa: PLC0415 - imports slowly
    from annotators.config import AnnotateConfig  # noqa: PLC0415
    from annotators.stages.shards import annotate_dataset  # noqa: PLC0415
    from data.workers.workers import Workers  # noqa: PLC0415

    config = AnnotateConfig.model_validate(
        {
            "videos": [str(video) for video in videos],
            "dataset": root,
            "workers": {"num_workers": 1},
            **changes,
        }
    )
    with Workers(config.workers) as workers:
        done = annotate_dataset(config, model, workers, NO_MODELS, object_detectors=detectors)
    if done.failures:
        raise done.failures[0]


def _video(bases: dict[str, Path], folder: Path, number: int, rng: Random) -> tuple[Path, str]:
    end = rng.choice(sorted(bases))
    data = bases[end].read_bytes()
    place = folder / f"v{number}{end}"
    place.parent.mkdir(parents=True, exist_ok=True)
    action = rng.choice(("bytes", "bytes", "container", "container", "container", "odd"))
    if action == "bytes":
        name, data = mutated_bytes(data, rng)
    elif action == "container":
        name, data = mutated_container(data, rng)
    else:
        return place, _odd(place, data, number, rng)
    return write(place, data), name


def _odd(place: Path, data: bytes, number: int, rng: Random) -> str:
    """Write something that is not what its name says."""
    name = rng.choice(("rotation", "rate", "audio", "no frame", "raw", "extension", "playlist"))
    if name == "rotation":
        encoded(place.with_suffix(".mp4"), "libx264", rotation=rng.choice((37, 90, 180, -1, 270)))
        if place.suffix != ".mp4":
            place.with_suffix(".mp4").replace(place)
    elif name == "rate":
        encoded(place.with_name(f"{place.stem}r.mp4"), "libx264", rate=rng.choice((1, 1000, 60000)))
        place.with_name(f"{place.stem}r.mp4").replace(place)
    elif name in {"audio", "no frame"}:
        target = place.with_name(f"{place.stem}a.mp4")
        with av.open(str(target), "w") as writer:
            if name == "audio":
                tone = writer.add_stream("aac", rate=44100)
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), "f4"), "fltp", "mono")
                frame.sample_rate, frame.pts = 44100, 0
                writer.mux(tone.encode(frame))
                writer.mux(tone.encode(None))
            else:
                stream: Any = writer.add_stream("mpeg4", rate=25)
                stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
                writer.start_encoding()
        target.replace(place)
    elif name == "raw":
        size = rng.choice(("W99999 H99999", "W0 H0", "W-1 H5", "W2 H2000000000"))
        place.write_bytes(f"YUV4MPEG2 {size} F25:1 Ip\n".encode() + b"FRAME\n" + bytes(1000))
    elif name == "playlist":
        place.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")
    else:
        place.write_bytes(data + bytes(number))
        target = place.with_suffix({".mp4": ".avi", ".avi": ".mkv"}.get(place.suffix, ".mp4"))
        return name if place == target else f"{name}: named {place.suffix}"
    return name


def _named(folder: Path, base: Path, count: int) -> tuple[Path, ...]:
    folder.mkdir(parents=True)
    data = base.read_bytes()
    paths = [folder / f"{name}.mp4" for name in NAMES[: count - 1]]
    paths.append(Path(os.fsdecode(os.fsencode(folder) + b"/" + NOT_UTF8 + b".mp4")))
    # Other contents, so that they are other videos.
    return tuple(write(path, data + bytes(number + 1)) for number, path in enumerate(paths))


_PROGRAMS: Final = {
    "exits at once": "import sys; sys.exit(3)",
    "says nothing and ends": "pass",
    "is ready and ends": "print('{\"ready\": true}')",
    "says half a line": "print('{\"ready\": tr', end='')",
    "says other JSON": "print('[1, 2]'); print('null'); print('{\"ready\": 5}'); print('17')",
    "says bytes": "import sys; sys.stdout.buffer.write(bytes(range(256)) * 100)",
    "says megabytes": "import sys; sys.stdout.write('x' * 30_000_000)",
    "answers another job": "ANSWER",
    "answers with wrong types": "TYPES",
    "writes outside": "OUTSIDE",
    "writes a folder": "FOLDER",
    "writes text": "TEXT",
    "answers deeply": "DEEP",
    "dies of a signal": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
}
_BODY: Final = """
import json, os, sys
print('{"ready": true}', flush=True)
for line in sys.stdin:
    job = json.loads(line)
    out, span, reply = job["output"], job["spans"][0], {"job": job["job"]}
    %s
    print(reply if isinstance(reply, str) else json.dumps(reply), flush=True)
"""
_ANSWERS: Final = {
    "ANSWER": "reply['job'] += 1000",
    "TYPES": "reply = {'job': job['job'], 'errors': {'nobody': 5, span['id']: {'a': [1]}}}",
    "OUTSIDE": "open(out + '/../' + span['id'] + '.npz', 'w').write('x')",
    "FOLDER": "os.makedirs(out + '/' + span['id'] + '.npz')",
    "TEXT": "open(out + '/' + span['id'] + '.npz', 'w').write('this is text')",
    "DEEP": "reply = '[' * 100000",
}


def _program(folder: Path, number: int) -> tuple[str, dict[str, Any]]:
    """Write a program that does something wrong; return what, and the configuration with it."""
    name = sorted(_PROGRAMS)[number % len(_PROGRAMS)]
    code = _PROGRAMS[name]
    path = write(
        folder / "program.py", (_BODY % _ANSWERS[code] if code in _ANSWERS else code).encode()
    )
    external = {
        "command": [sys.executable, str(path)],
        "start_timeout_s": 8,
        "min_timeout_s": 2,
        "timeout_per_video_s": 1,
    }
    return name, {"poses": {"estimator": "command", "external": external}}


def _replies(folder: Path, rng: Random, count: int) -> Iterator[Batch]:
    """Files of cached replies: a damaged one is asked for again."""
    whole = {
        "outcome": "success",
        "reason": "",
        "text": "A person walks.",
        "model": "test",
        "request_id": "1",
        "attempts": 1,
        "cached": False,
        "tokens_in": 1,
        "tokens_out": 1,
        "cost_usd": 0.1,
    }
    for number in range(count):
        key = f"{number:064x}"
        told, data = mutated_json(whole, rng)
        write(folder / key[:2] / f"{key}.json", data)
        yield Batch("cached replies", (told,), partial(_read_reply, folder, key))


def _read_reply(folder: Path, key: str) -> None:
    from annotators.chat.cache import ReplyCache  # noqa: PLC0415 - imports slowly

    found = ReplyCache(folder).get(key)
    if found is not None:
        # What is taken must be whole: it is billed, and stored with the row.
        values: dict[str, Any] = asdict(found)
        numbers = [values[name] for name in ("cost_usd", "latency_s", "tokens_in", "tokens_out")]
        texts = [values[name] for name in ("text", "reason", "model", "request_id")]
        whole = all(isinstance(text, str) for text in texts)
        if not whole or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            raise TypeError(f"a damaged reply was taken: {found}")


def first_frames(source: Path, target: Path) -> Path:
    """Encode five frames of a video with a person at 5 fps: the least that is annotated."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        shown = reader.streams.video[0]
        stream: Any = writer.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, "yuv420p"
        chosen = (f for number, f in enumerate(reader.decode(shown)) if number % 6 == 0)
        for place, frame in zip(range(5), chosen, strict=False):
            frame.pts, frame.time_base = place, Fraction(1, 5)
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return target
