"""A small annotation run that faults disturb, and the proof that nothing is missing afterwards.

The run is the command ``avatargpt annotate`` with its flow, workers and publications, over a few
clips of five frames and a file that is no video.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import psutil

AVATARGPT: Final = str(Path(sys.executable).with_name("avatargpt"))
RUN_LIMIT_S: Final = 400.0
CLIP_FRAMES: Final = 5
IGNORED: Final = ("latency_s", "request_id")
"""Columns that differ between two runs of equal content."""


def write_clip(source: Path, target: Path, first: int, frames: int = CLIP_FRAMES) -> Path:
    """Encode some frames of a video with a person at 5 fps; five are the least for a clip."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        shown = reader.streams.video[0]
        stream: Any = writer.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        place = 0
        for number, frame in enumerate(reader.decode(shown)):
            if number >= first and (number - first) % 6 == 0 and place < frames:
                small = frame.reformat(640, 360, "yuv420p")
                small.pts, small.time_base = place, Fraction(1, 5)
                writer.mux(stream.encode(small))
                place += 1
        writer.mux(stream.encode(None))
    return target


@dataclass
class Started:
    """A running command.

    Attributes:
        process: the process of the command, which leads a session of its own.
        output: file with what it says.
        at_s: monotonic time of its start.
    """

    process: "subprocess.Popen[bytes]"
    output: Path
    at_s: float = field(default_factory=time.monotonic)

    @property
    def told(self) -> str:
        """What it has said so far."""
        return self.output.read_text(errors="replace")

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        try:
            return self.process.wait(RUN_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.end()
            raise RuntimeError(f"hang: it did not end in {RUN_LIMIT_S:g} s: {self.told}") from None

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Wait until something happened in the run; return whether it did before the run ended."""
        deadline_s = time.monotonic() + RUN_LIMIT_S
        while not condition():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"it did not happen: {self.told}")
            time.sleep(0.01)
        return True

    def children(self, word: str) -> list[psutil.Process]:
        """Return the processes below it whose command line has a word."""
        found: list[psutil.Process] = []
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        for process in below:
            try:
                if word in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self) -> None:
        """Kill the command alone, as the system does; what it started must notice."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Kill everything of its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Job:
    """The run, and the dataset that it makes if nothing disturbs it.

    Args:
        folder: folder of clips, datasets and logs.
        client: environment of clients of the Prefect server.
        clip: video with a person.
        num_clips: number of clips.
    """

    def __init__(self, folder: Path, client: Mapping[str, str], clip: Path, num_clips: int) -> None:
        self.folder, self._client, self._runs = folder, client, 0
        self.videos = folder / "videos"
        for number in range(num_clips):
            write_clip(clip, self.videos / f"clip{number}.mp4", 18 * number)
        (self.videos / "prose.mp4").write_text("This is no video.\n" * 100)
        self.reference = folder / "undisturbed"
        started = self.start(self.reference)
        code = started.wait()
        self.duration_s = time.monotonic() - started.at_s
        if code:
            raise RuntimeError(f"the undisturbed run ended with {code}: {started.told}")

    def start(self, root: Path, *options: str, **environment: str) -> Started:
        """Start a run into a dataset."""
        self._runs += 1
        output = self.folder / "logs" / f"{self._runs}.log"
        output.parent.mkdir(exist_ok=True)
        settings = ("shard_clips=1", "publish_clips=1", "workers.num_workers=1")
        changes = [part for setting in settings for part in ("--set", setting)]
        command = [AVATARGPT, "annotate", str(self.videos), "--dataset", str(root), *changes]
        with output.open("wb") as log:
            process = subprocess.Popen(
                [*command, *options],
                env={**self._client, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return Started(process, output)

    def fresh(self, name: str) -> Path:
        """Return the folder of a dataset that is not there yet."""
        return self.folder / "datasets" / f"{name.replace(' ', '-')}-{self._runs}"

    def finish(self, root: Path, *options: str) -> list[str]:
        """Run the same command again, and return what is wrong with the result."""
        started = self.start(root, *options)
        code = started.wait()
        if code:
            return [f"the run that resumes ended with {code}: {started.told[-1500:]}"]
        return self.problems(root)

    def problems(self, root: Path) -> list[str]:
        """Return how a finished dataset differs from that of the undisturbed run."""
        from data.store.check import Severity, check_dataset  # noqa: PLC0415 - imports slowly
        from data.store.dataset import Dataset  # noqa: PLC0415
        from data.upkeep.comparison import compare_datasets  # noqa: PLC0415

        found = [
            f"check: {finding.file}: {finding.found}"
            for finding in check_dataset(root)
            if finding.severity is Severity.ERROR or "unfinished work" in finding.found
        ]
        dataset = Dataset(root)
        compared = compare_datasets(Dataset(self.reference), dataset, ignore=IGNORED)
        found += [
            f"{name}: {table.added} rows more, {table.removed} fewer, {table.changed} changed "
            f"({dict(table.columns)})"
            for name, table in compared.tables.items()
            if not table.is_equal
        ]
        ends = Counter(Path(row["path"]).name for row in dataset.rows("videos", ["path"]))
        rows = dataset.rows("rejections", ["item", "stage"], {"stage": ["ingest"]})
        ends.update(Path(row["item"]).name for row in rows)
        names = sorted(path.name for path in self.videos.iterdir())
        found += [
            f"{name} has {ends[name]} rows or rejections" for name in names if ends[name] != 1
        ]
        return found

    def problems_after_kill(self, root: Path) -> list[str]:
        """Return what a reader of a dataset cannot read after its writer was killed."""
        from data.store.dataset import Dataset  # noqa: PLC0415 - imports slowly

        if not (root / "dataset.json").exists():
            return []
        dataset = Dataset(root)
        for table in dataset.manifest["tables"]:
            if dataset.read(table).num_rows != dataset.num_rows(table):
                return [f"{table}: expected {dataset.num_rows(table)} rows"]
        return []
