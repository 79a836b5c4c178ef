"""Overhead per call, concurrency and cache of the client for remote models.

The client calls a test server on loopback that implements the real protocol. Three figures:

- overhead: CPU time of this process per call, in addition to that of a bare HTTP request (httpx2,
  as the openai package uses it) to the same server.
- concurrency: throughput of 16 concurrent calls to a server that takes 200 ms, relative to the
  ideal.
- cached replies: the same requests again, which must not reach the server.

    .venv/bin/python benchmarks/annotators.py [--full]
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np

# Not this folder first, where `annotators.py` would hide the package.
sys.path.insert(0, str(Path(__file__).parents[1]))

from annotators.chat.config import ChatConfig
from annotators.chat.protocol import ChatRequest, Jpeg, Sampling, make_body
from annotators.chat.service import ChatService
from benchmarks.support.chat_server import ChatServer

DELAY_S: Final = 0.2
CONCURRENCY: Final = 16
PICTURES: Final = 8
TARGET_SHARE: Final = 0.90


def serve(delay_s: float, link: Connection) -> None:
    """Run a server in a separate process, so that its CPU time is not counted as ours."""
    answer = "A person walks."
    with ChatServer(answer=lambda _: answer, delay_s=delay_s, checks_pictures=False) as server:
        link.send(server.base_url)
        link.recv()


class Remote:
    """A server that runs while the context is open."""

    def __init__(self, delay_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._link, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(delay_s, theirs))

    def __enter__(self) -> str:
        self._process.start()
        return self._link.recv()

    def __exit__(self, *_: object) -> None:
        self._link.send(None)
        self._process.join()


def make_requests(count: int) -> list[ChatRequest]:
    """Make requests of a captioner with eight frames each, all different."""
    draw = np.random.default_rng(0)
    frames = [
        Jpeg.encode(
            np.repeat(np.repeat(draw.integers(0, 255, (18, 32, 3), np.uint8), 16, 0), 16, 1), 85
        )
        for _ in range(PICTURES)
    ]
    return [
        ChatRequest("You describe clips.", (f"Clip {index}:", *frames, "Describe."), "bench")
        for index in range(count)
    ]


def ask_all(service: ChatService, requests: list[ChatRequest]) -> None:
    """Send the requests, and check every reply."""
    for _, reply in service.ask_many(enumerate(requests)):
        if reply.text != "A person walks.":
            raise RuntimeError(f"unexpected reply: {reply}")


def bare(base_url: str, requests: list[ChatRequest], at_once: int) -> None:
    """Send the same bodies with a bare HTTP client."""
    import httpx2  # noqa: PLC0415 - comes with openai

    sampling = Sampling("m", 1024, "max_tokens", None, "json_schema")

    async def run() -> None:
        gate = asyncio.Semaphore(at_once)
        async with httpx2.AsyncClient(timeout=30) as client:

            async def one(request: ChatRequest) -> None:
                async with gate:
                    body = make_body("chat_completions", request, sampling)
                    reply = await client.post(f"{base_url}/chat/completions", json=body)
                    if reply.status_code != 200:
                        raise RuntimeError(reply.text)

            await asyncio.gather(*(one(request) for request in requests))

    asyncio.run(run())


def measured(function: Callable[[], Any]) -> tuple[float, float]:
    """Return the wall-clock and CPU seconds that a call takes in this process."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="five times as many calls")
    count = 2000 if parser.parse_args().full else 400
    requests = make_requests(count)
    with tempfile.TemporaryDirectory() as folder, Remote(0.0) as base_url:
        config = ChatConfig(model="m", base_url=base_url, max_concurrency=4)
        bare(base_url, requests[:50], 4)
        _, bare_cpu_s = measured(lambda: bare(base_url, requests, 4))
        with ChatService(config, None, Path(folder)) as service:
            ask_all(service, make_requests(1))
            _, ours_cpu_s = measured(lambda: ask_all(service, requests))
            kept_s, _ = measured(lambda: ask_all(service, requests))
            calls = service.spend.calls
    with tempfile.TemporaryDirectory() as folder, Remote(DELAY_S) as base_url:
        config = ChatConfig(model="m", base_url=base_url, max_concurrency=CONCURRENCY)
        with ChatService(config, None, Path(folder)) as service:
            slow_s, _ = measured(lambda: ask_all(service, requests))
    ideal_s = DELAY_S * -(-count // CONCURRENCY)
    share = ideal_s / slow_s
    figures = {
        "calls": count,
        "cpu_ms_per_call": round(1000 * ours_cpu_s / count, 2),
        "bare_http_cpu_ms_per_call": round(1000 * bare_cpu_s / count, 2),
        "overhead_ms_per_call": round(1000 * (ours_cpu_s - bare_cpu_s) / count, 2),
        "share_of_ideal_concurrency": round(share, 3),
        "kept_replies_per_s": round(count / kept_s),
        "kept_over_asked_at_200_ms": round(slow_s / kept_s, 1),
        "calls_for_kept": calls - count,
    }
    print(f"{count} calls with {PICTURES} pictures each")
    for name, value in figures.items():
        print(f"  {name:30} {value}")
    report = {
        "name": "annotators",
        "figures": figures,
        "targets": {"share_of_ideal_concurrency": TARGET_SHARE, "calls_for_kept": 0},
        "ok": share >= TARGET_SHARE and calls == count,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
