"""The two protocols of OpenAI-compatible endpoints: chat completions and responses.

Response bodies are parsed as plain JSON, field by field, because servers that implement a protocol
loosely omit fields, and a reply that has been paid for must not be lost to a type error.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import cv2
from pydantic import BaseModel

from data.arrays import ImageArray
from data.plain_text import MAX_MESSAGE_CHARS, plain_text
from data.records import Outcome

Api = Literal["responses", "chat_completions"]
Structure = Literal["json_schema", "json_object", "text"]

MAX_REPLY_BYTES: Final = 1_000_000
"""Largest size of a response body, a hundred times that of the longest annotation."""
MAX_TOKENS: Final = 10_000_000
"""Token counts that a server reports for one call are clipped to this value."""
_NAME_CHARS: Final = 200

STRUCTURES: Final[tuple[Structure, ...]] = ("json_schema", "json_object", "text")
"""Ways to request JSON, the strictest first."""

_SCHEMA_INSTRUCTION: Final = (
    "\n\nReply with one JSON object and nothing else. It must conform to this JSON schema:\n"
)


@dataclass(frozen=True, slots=True)
class Jpeg:
    """An image of a request, as a JPEG file."""

    data: bytes
    width_px: int
    height_px: int

    @classmethod
    def encode(cls, image_HW3: ImageArray, quality: int) -> "Jpeg":
        """Encode an RGB image, (H, W, 3)."""
        bgr = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise AssertionError(f"an image of shape {image_HW3.shape} cannot be encoded")
        height_px, width_px = image_HW3.shape[:2]
        return cls(data.tobytes(), width_px, height_px)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request to a model.

    Attributes:
        system: system prompt.
        parts: user message: texts and images, in order.
        prompt_id: id of the prompt that the request was rendered from.
        sample: index among equal requests; each of them gets its own reply.
        schema: schema of the JSON object to reply with, None for prose.
        history: earlier rounds: a reply of the model, and the message that followed it.
    """

    system: str
    parts: tuple[str | Jpeg, ...]
    prompt_id: str
    sample: int = 0
    schema: type[BaseModel] | None = None
    history: tuple[tuple[str, str], ...] = ()

    def content_key(self, service: dict[str, Any]) -> str:
        """Return the SHA-256 digest of everything that determines the reply.

        Args:
            service: settings of the service: endpoint, model and sampling.
        """
        content = {
            **service,
            "system": self.system,
            "parts": [
                part if isinstance(part, str) else {"jpeg": hashlib.sha256(part.data).hexdigest()}
                for part in self.parts
            ],
            "sample": self.sample,
            "schema": self.schema.model_json_schema() if self.schema else None,
            "history": self.history,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of a call that concern the generation of the reply.

    Attributes:
        model: name of the model.
        max_tokens: largest number of output tokens.
        max_tokens_name: name of this limit in chat completions, which differs between servers.
        temperature: sampling temperature, None for the default of the model.
        structure: how JSON is requested.
    """

    model: str
    max_tokens: int
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"]
    temperature: float | None
    structure: Structure


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """The content of a response body.

    Attributes:
        outcome: ``success``, ``truncated``, ``refused``, ``filtered``, or ``unavailable`` for a
            body that is not a reply.
        reason: why the outcome is not ``success``.
        text: text of the model.
        tokens_in, tokens_out: tokens as billed; 0 if the server does not report them.
        model: name of the model, as reported by the server.
    """

    outcome: Outcome
    reason: str
    text: str
    tokens_in: int
    tokens_out: int
    model: str


def make_body(api: Api, request: ChatRequest, sampling: Sampling) -> dict[str, Any]:
    """Build the body of a request."""
    body: dict[str, Any] = {"model": sampling.model}
    if sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if api == "chat_completions":
        return body | _completions_body(request, sampling)
    return body | _responses_body(request, sampling)


def read_body(api: Api, body: Any) -> ParsedBody:
    """Parse a response body, which may be any JSON value.

    Texts are cleaned of control characters, because they are stored in rows and printed.
    """
    if not isinstance(body, dict):
        return _no_reply(f"expected a JSON object, found {type(body).__name__}")
    parsed = _read_completion(body) if api == "chat_completions" else _read_response(body)
    return replace(
        parsed,
        text=plain_text(parsed.text, MAX_REPLY_BYTES),
        reason=plain_text(parsed.reason, MAX_MESSAGE_CHARS),
        model=plain_text(parsed.model, _NAME_CHARS),
    )


def endpoint(api: Api) -> str:
    """Return the path of a protocol below the base URL."""
    return "/chat/completions" if api == "chat_completions" else "/responses"


# ----------------------------------------------------------------------------- chat completions


def _completions_body(request: ChatRequest, sampling: Sampling) -> dict[str, Any]:
    content: list[dict[str, Any]] = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": _data_url(part)}}
        for part in request.parts
    ]
    texts_only = all(isinstance(part, str) for part in request.parts)
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": _system(request, sampling)},
        # Servers of text models may accept only plain strings.
        {"role": "user", "content": "\n".join(map(str, request.parts)) if texts_only else content},
    ]
    for reply, answer in request.history:
        messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": answer}]
    body: dict[str, Any] = {"messages": messages, sampling.max_tokens_name: sampling.max_tokens}
    if request.schema and sampling.structure == "json_schema":
        body["response_format"] = {"type": "json_schema", "json_schema": _schema(request.schema)}
    elif request.schema and sampling.structure == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


def _read_completion(body: dict[str, Any]) -> ParsedBody:
    usage = _dict(body.get("usage"))
    spent = (_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
    model = _text(body.get("model"))
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return _no_reply("expected a choice, found none", *spent, model)
    choice = _dict(choices[0])
    message = _dict(choice.get("message"))
    text, refusal = message.get("content"), message.get("refusal")
    finish = choice.get("finish_reason")
    if finish == "content_filter":
        return ParsedBody(
            Outcome.FILTERED, "finish_reason content_filter", _text(text), *spent, model
        )
    if isinstance(refusal, str) and refusal:
        return ParsedBody(Outcome.REFUSED, refusal, _text(text), *spent, model)
    if finish == "length":
        return ParsedBody(Outcome.TRUNCATED, "finish_reason length", _text(text), *spent, model)
    if not isinstance(text, str):
        found = type(text).__name__
        return _no_reply(f"expected a text as the message's content, found {found}", *spent, model)
    return ParsedBody(Outcome.SUCCESS, "", text, *spent, model)


# ------------------------------------------------------------------------------------ responses


def _responses_body(request: ChatRequest, sampling: Sampling) -> dict[str, Any]:
    content = [
        {"type": "input_text", "text": part}
        if isinstance(part, str)
        else {"type": "input_image", "image_url": _data_url(part)}
        for part in request.parts
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    for reply, answer in request.history:
        messages += [
            {"role": "assistant", "content": [{"type": "output_text", "text": reply}]},
            {"role": "user", "content": [{"type": "input_text", "text": answer}]},
        ]
    body: dict[str, Any] = {
        "instructions": _system(request, sampling),
        "input": messages,
        "max_output_tokens": sampling.max_tokens,
        "store": False,
    }
    if request.schema and sampling.structure == "json_schema":
        body["text"] = {"format": {"type": "json_schema", **_schema(request.schema)}}
    elif request.schema and sampling.structure == "json_object":
        body["text"] = {"format": {"type": "json_object"}}
    return body


def _read_response(body: dict[str, Any]) -> ParsedBody:
    usage = _dict(body.get("usage"))
    spent = (_count(usage, "input_tokens"), _count(usage, "output_tokens"))
    model = _text(body.get("model"))
    output = body.get("output")
    parts = [
        _dict(part)
        for item in _list(output)
        if _dict(item).get("type") == "message"
        for part in _list(_dict(item).get("content"))
    ]
    text = "".join(_text(p.get("text")) for p in parts if p.get("type") == "output_text")
    refusal = "".join(_text(p.get("refusal")) for p in parts if p.get("type") == "refusal")
    why = _text(_dict(body.get("incomplete_details")).get("reason"))
    status = body.get("status")
    if status == "incomplete" and why == "content_filter":
        return ParsedBody(Outcome.FILTERED, "incomplete: content_filter", text, *spent, model)
    if refusal:
        return ParsedBody(Outcome.REFUSED, refusal, text, *spent, model)
    if status == "incomplete":
        return ParsedBody(Outcome.TRUNCATED, f"incomplete: {why}", text, *spent, model)
    if status == "failed":
        message = _text(_dict(body.get("error")).get("message"))
        return _no_reply(f"status failed: {message}", *spent, model)
    if not parts:
        return _no_reply("expected a message in the output, found none", *spent, model)
    return ParsedBody(Outcome.SUCCESS, "", text, *spent, model)


# --------------------------------------------------------------------------------------- shared


def _system(request: ChatRequest, sampling: Sampling) -> str:
    if request.schema is None or sampling.structure == "json_schema":
        return request.system
    return request.system + _SCHEMA_INSTRUCTION + json.dumps(request.schema.model_json_schema())


def _schema(schema: type[BaseModel]) -> dict[str, Any]:
    return {"name": schema.__name__, "schema": schema.model_json_schema(), "strict": True}


def _data_url(picture: Jpeg) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(picture.data).decode()


def _no_reply(reason: str, tokens_in: int = 0, tokens_out: int = 0, model: str = "") -> ParsedBody:
    return ParsedBody(Outcome.UNAVAILABLE, reason, "", tokens_in, tokens_out, model)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return min(max(value, 0), MAX_TOKENS)
