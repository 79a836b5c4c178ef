"""Trainings whose machine is taken away: a checkpoint is saved, and they go on elsewhere."""

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.support.faults.job import AVATARGPT, Started
from benchmarks.support.prefect_server import PrefectServer
from flows.server.process import free_port

STEPS: Final = 60
STOPPED_AFTER: Final = 8


class Training:
    """A training of seconds, on one or two machines that are this one.

    Args:
        folder: folder of its data and runs.
        server: Prefect server of the commands.
    """

    def __init__(self, folder: Path, server: PrefectServer) -> None:
        from data.importers.run import MotionImportConfig, import_motions  # noqa: PLC0415 - slow
        from data.workers.workers import WorkerConfig  # noqa: PLC0415

        self._folder, self._server, self._number = folder, server, 0
        self._dataset = folder / "motions"
        import_motions(
            MotionImportConfig.model_validate(
                {
                    "sources": ["procedural:24:5"],
                    "dataset": self._dataset,
                    "mirror": False,
                    "splits": {"train": 0.5, "val": 0.25, "test": 0.25},
                    "workers": WorkerConfig(num_workers=1),
                }
            )
        )

    def start(self, run: Path, machine: str, rendezvous: str = "") -> Started:
        """Start the command of one machine, which shares only the folder of the run."""
        loop: dict[str, Any] = {
            "steps": STEPS,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "log_every": 1,
            # The only checkpoint before the end is that of the signal.
            "validate_every": STEPS,
            "checkpoint_every": STEPS,
            "threads": 1,
            "tensorboard": False,
            **({"nodes": 2, "rendezvous": rendezvous} if rendezvous else {}),
        }
        quantizer = {"num_codes": 64, "code_dim": 32}
        model = {"width": 32, "depth": 1, "quantizer": quantizer}
        self._number += 1
        config = self._folder / f"config{self._number}.json"
        config.write_text(json.dumps({"model": model, "window": 32, "loop": loop}))
        output = self._folder / f"training{self._number}.log"
        command = [AVATARGPT, "train-motion-vqvae", str(self._dataset), "--run", str(run)]
        with output.open("wb") as log:
            process = subprocess.Popen(
                [*command, "--config", str(config), "--preset", ""],
                env=self._server.client | {"AVATARGPT_HOME": str(self._folder / machine)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return Started(process, output)

    def preempted(self, machines: int) -> list[str]:
        """Take a machine away in mid-training, go on elsewhere; return what is wrong then."""
        from training.loop import read_metrics  # noqa: PLC0415 - imports slowly

        whole, run = self._folder / f"whole{machines}", self._folder / f"preempted{machines}"
        found = self._ended(self._started(whole, machines, "first"), [0])
        started = self._started(run, machines, "first")
        if not started[0].wait_until(lambda: len(read_metrics(run)) > STOPPED_AFTER):
            return [f"it ended before it was disturbed: {started[0].told}"]
        # The last machine is taken away, which need not be that of rank 0.
        started[-1].process.send_signal(signal.SIGTERM)
        found += self._ended(started[-1:], [130])
        # The others end too, and say why.
        found += self._ended(started[:-1], [1])
        found += [
            f"no checkpoint was saved: {one.told[-800:]}"
            for one in started
            if "a checkpoint" not in one.told
        ]
        reached = len([row for row in read_metrics(run) if row["event"] == "train"])
        if not STOPPED_AFTER <= reached < STEPS:
            found.append(f"expected an interruption in mid-run, found {reached} steps")
        found += self._ended(self._started(run, machines, "second"), [0])
        weights = [_weights(folder) for folder in (whole, run)]
        if weights[0] != weights[1]:
            found.append("the weights differ from those of an undisturbed training")
        return found

    def _started(self, run: Path, machines: int, name: str) -> list[Started]:
        rendezvous = f"127.0.0.1:{free_port()}" if machines > 1 else ""
        return [self.start(run, f"{name}{number}", rendezvous) for number in range(machines)]

    def _ended(self, started: Sequence[Started], codes: Sequence[int]) -> list[str]:
        found: list[str] = []
        for one in started:
            code = one.wait()
            if code not in codes or "Traceback" in one.told:
                found.append(f"expected exit code {codes[0]}, found {code}: {one.told[-1500:]}")
        return found


def _weights(run: Path) -> bytes:
    from training.checkpoints import read_checkpoint  # noqa: PLC0415 - imports slowly
    from training.tokenizer.motion_tokenizer import KIND  # noqa: PLC0415

    folder = read_checkpoint(run, KIND).folder
    return b"".join(path.read_bytes() for path in sorted(folder.glob("model*.safetensors")))
