"""The Batch API: half the price, within a day. Submits, waits, collects; goes on after a crash.

A batch is written down before it is made and after every step, under ``<cache>/batches``. If a run
dies between making a batch and writing its id down, the next one finds it by the name in its
metadata, so nothing is submitted twice. Replies are joined by ``custom_id``, the request's key, and
kept where those of single calls are kept.
"""

import asyncio
import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import openai

from annotators.chat.cache import ChatReply
from annotators.chat.protocol import ChatRequest, endpoint, make_body, read_body
from annotators.chat.service import ChatService
from data.records import Outcome, total_cost
from data.store.writer import write_text

logger: Final = logging.getLogger(__name__)

Tag = TypeVar("Tag")

ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})
NAME: Final = "avatargpt_batch"
"""Metadata field by which a batch is found again."""
RECENT_BATCHES: Final = 1000
"""Batches of the account that are looked through for one that a crash lost sight of."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as it is written down.

    Attributes:
        name: its own, in the metadata of the service's batch.
        keys: of its requests.
        batch_id: the service's id; empty until the batch is made.
        input_file_id: the uploaded requests; empty until then.
    """

    name: str
    keys: tuple[str, ...]
    batch_id: str = ""
    input_file_id: str = ""


class BatchChatService(ChatService):
    """A remote service that is asked through its Batch API."""

    def ask_many(
        self, requests: Iterable[tuple[Tag, ChatRequest]]
    ) -> Iterator[tuple[Tag, ChatReply]]:
        """Ask requests, all of them before the first is answered.

        Args:
            requests: with a tag of the caller's.

        Yields:
            Tag and reply, in order of completion.

        Raises:
            ChatStoppedError: the service cannot go on.
        """
        tagged: dict[str, list[Tag]] = {}
        wanted: dict[str, ChatRequest] = {}
        for tag, request in requests:
            key = self.key(request)
            kept = self.cache.get(key)
            if kept is not None:
                self.spend.cache_hits += 1
                yield tag, kept
            else:
                wanted[key] = request
                tagged.setdefault(key, []).append(tag)
        for key, reply in _ask(self, wanted):
            for tag in tagged[key]:
                yield tag, reply


def _ask(service: ChatService, wanted: dict[str, ChatRequest]) -> Iterator[tuple[str, ChatReply]]:
    folder = service.batch_folder
    last: dict[str, ChatReply] = {}
    for attempt in range(service.config.max_attempts):
        # What an earlier run left under way is collected first.
        states = _load_states(folder, service.own_batches) if attempt == 0 else []
        under_way = {key for state in states for key in state.keys}
        todo = {key: request for key, request in wanted.items() if key not in under_way}
        for key in _over_budget(service, todo):
            del todo[key], wanted[key]
            yield key, service.over_budget()
        states += _new_states(service, todo, folder)
        for key, reply in service.run(_carry_out(service, states, todo, folder)).result().items():
            if key not in wanted:
                continue
            if reply.outcome in (Outcome.UNAVAILABLE, Outcome.RATE_LIMITED):
                last[key] = reply
            else:
                del wanted[key]
                yield key, reply
        if not wanted:
            return
    for key in wanted:
        failed = last.get(key, ChatReply(Outcome.UNAVAILABLE, "no reply in any batch"))
        service.note_answer(failed)
        yield key, replace(failed, attempts=service.config.max_attempts)


def _over_budget(service: ChatService, todo: dict[str, ChatRequest]) -> list[str]:
    """Requests that do not fit any more; the others have their part of the budget from here on.

    A batch cannot be stopped half-way, so its requests are counted at the most they can cost.
    """
    most = service.sampling().max_tokens
    left_out: list[str] = []
    for key, request in todo.items():
        tokens_in = service.tokens_in(request)
        if service.budget.reserve(tokens_in + most, service.usd(tokens_in, most)) is None:
            left_out.append(key)
    return left_out


# --------------------------------------------------------------------------------------- states


def _load_states(folder: Path, own: set[str]) -> list[BatchState]:
    """Batches that runs which died left behind; from now on this run's own."""
    states: list[BatchState] = []
    for path in sorted(folder.glob("*.json")):
        if path.stem in own:
            continue
        own.add(path.stem)
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        keys = tuple(data.pop("keys"))
        states.append(BatchState(keys=keys, **data))
    return states


def _save(state: BatchState, folder: Path) -> BatchState:
    write_text(folder / f"{state.name}.json", json.dumps(asdict(state)))
    return state


def _new_states(
    service: ChatService, todo: dict[str, ChatRequest], folder: Path
) -> list[BatchState]:
    """Split requests into batches within the service's limits, and write those down."""
    states: list[BatchState] = []
    keys: list[str] = []
    size = 0

    def close() -> None:
        state = BatchState(uuid4().hex, tuple(keys))
        service.own_batches.add(state.name)
        states.append(_save(state, folder))

    for key, request in todo.items():
        length = len(_line(service, key, request))
        full = len(keys) == service.config.batch_max_requests
        if keys and (full or size + length > service.config.batch_max_bytes):
            close()
            keys, size = [], 0
        keys.append(key)
        size += length
    if keys:
        close()
    return states


def _line(service: ChatService, key: str, request: ChatRequest) -> bytes:
    line = {
        "custom_id": key,
        "method": "POST",
        "url": f"/v1{endpoint(service.api)}",
        "body": make_body(service.api, request, service.sampling()),
    }
    return json.dumps(line).encode() + b"\n"


