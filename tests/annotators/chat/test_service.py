"""The client of remote models against a real server on loopback that injects faults."""

import json
import logging
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from annotators.chat.budget import Budget, TokenPrice
from annotators.chat.cache import ChatReply, ReplyCache
from annotators.chat.config import ChatConfig
from annotators.chat.protocol import ChatRequest, Jpeg
from annotators.chat.service import ChatService, ChatStoppedError
from benchmarks.support.chat_server import Asked, ChatServer
from data.records import Cost, Outcome, total_cost
from tests.support.replies import kept_ids

KEY = SecretStr("sk-very-secret-key")
PRICES = {"test": TokenPrice(input_usd=1.0, output_usd=10.0)}
PICTURE = Jpeg.encode(np.full((60, 80, 3), 90, np.uint8), 80)


class Answer(BaseModel):
    """Schema of structured requests."""

    model_config = ConfigDict(extra="forbid")

    text: str


def ask_for(text: str, **more: object) -> ChatRequest:
    return ChatRequest("You describe.", (f"Describe {text}.", PICTURE), "p-1", **more)  # pyright: ignore[reportArgumentType]


def config_of(server: ChatServer, **more: object) -> ChatConfig:
    values = {"model": "test", "base_url": server.base_url, "min_backoff_s": 0.02, "timeout_s": 1.0}
    return ChatConfig.model_validate({**values, **more})


def script(*faults: str | None) -> Callable[[Asked], str | None]:
    """Inject these faults, in order, into the first calls of each key."""
    return lambda asked: faults[asked.number - 1] if asked.number <= len(faults) else None


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
def test_a_reply_has_its_text_and_its_bill(cache: Path, api: str) -> None:
    with ChatServer(answer=lambda _: "A person waves.", delay_s=0.05) as server:
        with ChatService(config_of(server, api=api), KEY, cache, prices=PRICES) as service:
            reply = service.ask(ask_for("one"))
        (call,) = server.calls
    assert (reply.outcome, reply.text) == (Outcome.SUCCESS, "A person waves.")
    assert call.path.endswith("completions" if api == "chat_completions" else "responses")
    assert call.num_pictures == 1
    assert (reply.tokens_in, reply.tokens_out) == (281, 3)
    assert reply.cost_usd == pytest.approx((281 + 30) / 1e6)
    assert reply.request_id == call.request_id
    # The server delays every reply by this time.
    assert reply.latency_s >= 0.05


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
@pytest.mark.parametrize(
    "fault",
    ["429", "429_date", "500", "503", "slow", "mid_body", "reset", "bad_body", "empty_choices"],
)
def test_transient_faults_are_asked_again(cache: Path, api: str, fault: str) -> None:
    with ChatServer(fault=script(fault)) as server:
        config = config_of(server, api=api, timeout_s=0.5)
        with ChatService(config, KEY, cache) as service:
            reply = service.ask(ask_for("one"))
        assert len(server.calls) == 2
    assert (reply.outcome, reply.attempts) == (Outcome.SUCCESS, 2)


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
@pytest.mark.parametrize(
    ("fault", "outcome", "num_calls", "reason"),
    [
        ("429", Outcome.RATE_LIMITED, 3, "HTTP 429: Error code: 429 - slow down"),
        ("500", Outcome.UNAVAILABLE, 3, "HTTP 500: Error code: 500 - internal"),
        ("empty_choices", Outcome.UNAVAILABLE, 3, "expected a (choice|message in the output)"),
        ("refusal", Outcome.REFUSED, 1, "I cannot help with that."),
        ("filter", Outcome.FILTERED, 1, "(finish_reason|incomplete:) content_filter"),
        ("filter_400", Outcome.FILTERED, 1, "HTTP 400: Error code: 400 - filtered"),
        ("400", Outcome.ERROR, 1, "HTTP 400: Error code: 400 - bad request"),
        ("length", Outcome.TRUNCATED, 2, "finish_reason length|incomplete: max_output_tokens"),
    ],
)
def test_lasting_faults_end_as_data(
    cache: Path, api: str, fault: str, outcome: Outcome, num_calls: int, reason: str
) -> None:
    with ChatServer(fault=lambda _: fault) as server:
        config = config_of(server, api=api, max_attempts=3)
        with ChatService(config, KEY, cache) as service:
            reply = service.ask(ask_for("one"))
        assert len(server.calls) == num_calls
    assert (reply.outcome, reply.attempts) == (outcome, num_calls)
    assert re.match(reason, reply.reason)


