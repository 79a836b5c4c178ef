"""The Batch API against a real server: limits, partial failures, crashes."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from annotators.chat.batch import BatchChatService
from annotators.chat.budget import Budget
from annotators.chat.config import ChatConfig
from annotators.chat.service import ChatStoppedError
from benchmarks.support.chat_server import Asked, ChatServer
from data.records import Outcome
from tests.annotators.chat.test_service import KEY, PRICES, ask_for, config_of


def batch_config(server: ChatServer, **more: object) -> ChatConfig:
    return config_of(server, batch=True, batch_poll_s=0.05, **more)


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
def test_batches_keep_to_the_limits_and_cost_half(tmp_path: Path, api: str) -> None:
    with ChatServer(answer=lambda asked: asked.text[-30:]) as server:
        config = batch_config(server, api=api, batch_max_requests=8)
        with BatchChatService(config, KEY, tmp_path, prices=PRICES) as service:
            replies = dict(service.ask_many((n, ask_for(str(n % 20))) for n in range(25)))
            again = dict(service.ask_many((n, ask_for(str(n))) for n in range(20)))
        assert len(server.batches) == 3
        assert len(server.calls) == 20
    assert {n: reply.text for n, reply in replies.items()} == {
        n: f"You describe.\nDescribe {n % 20}."[-30:] for n in range(25)
    }
    assert all(reply.cached for reply in again.values())
    assert replies[0].cost_usd == pytest.approx((281 + 7 * 10) / 1e6 / 2, rel=0.05)
    assert not list((tmp_path / "batches").rglob("*.json"))


def test_what_fails_in_a_batch_goes_into_the_next(tmp_path: Path) -> None:
    def fault(asked: Asked) -> str | None:
        if "Describe 3." in asked.text:
            return "500"
        if "Describe 5." in asked.text:
            return "refusal"
        return "expired" if asked.number == 1 and "Describe 1" in asked.text else None

    with ChatServer(fault=fault) as server:
        config = batch_config(server, max_attempts=3)
        with BatchChatService(config, KEY, tmp_path) as service:
            replies = dict(service.ask_many((n, ask_for(str(n))) for n in range(12)))
        counts = Counter(call.number for call in server.calls)
        assert len(server.batches) == 3
    assert replies[3].outcome is Outcome.UNAVAILABLE
    assert "500" in replies[3].reason
    assert replies[5].outcome is Outcome.REFUSED
    assert all(replies[n].outcome is Outcome.SUCCESS for n in range(12) if n not in (3, 5))
    # Requests 1, 10 and 11 are sent twice, request 3 three times.
    assert counts == {1: 12, 2: 4, 3: 1}


def test_a_batch_takes_only_what_the_budget_covers(tmp_path: Path) -> None:
    with ChatServer() as server:
        config = batch_config(server, max_output_tokens=100)
        budget = Budget(tokens=4 * 400)
        with BatchChatService(config, KEY, tmp_path, budget=budget) as service:
            replies = dict(service.ask_many((n, ask_for(str(n))) for n in range(10)))
        assert len(server.calls) == 4
    outcomes = Counter(reply.outcome for reply in replies.values())
    assert outcomes == {Outcome.SUCCESS: 4, Outcome.BUDGET: 6}


def test_an_endpoint_without_batches_stops_the_run(tmp_path: Path) -> None:
    config = config_of(ChatServerless(), batch=True, max_attempts=2)  # pyright: ignore[reportArgumentType]
    with (
        BatchChatService(config, KEY, tmp_path) as service,
        pytest.raises(ChatStoppedError, match="Batch API"),
    ):
        service.ask(ask_for("one"))


class ChatServerless:
    """An endpoint without a server."""

    base_url = "http://127.0.0.1:9/v1"


_CLIENT = """
import sys
from pathlib import Path
from types import SimpleNamespace
from tests.annotators.chat.test_batch import batch_config
from tests.annotators.chat.test_service import KEY, ask_for
from annotators.chat.batch import BatchChatService
config = batch_config(SimpleNamespace(base_url=sys.argv[1]), batch_max_requests=10)
with BatchChatService(config, KEY, Path(sys.argv[2])) as service:
    for n, reply in service.ask_many((n, ask_for(str(n))) for n in range(30)):
        print(n, reply.outcome.value, flush=True)
"""


def test_kill_nine_after_submitting_submits_nothing_twice(tmp_path: Path) -> None:
    with ChatServer(polls_per_batch=10**9) as server:
        command = [sys.executable, "-c", _CLIENT, server.base_url, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            _wait_for(
                lambda: submitted(tmp_path) == set(server.batches) and len(server.batches) == 3
            )
            process.kill()
            # It was killed when all batches had been submitted, and before any reply.
            assert process.stdout.read() == ""
        assert process.returncode == -signal.SIGKILL
        # Simulate a kill between the creation of a batch and the saving of its id.
        states = sorted((tmp_path / "batches").rglob("*.json"))
        state = json.loads(states[0].read_text())
        states[0].write_text(json.dumps({**state, "batch_id": ""}))
        server.polls_per_batch = 1
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert len(server.batches) == 3
        assert len(server.calls) == 30
    lines = dict(line.split() for line in done.stdout.splitlines())
    assert lines == {str(n): "success" for n in range(30)}


def submitted(cache: Path) -> set[str]:
    """Return the ids of the batches in the saved states."""
    states = (json.loads(path.read_text()) for path in (cache / "batches").rglob("*.json"))
    return {state["batch_id"] for state in states}


def _wait_for(condition: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.05)