# ------------------------------------------------------------------------------------- carrying


async def _carry_out(
    service: ChatService,
    states: list[BatchState],
    requests: dict[str, ChatRequest],
    folder: Path,
) -> dict[str, ChatReply]:
    """Take all batches to their end; returns the replies by key, failed ones included."""
    found = await asyncio.gather(
        *(_carry_one(service, state, requests, folder) for state in states)
    )
    return {key: reply for replies in found for key, reply in replies.items()}


async def _carry_one(
    service: ChatService, state: BatchState, requests: dict[str, ChatRequest], folder: Path
) -> dict[str, ChatReply]:
    started_s = time.monotonic()
    if not state.batch_id:
        state = await _submit(service, state, requests, folder)
    if not state.batch_id:
        # Written down by a run that died before it was made; its requests are submitted anew.
        (folder / f"{state.name}.json").unlink(missing_ok=True)
        return {}
    while True:
        batch = await _patiently(service, lambda: service.client.batches.retrieve(state.batch_id))
        if batch.status in ENDED:
            break
        await asyncio.sleep(service.config.batch_poll_s)
    replies: dict[str, ChatReply] = {}
    for file_id in (batch.output_file_id, batch.error_file_id):
        if file_id:
            content = await _patiently(
                service, lambda file_id=file_id: service.client.files.content(file_id)
            )
            for line in content.text.splitlines():
                try:
                    key, reply = _read_line(service, line, time.monotonic() - started_s)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                    # Its request has no line then, which is said below.
                    found = service.scrubbed(f"{type(error).__name__}: {error}")
                    logger.warning("batch %s: a line cannot be read (%s)", state.batch_id, found)
                    continue
                replies[key] = reply
                if reply.outcome not in (Outcome.UNAVAILABLE, Outcome.RATE_LIMITED, Outcome.ERROR):
                    await asyncio.to_thread(service.cache.put, key, reply)
    errors = "; ".join(str(error.message) for error in (batch.errors and batch.errors.data) or ())
    for key in state.keys:
        missing = f"batch {batch.status}: {service.scrubbed(errors) or 'no line for this request'}"
        replies.setdefault(key, ChatReply(Outcome.UNAVAILABLE, missing))
    (folder / f"{state.name}.json").unlink(missing_ok=True)
    return replies


async def _submit(
    service: ChatService, state: BatchState, requests: dict[str, ChatRequest], folder: Path
) -> BatchState:
    """Make the batch, unless a run that died has made it; the state without an id if it cannot."""
    page = await _patiently(service, lambda: service.client.batches.list(limit=100))
    seen = 0
    async for batch in page:
        if (batch.metadata or {}).get(NAME) == state.name:
            return _save(replace(state, batch_id=batch.id), folder)
        seen += 1
        if seen >= RECENT_BATCHES:
            break
    if any(key not in requests for key in state.keys):
        return state
    lines = b"".join(_line(service, key, requests[key]) for key in state.keys)
    file = await _patiently(
        service,
        lambda: service.client.files.create(
            file=(f"{state.name}.jsonl", lines, "application/jsonl"), purpose="batch"
        ),
    )
    state = _save(replace(state, input_file_id=file.id), folder)
    url: Any = f"/v1{endpoint(service.api)}"
    batch = await _patiently(
        service,
        lambda: service.client.batches.create(
            input_file_id=file.id,
            endpoint=url,
            completion_window="24h",
            metadata={NAME: state.name},
        ),
        repeat=False,
    )
    service.spend.calls += len(state.keys)
    return _save(replace(state, batch_id=batch.id), folder)


async def _patiently(service: ChatService, call: Any, *, repeat: bool = True) -> Any:
    """A call of the Files or Batches API, repeated while the service is not to be had.

    Raises:
        ChatStoppedError: it fails for good.
    """
    last: Exception | None = None
    for attempt in range(service.config.max_attempts if repeat else 1):
        try:
            return await call()
        except openai.APIStatusError as error:
            last = error
            if error.status_code not in (408, 409, 429) and error.status_code < 500:
                break
        except openai.APIConnectionError as error:
            last = error
        await asyncio.sleep(service.config.min_backoff_s * 2**attempt)
    raise service.stop(
        f"Batch API: {last} Remedy: see to the service, then run again; what is submitted is found "
        "again and collected."
    )


def _read_line(service: ChatService, line: str, waited_s: float) -> tuple[str, ChatReply]:
    data = json.loads(line)
    response = data.get("response") or {}
    body, status = response.get("body"), response.get("status_code", 0)
    request_id = response.get("request_id") or ""
    if data.get("error") or status != 200:
        told = service.scrubbed(json.dumps(data.get("error") or body))
        transient = status in (0, 408, 409, 429) or status >= 500
        outcome = Outcome.UNAVAILABLE if transient else Outcome.ERROR
        return data["custom_id"], ChatReply(
            outcome, f"HTTP {status}: {told}", request_id=request_id, attempts=1
        )
    said = read_body(service.api, body)
    return data["custom_id"], ChatReply(
        outcome=said.outcome,
        reason=service.scrubbed(said.reason),
        text=said.text,
        **total_cost(service.note_cost(said, waited_s)),
        model=said.model or service.config.model,
        request_id=request_id,
        attempts=1,
    )
