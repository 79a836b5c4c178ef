"""Replies of broken or hostile servers become data with a reason, cleaned and of limited size."""

import gzip
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from annotators.chat.cache import ChatReply, ReplyCache
from annotators.chat.config import ChatConfig
from annotators.chat.protocol import MAX_REPLY_BYTES, MAX_TOKENS, ChatRequest, read_body
from annotators.chat.service import ChatService
from data.records import Outcome


def _completion(text: str, **usage: object) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "model": "m",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": usage,
    }


@contextmanager
def _server(body: bytes, encoding: str = "identity") -> Generator[str]:
    """Responds to every request with the same body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-encoding", encoding)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except ConnectionError:  # The client has read enough.
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Suppress the log of requests."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _ask(body: bytes, cache: Path, encoding: str = "identity") -> ChatReply:
    with _server(body, encoding) as url:
        values = {"model": "m", "base_url": url, "max_attempts": 2, "min_backoff_s": 0.01}
        with ChatService(ChatConfig.model_validate(values), None, cache) as service:
            return service.ask(ChatRequest("You describe.", ("What?",), "p-1"))


def test_a_reply_is_read_up_to_a_megabyte(tmp_path: Path) -> None:
    fits = json.dumps(_completion("x" * (MAX_REPLY_BYTES - 1000))).encode()
    assert _ask(fits, tmp_path / "a").outcome is Outcome.SUCCESS
    reply = _ask(json.dumps(_completion("x" * 3 * MAX_REPLY_BYTES)).encode(), tmp_path / "b")
    assert (reply.outcome, reply.text, reply.attempts) == (Outcome.ERROR, "", 1)
    assert "expected a reply of at most 1000000 bytes" in reply.reason


def test_a_packed_reply_is_not_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps(_completion("x" * 50_000_000)).encode())
    assert len(packed) < MAX_REPLY_BYTES
    reply = _ask(packed, tmp_path, "gzip")
    assert reply.outcome is Outcome.ERROR
    assert "packed as 'gzip'" in reply.reason


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"[" * 100_000, RecursionError),
        (b'{"choices": ' + b"[" * 100_000, RecursionError),
        (b"9" * 10_000, ValueError),
        (b'"' + b"\xff" * 10 + b'"', UnicodeDecodeError),
    ],
    ids=["nested", "nested inside", "huge number", "not UTF-8"],
)
def test_json_that_cannot_be_read_is_no_reply(
    tmp_path: Path, body: bytes, error: type[Exception]
) -> None:
    reply = _ask(body, tmp_path)
    assert (reply.outcome, reply.attempts) == (Outcome.UNAVAILABLE, 2)
    assert reply.reason.startswith(f"{error.__name__}: ")


def test_what_a_reply_hides_is_cleaned_before_it_is_kept(tmp_path: Path) -> None:
    hostile = "A man \ud83d\x1b[2J\x1b]0;own\x07waves\x00\u202e.\r\nThen he stops."
    body = json.dumps({**_completion(hostile), "model": "m\x1b[31m"}).encode()
    reply = _ask(body, tmp_path)
    assert reply.text == "A man \N{REPLACEMENT CHARACTER}waves.\nThen he stops."
    assert reply.model == "m"
    (file,) = tmp_path.rglob("*.json")
    assert ReplyCache(tmp_path).get(file.stem) == replace(reply, cached=True)


@pytest.mark.parametrize(
    ("told", "taken"),
    [(7, 7), (-5, 0), (10**30, MAX_TOKENS), (True, 0), (1e300, 0), ("12", 0), (None, 0)],
)
def test_token_counts_are_clamped(told: object, taken: int) -> None:
    body = _completion("A man.", prompt_tokens=told, completion_tokens=told)
    said = read_body("chat_completions", body)
    assert (said.tokens_in, said.tokens_out) == (taken, taken)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": "x"},
        {"choices": [3]},
        {"choices": [{"message": "x"}]},
        {"output": 3},
        {"output": [{"type": "message", "content": 3}]},
        {"output": [{"type": "message", "content": {"a": 1}}]},
        [],
        None,
    ],
)
def test_bodies_of_any_form_are_no_reply(body: object) -> None:
    assert read_body("chat_completions", body).outcome is Outcome.UNAVAILABLE
    assert read_body("responses", body).outcome is Outcome.UNAVAILABLE
