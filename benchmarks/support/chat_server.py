"""A service that speaks OpenAI's protocol over a real socket, and fails on demand.

    with ChatServer(answer=lambda asked: "A person walks.", fault=script) as server:
        ChatConfig(model="test", base_url=server.base_url)

``answer`` gets an :class:`Asked` and returns the reply's text. ``fault`` gets the same and returns
the name of a fault (see ``FAULTS``) or None. Pictures must be real JPEGs, strict schemas are
checked for what OpenAI demands of them. ``server.calls`` tells what was asked and what came of it.
"""

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

FAULTS = (
    *("429", "429_date", "quota", "401", "400", "404_model", "500", "503", "echo_key"),
    *("slow", "mid_body", "reset", "bad_body", "length", "refusal", "filter", "filter_400"),
    *("empty_choices", "no_content"),
)
PAID = {"length", "refusal", "empty_choices", "no_content"}
"""Faults that are billed, because they are replies of the model."""


@dataclass(slots=True)
class Asked:
    """One call.

    Attributes:
        key: of all that the model was shown.
        path: of the endpoint, e.g. ``/v1/chat/completions``.
        body: as posted.
        number: 1 for the first call of this key.
        fault: what it ended in, or None.
        paid: whether a reply was billed.
    """

    key: str
    path: str
    body: dict[str, Any]
    number: int
    fault: str | None = None
    paid: bool = False

    @property
    def request_id(self) -> str:
        """ID of a good reply, which a header carries."""
        return f"req-{self.key[:8]}-{self.number}"

    @property
    def text(self) -> str:
        """All texts of the conversation."""
        return "\n".join(_texts(self.body))

    @property
    def num_pictures(self) -> int:
        """Number of pictures in the request."""
        return len(_pictures(self.body))

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that was asked for."""
        form = self.body.get("response_format") or self.body.get("text", {}).get("format") or {}
        return form.get("json_schema", form).get("schema")


@dataclass
class ChatServer:
    """Server of the OpenAI protocol; see the module."""

    answer: Callable[[Asked], str] = lambda asked: f"Reply to {asked.key[:8]}."
    fault: Callable[[Asked], str | None] = lambda _: None
    delay_s: float = 0.0
    structures: tuple[str, ...] = ("json_schema", "json_object")
    paths: tuple[str, ...] = ("/v1/chat/completions", "/v1/responses")
    polls_per_batch: int = 2
    checks_pictures: bool = True
    status_of_unsupported: int = 400
    calls: list[Asked] = field(default_factory=list[Asked])
    most_at_once: int = 0
    batches: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    port: int = 0

    def __enter__(self) -> "ChatServer":
        self._lock = threading.Lock()
        self._numbers: Counter[str] = Counter()
        self._at_once = 0
        self._http = _Server(("127.0.0.1", self.port), _Handler)
        self._http.service = self
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def base_url(self) -> str:
        """Base URL for the configuration of a client."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def paid(self) -> Counter[str]:
        """Billed replies by key."""
        with self._lock:
            return Counter(call.key for call in self.calls if call.paid)

    def take(self, path: str, body: dict[str, Any]) -> Asked:
        """Count a call."""
        shown = json.dumps([_texts(body), _pictures(body), body.get("model")])
        key = hashlib.sha256(shown.encode()).hexdigest()
        with self._lock:
            self._numbers[key] += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            asked = Asked(key, path, body, self._numbers[key])
            self.calls.append(asked)
        return asked

    def worked(self) -> None:
        """Record that a reply is ready; the client may call again before its last byte is sent."""
        with self._lock:
            self._at_once -= 1

    def leave(self, asked: Asked, *, paid: bool) -> None:
        """Record the end of a call."""
        with self._lock:
            asked.paid = paid

    def reply(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        """Status and body of a call without a fault of the connection."""
        problem = self._problem(asked)
        if problem:
            status = self.status_of_unsupported if "not supported" in problem else 400
            return status, _error(problem, "invalid_request_error")
        fault = asked.fault
        text = "" if fault in ("refusal", "filter", "no_content") else self.answer(asked)
        if fault == "length":
            text = text[: max(1, len(text) // 2)]
        usage_in = 20 + sum(len(t) for t in _texts(asked.body)) // 4 + 255 * asked.num_pictures
        usage_out = max(1, len(text) // 4)
        if asked.path.endswith("responses"):
            return 200, _response(asked, text, usage_in, usage_out)
        return 200, _completion(asked, text, usage_in, usage_out)

    def _problem(self, asked: Asked) -> str:
        form = asked.body.get("response_format") or asked.body.get("text", {}).get("format")
        if form and form["type"] not in self.structures:
            return f"response_format of type {form['type']} is not supported by this server"
        if asked.schema is not None:
            loose = _loose_objects(asked.schema)
            if loose:
                return f"Invalid schema: {loose} must set additionalProperties and all required"
        for url in _pictures(asked.body) if self.checks_pictures else ():
            head, _, data = url.partition(",")
            image = np.frombuffer(base64.b64decode(data), np.uint8)
            if head != "data:image/jpeg;base64" or cv2.imdecode(image, cv2.IMREAD_COLOR) is None:
                return "Invalid image"
        return ""


def _texts(body: dict[str, Any]) -> list[str]:
    texts = [body["instructions"]] if body.get("instructions") else []
    for message in body.get("messages") or body.get("input") or []:
        content = message["content"]
        if isinstance(content, str):
            texts.append(content)
        else:
            texts += [part["text"] for part in content if "text" in part]
    return texts


def _pictures(body: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for message in body.get("messages") or body.get("input") or []:
        for part in message["content"] if isinstance(message["content"], list) else []:
            url = part.get("image_url")
            if url:
                found.append(url if isinstance(url, str) else url["url"])
    return found


def _loose_objects(schema: dict[str, Any]) -> list[str]:
    objects = [schema, *schema.get("$defs", {}).values()]
    return [
        part.get("title", "?")
        for part in objects
        if part.get("additionalProperties") is not False
        or set(part.get("required", ())) != set(part.get("properties", {}))
    ]


def _error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _completion(asked: Asked, text: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    fault = asked.fault
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    finish = {"length": "length", "filter": "content_filter"}.get(fault or "", "stop")
    if fault == "refusal":
        message |= {"content": None, "refusal": "I cannot help with that."}
    if fault == "no_content":
        message |= {"content": 17}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return {
        "id": f"chatcmpl-{asked.key[:12]}-{asked.number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.body["model"],
        "choices": [] if fault == "empty_choices" else [choice],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


def _response(asked: Asked, text: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    fault = asked.fault
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    if fault == "refusal":
        part = {"type": "refusal", "refusal": "I cannot help with that."}
    if fault == "no_content":
        part = {"type": "output_text", "text": 17}
    why = {"length": "max_output_tokens", "filter": "content_filter"}.get(fault or "")
    message = {"type": "message", "id": "m", "role": "assistant", "content": [part]}
    return {
        "id": f"resp-{asked.key[:12]}-{asked.number}",
        "object": "response",
        "created_at": int(time.time()),
        "model": asked.body["model"],
        "status": "incomplete" if why else "completed",
        "incomplete_details": {"reason": why} if why else None,
        "error": None,
        "output": [] if fault == "empty_choices" else [message],
        "usage": {
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    service: ChatServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect, which is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass

    def do_GET(self) -> None:
        service, path = self.server.service, self.path.split("?")[0]
        if path == "/v1/batches":
            self._send(200, {"object": "list", "data": list(service.batches.values())})
        elif path.startswith("/v1/batches/"):
            batch = service.batches[path.rsplit("/", 1)[1]]
            batch["polls"] += 1
            if batch["polls"] >= service.polls_per_batch and batch["status"] == "in_progress":
                self._finish_batch(batch)
            self._send(200, batch)
        elif path.startswith("/v1/files/") and path.endswith("/content"):
            self._send_bytes(200, service.files[path.split("/")[3]], {})
        else:
            self._send(404, _error("no such route", "invalid_request_error"))

    def do_POST(self) -> None:
        service = self.server.service
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/files":
            file_id = f"file-{len(service.files)}"
            boundary = self.headers["Content-Type"].split("boundary=")[1].encode()
            parts = data.split(b"--" + boundary)
            content = next(part for part in parts if b'name="file"' in part)
            service.files[file_id] = content.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
            self._send(200, {"id": file_id, "object": "file", "purpose": "batch"})
        elif self.path == "/v1/batches":
            self._send(200, self._new_batch(json.loads(data)))
        elif self.path in service.paths:
            self._chat(json.loads(data))
        else:
            self._send(404, _error("Not Found", "invalid_request_error"))

    # chat

    def _chat(self, body: dict[str, Any]) -> None:
        service = self.server.service
        asked = service.take(self.path, body)
        asked.fault = service.fault(asked)
        paid = False
        try:
            time.sleep(service.delay_s)
            service.worked()
            paid = self._answer(asked)
        finally:
            service.leave(asked, paid=paid)

    def _answer(self, asked: Asked) -> bool:
        """Send the reply; return whether it is billed."""
        fault = asked.fault
        key = self.headers.get("Authorization", "")
        failures: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
            "429": (429, _error("slow down", "requests"), {"retry-after-ms": "40"}),
            "429_date": (429, _error("slow down", "requests"), {"Retry-After": "0"}),
            "quota": (429, _error("no credit", "insufficient_quota", "insufficient_quota"), {}),
            "401": (401, _error(f"bad key {key}", "invalid_request_error"), {}),
            "400": (400, _error("bad request", "invalid_request_error"), {}),
            "404_model": (404, _error("no model", "x", "model_not_found"), {}),
            "500": (500, _error("internal", "server_error"), {}),
            "503": (503, _error("overloaded", "server_error"), {}),
            "echo_key": (400, _error(f"you sent {key}", "invalid_request_error"), {}),
            "filter_400": (400, _error("filtered", "x", "content_filter"), {}),
        }
        if fault in failures:
            self._send(*failures[fault])
            return False
        if fault == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
            return False
        if fault == "slow":
            time.sleep(3.0)
            self.close_connection = True
            return False
        status, body = self.server.service.reply(asked)
        data = json.dumps(body).encode()
        if fault == "bad_body":
            data = data[: len(data) // 2]
        if fault == "mid_body":
            self._head(200, len(data), {})
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            time.sleep(3.0)
            self.close_connection = True
            return False
        self._send_bytes(status, data, {"x-request-id": asked.request_id})
        return status == 200 and (fault is None or fault in PAID)

    # batches

    def _new_batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        service = self.server.service
        batch = {
            "id": f"batch-{len(service.batches)}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"],
            "metadata": asked["metadata"],
            "created_at": int(time.time()),
            "status": "in_progress",
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "polls": 0,
        }
        service.batches[str(batch["id"])] = batch
        return batch

    def _finish_batch(self, batch: dict[str, Any]) -> None:
        service = self.server.service
        output: list[str] = []
        errors: list[str] = []
        for line in service.files[batch["input_file_id"]].splitlines():
            request = json.loads(line)
            asked = service.take(request["url"], request["body"])
            service.worked()
            asked.fault = service.fault(asked)
            entry: dict[str, Any] = {"custom_id": request["custom_id"], "error": None}
            if asked.fault == "expired":
                error = {"code": "batch_expired", "message": "not done in time"}
                errors.append(json.dumps({**entry, "response": None, "error": error}))
                service.leave(asked, paid=False)
                continue
            if asked.fault == "500":
                entry["response"] = {"status_code": 500, "body": _error("internal", "x")}
                errors.append(json.dumps(entry))
                service.leave(asked, paid=False)
                continue
            status, body = service.reply(asked)
            entry["response"] = {
                "status_code": status,
                "request_id": f"req-{asked.key[:8]}",
                "body": body,
            }
            output.append(json.dumps(entry))
            service.leave(asked, paid=True)
        for name, lines in (("output_file_id", output), ("error_file_id", errors)):
            if lines:
                batch[name] = f"file-{len(service.files)}"
                service.files[batch[name]] = "\n".join(lines).encode()
        batch["status"] = "completed"

    # http

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(body).encode(), headers or {})

    def _send_bytes(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self._head(status, len(data), headers)
        self.wfile.write(data)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