def test_a_reply_cut_off_gets_more_tokens_once_and_both_calls_are_billed(cache: Path) -> None:
    with ChatServer(fault=script("length"), answer=lambda _: "word " * 40) as server:
        with ChatService(config_of(server), KEY, cache) as service:
            reply = service.ask(ask_for("one"))
        asked = [call.body["max_tokens"] for call in server.calls]
    assert reply.outcome is Outcome.SUCCESS
    assert asked == [1024, 4096]
    assert reply.tokens_out == 25 + 50


@pytest.mark.parametrize("fault", ["401", "quota", "404_model"])
def test_what_no_retry_mends_stops_the_run(cache: Path, fault: str) -> None:
    with ChatServer(fault=lambda _: fault) as server:
        with ChatService(config_of(server), KEY, cache) as service:
            with pytest.raises(ChatStoppedError, match="Remedy") as stopped:
                list(service.ask_many((n, ask_for(str(n))) for n in range(30)))
            with pytest.raises(ChatStoppedError):
                service.ask(ask_for("later"))
        assert len(server.calls) <= 16
    assert KEY.get_secret_value() not in str(stopped.value)


def test_failure_after_failure_opens_the_breaker(cache: Path) -> None:
    with ChatServer(fault=lambda _: "500") as server:
        config = config_of(server, max_attempts=2, breaker_failures=5, max_concurrency=2)
        with (
            ChatService(config, KEY, cache) as service,
            pytest.raises(
                ChatStoppedError, match="5 consecutive requests failed after all retries"
            ),
        ):
            list(service.ask_many((n, ask_for(str(n))) for n in range(100)))
        assert len(server.calls) <= 16


