"""A pose program as a user writes it, which also fails on demand; it needs only NumPy.

    python pose_program.py MOTION.npy LOG [ACTIONS.json]

It gives every span the poses of ``MOTION.npy`` ((T, 22, 3), 20 fps), with their 2-D joints, and
appends ``start DEVICE`` and the id of each span to ``LOG``. ``ACTIONS.json`` maps ids to failures.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

FPS = 20


def results(motion: NDArray[Any], span: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the arrays for a span."""
    num_frames = min(len(motion), int((span["end_s"] - span["start_s"]) * FPS))
    joints = motion[:num_frames].astype(np.float32)
    # All of the body is inside a picture of 480 x 270 pixels.
    pixels = np.stack([240 + 110 * joints[..., 0], 260 - 110 * joints[..., 1]], axis=-1)
    return {
        "joints_3d": joints,
        "joints_2d": pixels,
        "pts_s": span["start_s"] + np.arange(num_frames) / FPS,
        "track": np.full(num_frames, 7),
        "confidence": np.full((num_frames, 22), 0.9, np.float32),
    }


def save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file at once, so that a killed program leaves no half of it."""
    partial = path.with_suffix(".tmp")
    with partial.open("wb") as file:
        np.savez(file, **cast("Any", arrays))
    partial.replace(path)


def work_on(
    span: Mapping[str, Any], motion: NDArray[Any], output: Path, action: str | None
) -> str | None:
    """Write the result of a span, or fail; return an error message."""
    path, arrays = output / f"{span['id']}.npz", results(motion, span)
    if action == "crash":
        sys.stderr.write("a warning of a library\nCUDA error: out of memory\n")
        sys.stderr.flush()
        os._exit(3)
    if action == "crash_in_file":
        path.write_bytes(b"PK\x03\x04 half a file")
        os.abort()
    if action == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (output.parent / "hanging").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    if action == "error":
        return "the clip is too dark"
    if action == "no_file":
        return None
    if action == "nan":
        arrays["joints_3d"][3, 5] = np.nan
    if action == "lost_array":
        del arrays["joints_3d"]
    if action == "nobody":
        arrays = {name: values[:0] for name, values in arrays.items()}
    save(path, arrays)
    return None


def say(line: str) -> None:
    """Write a line to the standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Answer jobs until the input ends."""
    motion, log = np.load(sys.argv[1]), Path(sys.argv[2])
    actions = json.loads(Path(sys.argv[3]).read_text()) if len(sys.argv) > 3 else {}

    def tell(line: str) -> None:
        with log.open("a") as file:
            file.write(f"{line}\n")

    tell(f"start {' '.join(sys.argv[4:])}")
    say("loading the model, as libraries do on standard output")
    say(json.dumps({"ready": True}))
    for line in sys.stdin:
        job = json.loads(line)
        errors: dict[str, str] = {}
        for span in job["spans"]:
            tell(span["id"])
            error = work_on(span, motion, Path(job["output"]), actions.get(span["id"]))
            if error:
                errors[span["id"]] = error
        say(json.dumps({"job": job["job"], "errors": errors}))
    tell("end")


if __name__ == "__main__":
    main()
