"""A training on several machines: here two commands of one machine that meet on loopback."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.runtime.training_process import Machines, describe_end
from flows.server.process import free_port
from flows.train_all_config import TrainAllConfig
from tests.support.runs import losses, vqvae_config
from training.checkpoints import read_checkpoint
from training.loop import LoopConfig, has_ended, read_metrics
from training.tokenizer.motion_tokenizer import KIND

AVATARGPT = str(Path(sys.executable).with_name("avatargpt"))
STEPS = 2


def test_two_machines_train_one_model(motions_root: Path, tmp_path: Path) -> None:
    loop = {"steps": STEPS, "validate_every": STEPS, "checkpoint_every": STEPS, "log_every": 1}
    machines = {"nodes": 2, "rendezvous": f"127.0.0.1:{free_port()}"}
    config = vqvae_config(motions_root, tmp_path / "run", **loop, **machines)
    values = config.model_dump(mode="json")
    del values["run"], values["data"]
    file = tmp_path / "config.json"
    file.write_text(json.dumps(values))
    command = [AVATARGPT, "train-motion-vqvae", str(motions_root), "--run", str(config.run)]
    started = [
        subprocess.Popen(
            [*command, "--config", str(file), "--preset", ""],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    assert all(f"checkpoint-{STEPS}" in output or f"step {STEPS}" in output for output, _ in told)
    assert read_checkpoint(config.run, KIND).step == STEPS
    assert has_ended(config.run)
    # Each step is logged once, although two commands read the log.
    assert len(losses(read_metrics(config.run))) == STEPS


@pytest.mark.parametrize("rendezvous", ["", "host", "host:port", "http://host:1", "a b:1"])
def test_machines_need_a_place_to_meet(rendezvous: str) -> None:
    with pytest.raises(ValueError, match=r"rendezvous: expected HOST:PORT of one of the 2"):
        LoopConfig(steps=1, batch_size=2, learning_rate=1e-3, nodes=2, rendezvous=rendezvous)


def test_an_unknown_host_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found no\.such\.host\.invalid:29400 .*Remedy"):
        Machines(1, 2, "no.such.host.invalid:29400").options(tmp_path)


def test_train_all_is_for_one_machine() -> None:
    loop = {"nodes": 2, "rendezvous": "10.0.0.1:29400"}
    base = LoopConfig(steps=1, batch_size=2, learning_rate=1e-3).model_dump()
    with pytest.raises(ValueError, match=re.escape("loop.nodes: expected 1 in train-all")):
        TrainAllConfig.model_validate(
            {"sources": ["procedural:4"], "root": "/x", "lm": {"loop": {**base, **loop}}}
        )


def test_a_machine_that_waited_in_vain_says_for_whom(tmp_path: Path) -> None:
    log = tmp_path / "training.log"
    log.write_text("torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError\n")
    message = describe_end(log, 0, 1, Machines(1, 3, "10.0.0.1:29400"))
    assert message.startswith("expected 3 machines to meet at 10.0.0.1:29400 within 10 minutes")
    assert "Remedy: start the training" in message
