"""Requests through the Batch API, which costs half the price and replies within a day.

A batch is submitted as soon as it is full. Requests wait on disk, because those of a whole run with
their pictures do not fit into memory. The state of a batch is saved under ``<cache>/batches``
before the batch is created and after every step, so that a run can resume after a crash. If a run
dies after it created a batch and before it saved the id, the next run finds the batch by the name
in its metadata, so no request is submitted twice. Replies are matched by ``custom_id``, which is
the key of the request, and stored in the same cache as those of single calls.
"""

import asyncio
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

from annotators.chat.cache import ChatReply
from annotators.chat.protocol import ChatRequest, endpoint, make_body, read_body
from annotators.chat.service import ChatService
from data.records import Outcome, total_cost
from data.store.writer import write_text

logger: Final = logging.getLogger(__name__)

Tag = TypeVar("Tag")

ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})
NAME: Final = "avatargpt_batch"
"""Metadata field of a batch that stores the name of its :class:`BatchState`."""
RECENT_BATCHES: Final = 1000
"""Number of the account's latest batches that are searched for a batch whose id was not saved."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """The saved state of a batch.

    Attributes:
        name: unique name, which is stored in the metadata of the service's batch.
        keys: keys of the requests.
        batch_id: id of the batch at the service; empty until the batch is created.
        input_file_id: id of the uploaded file of requests; empty until it is uploaded.
    """

    name: str
    keys: tuple[str, ...]
    batch_id: str = ""
    input_file_id: str = ""


class BatchChatService(ChatService):
    """A remote service that is called through its Batch API."""

    def ask_many(
        self, requests: Iterable[tuple[Tag, ChatRequest]]
    ) -> Iterator[tuple[Tag, ChatReply]]:
        """Submit all requests in as few batches as possible, and yield their replies.

        Args:
            requests: pairs of a tag chosen by the caller and a request.

        Yields:
            Tag and reply, in order of completion.

        Raises:
            ChatStoppedError: the service fails for all requests.
        """
        tagged: dict[str, list[Tag]] = {}
        self.batch_folder.mkdir(parents=True, exist_ok=True)
        with _Spool(self.batch_folder) as spool:
            batches = _Batches(self, spool)
            for tag, request in requests:
                key = self.key(request)
                kept = self.cache.get(key)
                if kept is not None:
                    self.spend.cache_hits += 1
                    yield tag, kept
                elif key in tagged:
                    tagged[key].append(tag)
                elif batches.add(key, request):
                    tagged[key] = [tag]
                else:
                    yield tag, self.over_budget()
            for key, reply in batches.replies():
                for tag in tagged[key]:
                    yield tag, reply


class _Spool:
    """The lines of requests, in a file that is gone when this process ends.

    Args:
        folder: folder with room for all requests of a run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - see __exit__
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0

    def __enter__(self) -> "_Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, key: str, line: bytes) -> None:
        """Append the line of a request."""
        self._file.write(line)
        self._places[key] = self._end, len(line)
        self._end += len(line)

    def size(self, key: str) -> int:
        """Return the size of a line in bytes."""
        return self._places[key][1]

    def read(self, key: str) -> bytes:
        """Return the line of a request, in any thread."""
        offset, length = self._places[key]
        return os.pread(self._file.fileno(), length, offset)


class _Batches:
    """The batches of one call of :meth:`BatchChatService.ask_many`."""

    def __init__(self, service: ChatService, spool: _Spool) -> None:
        self._service = service
        self._spool = spool
        self._folder = service.batch_folder
        self._earlier = _load_states(self._folder, service.own_batches)
        self._under_way = {key for state in self._earlier for key in state.keys}
        self._tokens_in: dict[str, int] = {}
        self._keys: list[str] = []
        self._size = 0
        self._running: list[Future[dict[str, ChatReply]]] = []

    def add(self, key: str, request: ChatRequest) -> bool:
        """Add a request, and return whether the budget covers it.

        Raises:
            ChatStoppedError: a batch could not be submitted.
        """
        self._tokens_in[key] = self._service.tokens_in(request)
        if key not in self._under_way and not self._reserve(key):
            return False
        self._spool.add(key, _line(self._service, key, request))
        if key not in self._under_way:
            self._put(key)
        return True

    def replies(self) -> Iterator[tuple[str, ChatReply]]:
        """Wait for the replies to all requests; those without a reply are submitted again."""
        service = self._service
        wanted = {key for key in self._tokens_in if key in self._spool}
        last: dict[str, ChatReply] = {}
        for state in self._earlier:
            self._start(state)
        for attempt in range(service.config.max_attempts):
            for key in sorted(wanted) if attempt else ():
                if self._reserve(key):
                    self._put(key)
                else:
                    wanted.remove(key)
                    yield key, service.over_budget()
            self._close()
            running, self._running = self._running, []
            for future in as_completed(running):
                for key, reply in future.result().items():
                    if key not in wanted:
                        continue
                    if reply.outcome in (Outcome.UNAVAILABLE, Outcome.RATE_LIMITED):
                        last[key] = reply
                    else:
                        wanted.remove(key)
                        yield key, reply
            if not wanted:
                return
        for key in sorted(wanted):
            failed = last.get(key, ChatReply(Outcome.UNAVAILABLE, "no reply in any batch"))
            service.note_answer(failed)
            yield key, replace(failed, attempts=service.config.max_attempts)

    def _reserve(self, key: str) -> bool:
        """Reserve budget for a request.

        A batch cannot be stopped halfway, so each request is counted at its maximum cost.
        """
        most = self._service.sampling().max_tokens
        tokens_in = self._tokens_in[key]
        usd = self._service.usd(tokens_in, most)
        return self._service.budget.reserve(tokens_in + most, usd) is not None

    def _put(self, key: str) -> None:
        """Add a request to the next batch, and submit it if it is full."""
        config = self._service.config
        length = self._spool.size(key)
        full = len(self._keys) == config.batch_max_requests
        if full or (self._keys and self._size + length > config.batch_max_bytes):
            self._close()
        self._keys.append(key)
        self._size += length

    def _close(self) -> None:
        """Submit the next batch."""
        if not self._keys:
            return
        state = BatchState(uuid4().hex, tuple(self._keys))
        self._keys, self._size = [], 0
        self._service.own_batches.add(state.name)
        self._start(_save(state, self._folder))
        for future in self._running:
            if future.done() and future.exception() is not None:
                future.result()

    def _start(self, state: BatchState) -> None:
        work = _process(self._service, state, self._spool, self._folder)
        self._running.append(self._service.run(work))