def test_the_api_key_is_in_no_reply_log_or_cache(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = KEY.get_secret_value()
    with ChatServer(fault=lambda _: "echo_key") as server:
        with ChatService(config_of(server), KEY, cache) as service:
            reply = service.ask(ask_for("one"))
            assert secret not in repr(vars(service)["_key"])
        assert len(server.calls) == 1
    assert reply.reason == "HTTP 400: Error code: 400 - you sent Bearer [key]"
    assert secret not in json.dumps(asdict(reply)) + caplog.text
    assert not any(secret in path.read_text() for path in cache.rglob("*.json"))


def test_a_missing_key_or_price_is_refused_before_any_work(cache: Path) -> None:
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        ChatService(ChatConfig(model="gpt-4.1-mini"), None, cache)
    config = ChatConfig(model="mine", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="price for the model 'mine'"):
        ChatService(config, None, cache, budget=Budget(usd=1.0))


def test_what_was_answered_is_never_asked_again(cache: Path) -> None:
    with ChatServer() as server:
        replies: dict[int, ChatReply] = {}
        for _ in range(2):
            with ChatService(config_of(server), KEY, cache) as service:
                replies = dict(service.ask_many((n, ask_for(str(n % 5))) for n in range(20)))
            assert len({reply.text for reply in replies.values()}) == 5
        assert len(server.calls) == 5
        assert all(reply.cached for reply in replies.values())
        assert {reply.tokens_out for reply in replies.values()} == {4}
        with ChatService(config_of(server, temperature=0.5), KEY, cache) as service:
            assert not service.ask(ask_for("1")).cached
            assert not service.ask(ask_for("1", sample=1)).cached


def test_a_damaged_reply_is_asked_for_again(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ChatServer() as server:
        with ChatService(config_of(server), KEY, cache) as service:
            service.ask(ask_for("one"))
        (path,) = cache.rglob("*.json")
        path.write_text(path.read_text()[:20])
        with ChatService(config_of(server), KEY, cache) as service:
            reply = service.ask(ask_for("one"))
    assert (reply.outcome, reply.cached) == (Outcome.SUCCESS, False)
    assert str(path) in caplog.text


def test_a_kept_reply_comes_back_whole(tmp_path: Path) -> None:
    cost = Cost(tokens_in=1, tokens_out=2, cost_usd=0.5, latency_s=0.1)
    reply = ChatReply(Outcome.REFUSED, "nö", "text", "m", "r", 3, **total_cost(cost))
    cache = ReplyCache(tmp_path)
    cache.put("ab12", reply)
    assert cache.get("ab12") == replace(reply, cached=True)


@pytest.mark.parametrize(
    "damaged",
    [
        '{"a":' * 100_000,
        "null",
        "{}",
        '{"outcome": "success", "tokens_in": "many"}',
        '{"outcome": "success", "cost_usd": 1e999}',
        '{"outcome": "success", "text": 5}',
        '{"outcome": "success", "tokens_out": 1' + 400 * "0" + "}",
        '{"outcome": "success", "tokens_in": -1}',
        '{"outcome": "a guess"}',
    ],
)
def test_a_damaged_reply_is_no_reply(damaged: str, tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    cache.put("ab12", ChatReply(Outcome.SUCCESS))
    (path,) = tmp_path.rglob("ab12.json")
    path.write_text(damaged)
    assert cache.get("ab12") is None


@pytest.mark.parametrize("status", [400, 422, 500])
def test_an_unknown_form_is_told_with_any_status(cache: Path, status: int) -> None:
    """llama-cpp-python rejects an unknown response_format with 500, FastAPI servers with 422."""
    with ChatServer(
        answer=lambda _: '{"text": "x"}',
        structures=("json_object",),
        status_of_unsupported=status,
    ) as server:
        with ChatService(config_of(server), KEY, cache) as service:
            reply = service.ask(ask_for("one", schema=Answer))
        assert reply.outcome is Outcome.SUCCESS
        assert len(server.calls) == 2


@pytest.mark.parametrize("structures", [("json_schema",), ("json_object",), ()])
@pytest.mark.parametrize("api", ["chat_completions", "responses"])
def test_what_the_server_supports_is_found_out(
    cache: Path, api: str, structures: tuple[str, ...]
) -> None:
    with ChatServer(answer=lambda _: '{"text": "x"}', structures=structures) as server:
        with ChatService(config_of(server, api=api), KEY, cache) as service:
            for n in range(3):
                assert service.ask(ask_for(str(n), schema=Answer)).outcome is Outcome.SUCCESS
        # Every unsupported way to request JSON costs one rejected call, only once.
        steps = ["json_schema", "json_object", None].index(structures[0] if structures else None)
        assert len(server.calls) == 3 + steps
        told = "additionalProperties" in server.calls[-1].text
    assert told == (structures != ("json_schema",))


def test_an_endpoint_without_responses_is_asked_for_chat_completions(cache: Path) -> None:
    with ChatServer(paths=("/v1/chat/completions",)) as server:
        config = config_of(server)
        with ChatService(config, KEY, cache) as service:
            service._api = "responses"  # pyright: ignore[reportPrivateUsage]
            assert service.ask(ask_for("one")).outcome is Outcome.SUCCESS
        assert [call.path for call in server.calls] == ["/v1/chat/completions"]


def test_three_hundred_requests_with_faults_end_in_one_reply_each(cache: Path) -> None:
    faults = ["429", "500", "503", "reset", "bad_body", "mid_body", "length", "refusal", "filter"]
    rng = random.Random(1)  # noqa: S311
    drawn: dict[str, str | None] = {}

    def fault(asked: Asked) -> str | None:
        if asked.number > 1:
            return None
        return drawn.setdefault(asked.key, rng.choice(faults) if rng.random() < 0.3 else None)

    with ChatServer(fault=fault, answer=lambda _: "word " * 10) as server:
        config = config_of(server, timeout_s=2.0)
        with ChatService(config, KEY, cache) as service:
            replies = list(service.ask_many((n, ask_for(str(n))) for n in range(300)))
        counts = Counter(drawn.values())
        again = sum(n for name, n in counts.items() if name not in (None, "refusal", "filter"))
        assert len(server.calls) == 300 + again
        assert server.most_at_once <= 16
    assert sorted(n for n, _ in replies) == list(range(300))
    outcomes = Counter(reply.outcome for _, reply in replies)
    assert outcomes[Outcome.REFUSED] == counts["refusal"]
    assert outcomes[Outcome.FILTERED] == counts["filter"]
    assert outcomes.total() - outcomes[Outcome.SUCCESS] == counts["refusal"] + counts["filter"]
    assert again > 40


def test_no_more_calls_at_once_than_allowed_over_all_callers(cache: Path) -> None:
    with ChatServer(delay_s=0.03) as server:
        with ChatService(config_of(server, max_concurrency=3), KEY, cache) as service:

            def work(name: str) -> None:
                list(service.ask_many((n, ask_for(f"{name} {n}")) for n in range(12)))

            threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(server.calls) == 48
        assert server.most_at_once == 3


def test_a_429_halves_the_calls_under_way_and_its_wait_is_kept(cache: Path) -> None:
    with (
        ChatServer(
            fault=lambda asked: "429" if "one" in asked.text and asked.number == 1 else None
        ) as server,
        ChatService(config_of(server, max_concurrency=8), KEY, cache) as service,
    ):
        started_s = time.monotonic()
        service.ask(ask_for("one"))
        waited_s = time.monotonic() - started_s
        gate = service._gate  # pyright: ignore[reportPrivateUsage]
        assert 4 <= gate.limit < 5
        for n in range(40):
            service.ask(ask_for(str(n)))
        assert gate.limit == 8
    assert waited_s >= 0.04


def test_requests_are_taken_as_slots_become_free(cache: Path) -> None:
    taken: list[int] = []

    def requests() -> Iterator[tuple[int, ChatRequest]]:
        for n in range(50):
            taken.append(n)
            yield n, ask_for(str(n))

    with (
        ChatServer(delay_s=0.02) as server,
        ChatService(config_of(server, max_concurrency=2), KEY, cache) as service,
    ):
        for done, _ in enumerate(service.ask_many(requests())):
            assert len(taken) <= done + 1 + 4


# ---------------------------------------------------------------------------------------- money


def test_a_budget_is_never_overshot(cache: Path) -> None:
    budget = Budget(usd=0.05)
    with ChatServer(answer=lambda _: "word " * 800, delay_s=0.01) as server:
        config = config_of(server, max_output_tokens=1024, max_output_tokens_retry=1024)
        service = ChatService(config, KEY, cache, budget=budget, prices=PRICES)
        with service:
            replies = [r for _, r in service.ask_many((n, ask_for(str(n))) for n in range(60))]
        billed = sum(call.paid for call in server.calls) * (281 + 1000 * 10) / 1e6
    outcomes = Counter(reply.outcome for reply in replies)
    assert outcomes.keys() == {Outcome.SUCCESS, Outcome.BUDGET}
    assert service.spend.usd == pytest.approx(billed, rel=0.01)
    assert 0.05 - 2 * 0.0106 < billed <= 0.05
    # Without the server, cached replies need no call, and the rest exceeds the budget again.
    with ChatService(config, KEY, cache, budget=Budget(tokens=0)) as service:
        kept = [r for _, r in service.ask_many((n, ask_for(str(n))) for n in range(60))]
        assert service.spend.calls == 0
    assert Counter(reply.outcome for reply in kept) == outcomes


def test_an_estimate_asks_nothing_and_knows_what_is_kept(cache: Path) -> None:
    with ChatServer() as server:
        with ChatService(config_of(server), KEY, cache, prices=PRICES) as service:
            list(service.ask_many((n, ask_for(str(n))) for n in range(3)))
            estimate = service.estimate(ask_for(str(n)) for n in range(10))
        assert len(server.calls) == 3
    assert (estimate.calls, estimate.cached) == (7, 3)
    # A small image is one tile of 85 + 170 tokens; texts and separators are 15 more.
    assert estimate.tokens_in == 7 * 270
    assert estimate.tokens_out == 7 * 1024
    assert estimate.usd == pytest.approx((7 * 270 + 7 * 1024 * 10) / 1e6)


def test_pictures_are_counted_by_the_published_rules() -> None:
    tiles = TokenPrice(input_usd=0, output_usd=0)
    assert tiles.image_tokens(512, 288) == 255
    assert tiles.image_tokens(1024, 1024) == 765
    patches = TokenPrice(input_usd=0, output_usd=0, image_patch_tokens=1.62)
    assert patches.image_tokens(512, 288) == 234


# -------------------------------------------------------------------------------------- crashes

_CLIENT = """
import sys
from pathlib import Path
from tests.annotators.chat.test_service import KEY, ask_for
from annotators.chat.service import ChatConfig, ChatService
config = ChatConfig(model="test", base_url=sys.argv[1], max_concurrency=4)
with ChatService(config, KEY, Path(sys.argv[2])) as service:
    for n, reply in service.ask_many((n, ask_for(str(n))) for n in range(120)):
        print(n, reply.outcome.value, flush=True)
"""


def test_kill_nine_three_times_pays_for_no_reply_twice(cache: Path) -> None:
    """Only replies on their way to the client when it was killed may be paid for twice."""
    kept: set[str] = set()
    with ChatServer(delay_s=0.05) as server:
        command = [sys.executable, "-c", _CLIENT, server.base_url, str(cache)]
        for more in (20, 50, 80):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                answered = [process.stdout.readline() for _ in range(more)]
                process.kill()
                answered += process.stdout
            # The client was killed after this number of replies, before the last one.
            assert process.returncode == -signal.SIGKILL
            assert more <= len(list(filter(None, answered))) < 120
            kept |= kept_ids(cache)
        last = subprocess.run(command, capture_output=True, text=True, check=True)
        paid: dict[str, list[str]] = {}
        for call in server.calls:
            if call.paid:
                paid.setdefault(call.key, []).append(call.request_id)
    kept |= kept_ids(cache)
    lines = dict(line.split() for line in last.stdout.splitlines())
    assert lines == {str(n): "success" for n in range(120)}
    assert len(paid) == 120
    # The first of two replies was not cached, and there are no more than the concurrent calls.
    assert all(len(kept.intersection(ids)) == 1 for ids in paid.values())
    assert sum(len(ids) - 1 for ids in paid.values()) <= 3 * 4