# --------------------------------------------------------------------------------------- states


def _load_states(folder: Path, own: set[str]) -> list[BatchState]:
    """Load the states of batches that earlier runs left, and add their names to ``own``."""
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


def _line(service: ChatService, key: str, request: ChatRequest) -> bytes:
    line = {
        "custom_id": key,
        "method": "POST",
        "url": f"/v1{endpoint(service.api)}",
        "body": make_body(service.api, request, service.sampling()),
    }
    return json.dumps(line).encode() + b"\n"


# ----------------------------------------------------------------------------------- processing


async def _process(
    service: ChatService, state: BatchState, spool: _Spool, folder: Path
) -> dict[str, ChatReply]:
    started_s = time.monotonic()
    if not state.batch_id:
        state = await _submit(service, state, spool, folder)
    if not state.batch_id:
        # An earlier run died before it created this batch. Its requests are submitted again.
        (folder / f"{state.name}.json").unlink(missing_ok=True)
        return {}
    while True:
        batch = await _retry(service, lambda: service.client.batches.retrieve(state.batch_id))
        if batch.status in ENDED:
            break
        await asyncio.sleep(service.config.batch_poll_s)
    replies: dict[str, ChatReply] = {}
    for file_id in (batch.output_file_id, batch.error_file_id):
        if file_id:
            content = await _retry(
                service, lambda file_id=file_id: service.client.files.content(file_id)
            )
            for line in content.text.splitlines():
                try:
                    key, reply = _read_line(service, line, time.monotonic() - started_s)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                    # The request then has no line, which is reported below.
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
    service: ChatService, state: BatchState, spool: _Spool, folder: Path
) -> BatchState:
    """Create the batch, unless an earlier run created it.

    Returns:
        The state with the id of the batch, or without one when the requests of a batch of an
        earlier run are not available.
    """
    page = await _retry(service, lambda: service.client.batches.list(limit=100))
    seen = 0
    async for batch in page:
        if (batch.metadata or {}).get(NAME) == state.name:
            return _save(replace(state, batch_id=batch.id), folder)
        seen += 1
        if seen >= RECENT_BATCHES:
            break
    if any(key not in spool for key in state.keys):
        return state
    lines = await asyncio.to_thread(lambda: b"".join(map(spool.read, state.keys)))
    file = await _retry(
        service,
        lambda: service.client.files.create(
            file=(f"{state.name}.jsonl", lines, "application/jsonl"), purpose="batch"
        ),
    )
    state = _save(replace(state, input_file_id=file.id), folder)
    url: Any = f"/v1{endpoint(service.api)}"
    batch = await _retry(
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


async def _retry(service: ChatService, call: Any, *, repeat: bool = True) -> Any:
    """Call the Files or Batches API, and retry while the service is unavailable.

    Raises:
        ChatStoppedError: the call fails permanently.
    """
    import openai  # noqa: PLC0415 - takes half a second, and most runs call no service

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
        f"Batch API: {last} Remedy: check the service, then run again; batches that were submitted "
        "are found and collected."
    )


def _read_line(service: ChatService, line: str, waited_s: float) -> tuple[str, ChatReply]:
    data = json.loads(line)
    response = data.get("response") or {}
    body, status = response.get("body"), response.get("status_code", 0)
    request_id = response.get("request_id") or ""
    if data.get("error") or status != 200:
        message = service.scrubbed(json.dumps(data.get("error") or body))
        transient = status in (0, 408, 409, 429) or status >= 500
        outcome = Outcome.UNAVAILABLE if transient else Outcome.ERROR
        return data["custom_id"], ChatReply(
            outcome, f"HTTP {status}: {message}", request_id=request_id, attempts=1
        )
    parsed = read_body(service.api, body)
    return data["custom_id"], ChatReply(
        outcome=parsed.outcome,
        reason=service.scrubbed(parsed.reason),
        text=parsed.text,
        **total_cost(service.note_cost(parsed, waited_s)),
        model=parsed.model or service.config.model,
        request_id=request_id,
        attempts=1,
    )
