"""Concurrent requests to remote models, with a cache of replies and a budget.

:class:`ChatService` works with every OpenAI-compatible endpoint (OpenAI, vLLM, SGLang, llama.cpp,
Ollama) through the ``openai`` package. It learns from error responses which features an endpoint
does not support. Every request results in a :class:`~annotators.chat.cache.ChatReply`, also if it
fails. A failure of the service as a whole (an invalid key, an exhausted quota, too many consecutive
failures) stops the run.
"""

import asyncio
import email.utils
import hashlib
import json
import logging
import random
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import httpx2
from pydantic import SecretStr

from annotators.chat.budget import DEFAULT_PRICES, MESSAGE_TOKENS, Budget, TokenPrice, text_tokens
from annotators.chat.cache import ChatReply, ReplyCache
from annotators.chat.config import OPENAI_HOST, ChatConfig
from annotators.chat.protocol import (
    MAX_REPLY_BYTES,
    STRUCTURES,
    Api,
    ChatRequest,
    Jpeg,
    ParsedBody,
    Sampling,
    Structure,
    make_body,
    read_body,
)
from data.plain_text import plain_text
from data.records import Cost, Outcome, total_cost

if TYPE_CHECKING:
    import openai

Tag = TypeVar("Tag")
Limiter = Callable[[], AbstractAsyncContextManager[None]]

logger: Final = logging.getLogger(__name__)

PATHS: Final[dict[Api, str]] = {
    "chat_completions": "/chat/completions",
    "responses": "/responses",
}
UNSUPPORTED: Final = frozenset({400, 422, 500, 501})
"""HTTP statuses of unsupported parameters (llama-cpp-python: 500, vLLM: 400)."""
NO_KEY: Final = "none"
"""Key for endpoints that need none, because the client requires a key."""
DEFINITIVE: Final = frozenset(
    {Outcome.SUCCESS, Outcome.TRUNCATED, Outcome.REFUSED, Outcome.FILTERED}
)
"""Outcomes that a retry would not change and that are paid for. Their replies are cached."""
MAX_WAIT_S: Final = 600.0
"""Longest wait that a server can request."""
ABANDON_S: Final = 1.0
"""Time for calls in progress to finish when a run is interrupted."""
PULLED_PER_SLOT: Final = 2
"""Number of prepared requests per concurrent call: no slot is idle, and memory is bounded."""
_REASON_CHARS: Final = 500


class ChatStoppedError(RuntimeError):
    """The service fails for all requests. Finished work is stored, and the run can be resumed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated cost of requests.

    Attributes:
        calls: number of calls.
        cached: number of requests that the cache answers, at no cost.
        tokens_in: estimated number of input tokens.
        tokens_out: largest number of output tokens; replies are usually shorter.
        usd: largest cost in USD, None if the price of the model is unknown.
    """

    calls: int
    cached: int
    tokens_in: int
    tokens_out: int
    usd: float | None


@dataclass(slots=True)
class Spend:
    """Calls to a service in this run, and their cost.

    Attributes:
        calls: number of calls, including failures.
        retries: number of calls that repeat a failed call.
        cache_hits: number of requests answered by the cache.
        unanswered: number of requests that failed after all retries.
        tokens_in, tokens_out, usd: tokens and cost of the calls.
    """

    calls: int = 0
    retries: int = 0
    cache_hits: int = 0
    unanswered: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    def __str__(self) -> str:
        return (
            f"{self.calls} calls ({self.retries} retries), {self.cache_hits} cached replies, "
            f"{self.tokens_in} + {self.tokens_out} tokens, {self.usd:.4f} USD"
        )


class ChatService:
    """Client of one endpoint. Use it as a context manager. It is thread-safe.

    Args:
        config: endpoint, model and limits.
        api_key: API key, None if the endpoint needs none.
        cache_dir: folder of the cache of replies.
        budget: budget of the run, shared by its services.
        prices: prices by model, which take precedence over ``DEFAULT_PRICES``.
        limiter: context manager held during every call, e.g. a limit shared by several machines.

    Raises:
        ValueError: the key is missing, or the budget is in USD and the price of the model is
            unknown.
    """

    def __init__(
        self,
        config: ChatConfig,
        api_key: SecretStr | None,
        cache_dir: Path,
        *,
        budget: Budget | None = None,
        prices: dict[str, TokenPrice] | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        self.config = config
        self.cache = ReplyCache(cache_dir)
        endpoint_id = hashlib.sha256(f"{config.base_url} {config.model}".encode()).hexdigest()[:8]
        self.batch_folder = cache_dir / "batches" / endpoint_id
        self.own_batches: set[str] = set()
        self.spend = Spend()
        self.budget = budget or Budget()
        self.price = {**DEFAULT_PRICES, **(prices or {})}.get(config.model)
        self._price = self.price or TokenPrice(input_usd=0, output_usd=0)
        self._key = api_key
        self._limiter: Limiter = limiter or nullcontext
        if config.is_openai and api_key is None:
            raise ValueError(
                f"{config.api_key_name}: expected a key for OpenAI's endpoint, found none. Remedy: "
                f"set {config.api_key_name} or {config.api_key_name}_FILE, create the Prefect "
                f"Secret block {config.api_key_name.lower().replace('_', '-')}, or set base_url."
            )
        if self.budget.limit_usd is not None and self.price is None:
            raise ValueError(
                f"budget_usd: expected a price for the model {config.model!r}, found none. Remedy: "
                "set prices, e.g. "
                f'{{"{config.model}": {{"input_usd": 0.4, "output_usd": 1.6}}}} '
                "(USD per million tokens; 0 for a self-hosted model), or use budget_tokens."
            )
        self._api: Api = (
            config.api
            if config.api != "auto"
            else ("responses" if config.is_openai else "chat_completions")
        )
        self._structure: Structure = (
            "json_schema" if config.structured == "auto" else config.structured
        )
        self._tokens_name: Literal["max_tokens", "max_completion_tokens"] = (
            "max_completion_tokens" if config.is_openai else "max_tokens"
        )
        self._tokens_renamed = False
        self._gate = _Gate(config.max_concurrency)
        self._under_way: dict[str, asyncio.Task[ChatReply]] = {}
        self._failures = 0
        self.last_failure = ""
        self._stopped: ChatStoppedError | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"chat {config.model}", daemon=True
        )
        self._thread.start()
        import openai  # noqa: PLC0415 - takes half a second, and most runs call no service

        limited = openai.DefaultAsyncHttpxClient(event_hooks={"response": [_limit_reply]})
        self.client = openai.AsyncOpenAI(
            http_client=limited,
            # The size of a compressed reply is unknown until it is decompressed.
            default_headers={"Accept-Encoding": "identity"},
            api_key=api_key.get_secret_value() if api_key else NO_KEY,
            base_url=config.base_url,
            timeout=config.timeout_s,
            max_retries=0,
        )

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.config.model

    @property
    def endpoint(self) -> str:
        """Model and URL, for messages."""
        return self.config.base_url or OPENAI_HOST

    def __enter__(self) -> "ChatService":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def abandon(self) -> None:
        """Cancel calls in progress when the run is interrupted. It is thread-safe.

        Replies that arrive within a second are still cached, because they are paid for.
        """
        if not self._loop.is_closed():
            self.stop("the run was interrupted")
            self.run(self._give_up())

    async def _give_up(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=ABANDON_S)
        for call in tuple(self._under_way.values()):
            call.cancel()

    def close(self) -> None:
        """Stop after calls in progress have finished, because they are paid for."""
        if self._loop.is_closed():
            return
        self._stopped = self._stopped or ChatStoppedError("the service is closed")
        self.run(self._finish()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _finish(self) -> None:
        self._gate.open_all()
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=self.config.timeout_s)
        await self.client.close()

    def run(self, work: Any) -> "Future[Any]":
        """Run a coroutine on the event loop of the service."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    # requests

    def key(self, request: ChatRequest) -> str:
        """Return the cache key of a request."""
        return request.content_key(self.config.reply_fields())

    def ask(self, request: ChatRequest) -> ChatReply:
        """Return the reply to one request. See :meth:`ask_many`."""
        return next(reply for _, reply in self.ask_many([(None, request)]))

    def ask_many(
        self, requests: Iterable[tuple[Tag, ChatRequest]]
    ) -> Iterator[tuple[Tag, ChatReply]]:
        """Send requests concurrently, within the limits of the endpoint.

        Args:
            requests: pairs of a tag chosen by the caller and a request. They are read as slots
                become free.

        Yields:
            Tag and reply, in order of completion.

        Raises:
            ChatStoppedError: the service fails for all requests. Replies to calls in progress are
                still cached.
        """
        source = iter(requests)
        pending: dict[Future[ChatReply], Tag] = {}
        exhausted = False
        while True:
            while not exhausted and len(pending) < PULLED_PER_SLOT * self.config.max_concurrency:
                item = next(source, None)
                if item is None:
                    exhausted = True
                else:
                    tag, request = item
                    pending[self.run(self._answer(request))] = tag
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), future.result()

    def estimate(self, requests: Iterable[ChatRequest]) -> Estimate:
        """Estimate the cost of requests without sending them."""
        calls = cached = tokens_in = tokens_out = 0
        seen: set[str] = set()
        for request in requests:
            key = self.key(request)
            if key in seen or self.cache.get(key) is not None:
                cached += 1
                continue
            seen.add(key)
            calls += 1
            tokens_in += self.tokens_in(request)
            tokens_out += self.config.max_output_tokens
        usd = self.usd(tokens_in, tokens_out) if self.price else None
        return Estimate(calls, cached, tokens_in, tokens_out, usd)

    def tokens_in(self, request: ChatRequest) -> int:
        """Estimate the number of input tokens of a request."""
        total = MESSAGE_TOKENS + text_tokens(request.system)
        for part in request.parts:
            if isinstance(part, Jpeg):
                total += self._price.image_tokens(part.width_px, part.height_px)
            else:
                total += text_tokens(part)
        if request.schema:
            total += text_tokens(json.dumps(request.schema.model_json_schema()))
        return total + sum(text_tokens(text) for turn in request.history for text in turn)

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        """Return the cost of a number of tokens in USD; batches cost half the price."""
        return self._price.usd(tokens_in, tokens_out) * (0.5 if self.config.batch else 1.0)

    def over_budget(self) -> ChatReply:
        """Return the reply to a request that exceeds the budget."""
        return ChatReply(Outcome.BUDGET, f"the run's budget ({self.budget}) is used up")

    def sampling(self, *, more_tokens: bool = False) -> Sampling:
        """Return the settings of the next call, given what the endpoint supports."""
        config = self.config
        most = max(config.max_output_tokens, config.max_output_tokens_retry)
        return Sampling(
            model=config.model,
            max_tokens=most if more_tokens else config.max_output_tokens,
            max_tokens_name=self._tokens_name,
            temperature=config.temperature,
            structure=self._structure,
        )

    @property
    def api(self) -> Api:
        """Protocol in use."""
        return self._api

    def stop(self, reason: str) -> ChatStoppedError:
        """Stop the service and return the error to raise."""
        self._stopped = ChatStoppedError(self.scrubbed(reason))
        self._gate.open_all()
        return self._stopped

    def scrubbed(self, text: str) -> str:
        """Remove keys and control characters from a text of the service, and limit its length."""
        if self._key is not None and self._key.get_secret_value():
            text = text.replace(self._key.get_secret_value(), "[key]")
        return plain_text(re.sub(r"(sk-|Bearer )\S+", r"\1[key]", text), _REASON_CHARS)

    # on the loop

    async def _answer(self, request: ChatRequest) -> ChatReply:
        key = self.key(request)
        kept = self.cache.get(key)
        if kept is not None:
            self.spend.cache_hits += 1
            return kept
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._call(request, key))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # The shield completes the call if the caller is cancelled, because it is paid for.
        return await asyncio.shield(task)

    async def _call(self, request: ChatRequest, key: str) -> ChatReply:
        total = ChatReply(Outcome.UNAVAILABLE)
        more_tokens = False
        while total.attempts < self.config.max_attempts:
            sampling = self.sampling(more_tokens=more_tokens)
            tokens_in = self.tokens_in(request)
            reserved = self.budget.reserve(
                tokens_in + sampling.max_tokens, self.usd(tokens_in, sampling.max_tokens)
            )
            if reserved is None:
                if total.outcome is not Outcome.TRUNCATED:
                    total = replace(self.over_budget(), attempts=total.attempts)
                break
            try:
                result = await self._try(request, sampling, total.attempts)
            except BaseException:
                self.budget.settle(reserved, 0, 0.0)
                raise
            tokens = (result.parsed.tokens_in, result.parsed.tokens_out)
            self.budget.settle(reserved, sum(tokens), self.usd(*tokens))
            if result.adapted:
                continue
            total = self._added(total, result)
            if total.outcome is Outcome.TRUNCATED and not more_tokens:
                more_tokens = sampling.max_tokens < self.sampling(more_tokens=True).max_tokens
                if more_tokens:
                    continue
            if total.outcome not in (Outcome.UNAVAILABLE, Outcome.RATE_LIMITED):
                break
            if total.attempts < self.config.max_attempts:
                await asyncio.sleep(self._backoff_s(total.attempts, result.wait_s))
        if total.outcome in DEFINITIVE:
            await asyncio.to_thread(self.cache.put, key, total)
        self.note_answer(total)
        return total

    def _added(self, total: ChatReply, result: "_CallResult") -> ChatReply:
        parsed = result.parsed
        return ChatReply(
            outcome=parsed.outcome,
            reason=self.scrubbed(parsed.reason),
            text=parsed.text,
            **total_cost(total, self.note_cost(parsed, result.latency_s)),
            model=parsed.model or self.config.model,
            request_id=result.request_id or total.request_id,
            attempts=total.attempts + 1,
        )

    def note_cost(self, parsed: ParsedBody, latency_s: float) -> Cost:
        """Add the cost of a call to the total, and return it."""
        usd = self.usd(parsed.tokens_in, parsed.tokens_out)
        self.spend.tokens_in += parsed.tokens_in
        self.spend.tokens_out += parsed.tokens_out
        self.spend.usd += usd
        return Cost(
            tokens_in=parsed.tokens_in,
            tokens_out=parsed.tokens_out,
            cost_usd=usd,
            latency_s=latency_s,
        )

    def note_answer(self, reply: ChatReply) -> None:
        """Record the final reply to a request. Too many consecutive failures stop the service."""
        if reply.outcome in (Outcome.UNAVAILABLE, Outcome.RATE_LIMITED):
            self._failures += 1
            self.spend.unanswered += 1
            self.last_failure = reply.reason
            if self._failures >= self.config.breaker_failures and self._stopped is None:
                self.stop(
                    f"{self.endpoint}: {self._failures} consecutive requests failed after all "
                    f"retries, the last with: {reply.reason} Remedy: check the service, then run "
                    "again; finished work is stored."
                )
        elif reply.outcome is not Outcome.BUDGET:
            self._failures = 0

    async def _try(self, request: ChatRequest, sampling: Sampling, attempt: int) -> "_CallResult":
        """Make one call."""
        import openai  # noqa: PLC0415 - as above

        async with self._gate.slot():
            if self._stopped is not None:
                raise self._stopped
            async with self._limiter():
                self.spend.calls += 1
                self.spend.retries += attempt > 0
                api = self._api
                started_s = time.monotonic()
                try:
                    async with asyncio.timeout(self.config.timeout_s):
                        raw = await self._post(api, make_body(api, request, sampling))
                        parsed = read_body(api, json.loads(raw.content))
                except (openai.APIError, TimeoutError, ValueError, RecursionError) as error:
                    result = self._failed(error, api, sampling)
                else:
                    self._gate.succeeded(raw.headers)
                    result = _CallResult(parsed, request_id=_request_id(raw))
        return replace(result, latency_s=time.monotonic() - started_s)

    async def _post(self, api: Api, body: dict[str, Any]) -> Any:
        # The `create` methods of the client transform every part of the body, which takes longer
        # than the rest of the call.
        return await self.client.post(PATHS[api], body=body, cast_to=httpx2.Response)

    def _failed(self, error: Exception, api: Api, sampling: Sampling) -> "_CallResult":
        """Decide what to do about a failed call: retry, adapt to the endpoint, fail, or stop."""
        import openai  # noqa: PLC0415 - as above

        if isinstance(error, (openai.APITimeoutError, TimeoutError)):
            return _CallResult(_failure(f"no reply within {self.config.timeout_s:g} s"))
        if not isinstance(error, openai.APIStatusError):
            if isinstance(error, ReplyTooLargeError):
                parsed = replace(_failure(str(error)), outcome=Outcome.ERROR)
            else:
                parsed = _failure(f"{type(error).__name__}: {error}")
            return _CallResult(parsed)
        status, code = error.status_code, _code_of(error)
        request_id = _request_id(error.response)
        message = f"HTTP {status}: {error.message}"
        fatal = status in (401, 403) or code == "insufficient_quota"
        if fatal or (status in (404, 405) and not self._other_api(api, code)):
            raise self.stop(
                f"{self.endpoint}: {message} Remedy: check the key "
                f"({self.config.api_key_name}), its quota, base_url and the model "
                f"{self.config.model!r}, then run again; finished work is stored."
            )
        if status in (404, 405) or (status in UNSUPPORTED and self._adapted(message, sampling)):
            return _CallResult(_failure(message), adapted=True)
        if status == 429:
            wait_s = _retry_after_s(error.response.headers)
            self._gate.slow_down(wait_s or self.config.min_backoff_s)
            return _CallResult(
                replace(_failure(message), outcome=Outcome.RATE_LIMITED),
                wait_s=wait_s,
                request_id=request_id,
            )
        if status in (408, 409) or status >= 500:
            wait_s = _retry_after_s(error.response.headers)
            return _CallResult(_failure(message), wait_s=wait_s, request_id=request_id)
        filtered = code in ("content_filter", "content_policy_violation")
        outcome = Outcome.FILTERED if filtered else Outcome.ERROR
        return _CallResult(replace(_failure(message), outcome=outcome), request_id=request_id)

    def _other_api(self, api: Api, code: str) -> bool:
        """Switch to chat completions if the endpoint does not support the newer protocol."""
        if self.config.api != "auto" or api != "responses" or code == "model_not_found":
            return False
        self._api = "chat_completions"
        return True

    def _adapted(self, message: str, sampling: Sampling) -> bool:
        """Stop using a feature that the endpoint reports as unsupported.

        Returns:
            Whether the call should be repeated.
        """
        text = message.lower()
        if sampling.max_tokens_name in text:
            if self._tokens_name == sampling.max_tokens_name and not self._tokens_renamed:
                self._tokens_renamed = True
                completion = sampling.max_tokens_name == "max_completion_tokens"
                self._tokens_name = "max_tokens" if completion else "max_completion_tokens"
                return True
            return self._tokens_name != sampling.max_tokens_name
        about_structure = re.search(
            r"response_format|json_schema|json_object|text\.format|structured|guided|grammar", text
        )
        if about_structure and self.config.structured == "auto":
            if self._structure == sampling.structure:
                level = STRUCTURES.index(sampling.structure)
                if level + 1 == len(STRUCTURES):
                    return False
                self._structure = STRUCTURES[level + 1]
                logger.warning(
                    "%s does not support %s; requesting JSON as %s instead",
                    self.endpoint,
                    sampling.structure,
                    self._structure,
                )
            return True
        return False

    def _backoff_s(self, attempt: int, asked_s: float | None) -> float:
        """Return the wait before the next attempt.

        It is the wait that the server requests, or else an exponential backoff with jitter; see
        "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        if asked_s is not None:
            return min(asked_s, MAX_WAIT_S) * random.uniform(1.0, 1.1)  # noqa: S311
        most_s = min(self.config.max_backoff_s, self.config.min_backoff_s * 2 ** (attempt - 1))
        return random.uniform(0.5, 1.0) * most_s  # noqa: S311


@dataclass(frozen=True, slots=True)
class _CallResult:
    """The result of one call.

    Attributes:
        parsed: parsed response body.
        adapted: whether the next call uses other features; this call then does not count.
        wait_s: wait requested by the server.
        latency_s: duration of the call.
        request_id: id of the call at the service.
    """

    parsed: ParsedBody
    adapted: bool = False
    wait_s: float | None = None
    latency_s: float = 0.0
    request_id: str = ""


@dataclass(slots=True)
class _Gate:
    """Limit on concurrent calls, by additive increase and multiplicative decrease.

    The limit rises by one after a round of successes and is halved after HTTP status 429 (Chiu and
    Jain, 1989). A gate belongs to one event loop.
    """

    most: int
    limit: float = 0.0
    active: int = 0
    opens_at_s: float = 0.0
    halved_at_s: float = 0.0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _open: bool = False

    def __post_init__(self) -> None:
        self.limit = float(self.most)

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        while not self._open:
            now_s = time.monotonic()
            if now_s < self.opens_at_s:
                await asyncio.sleep(min(self.opens_at_s - now_s, 1.0))
            elif self.active < int(self.limit):
                break
            else:
                async with self._changed:
                    # The timeout is needed because open_all does not notify from other threads.
                    try:
                        async with asyncio.timeout(1.0):
                            await self._changed.wait()
                    except TimeoutError:
                        continue
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            async with self._changed:
                self._changed.notify_all()

    def succeeded(self, headers: Any) -> None:
        """Record a successful call, and pause if its headers report an exhausted rate limit."""
        self.limit = min(float(self.most), self.limit + 1.0 / max(self.limit, 1.0))
        for kind in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
                reset_s = _duration_s(headers.get(f"x-ratelimit-reset-{kind}", ""))
                self.opens_at_s = max(self.opens_at_s, time.monotonic() + min(reset_s, MAX_WAIT_S))

    def slow_down(self, wait_s: float) -> None:
        """Record HTTP status 429. Calls that fail within a second of each other count once."""
        now_s = time.monotonic()
        self.opens_at_s = max(self.opens_at_s, now_s + min(wait_s, MAX_WAIT_S))
        if now_s - self.halved_at_s > 1.0:
            self.halved_at_s = now_s
            self.limit = max(1.0, self.limit / 2)

    def open_all(self) -> None:
        """Release all waiting calls, which then find that the service has stopped."""
        self._open = True


class ReplyTooLargeError(ValueError):
    """A reply is larger than ``MAX_REPLY_BYTES``."""


@dataclass(frozen=True, slots=True)
class _LimitedStream(httpx2.AsyncByteStream):
    """A response body that raises an error when it exceeds ``MAX_REPLY_BYTES``."""

    stream: httpx2.AsyncByteStream

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        size = 0
        async for chunk in self.stream:
            size += len(chunk)
            if size > MAX_REPLY_BYTES:
                raise ReplyTooLargeError(
                    f"expected a reply of at most {MAX_REPLY_BYTES} bytes, found more"
                )
            yield chunk

    async def aclose(self) -> None:
        await self.stream.aclose()


async def _limit_reply(response: httpx2.Response) -> None:
    """Limit the size of a response body. Files of batches are exempt: they hold many replies."""
    if "/files/" in response.request.url.path:
        return
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ReplyTooLargeError(f"expected a plain reply, found one packed as {encoding[:20]!r}")
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _LimitedStream(response.stream)


def _request_id(response: Any) -> str:
    return plain_text(response.headers.get("x-request-id", ""), 200)


def _failure(reason: str) -> ParsedBody:
    return ParsedBody(Outcome.UNAVAILABLE, reason, "", 0, 0, "")


def _code_of(error: "openai.APIStatusError") -> str:
    """Return the code of an error in lower case, or its type if there is no code."""
    body = error.body if isinstance(error.body, dict) else {}
    return str(error.code or body.get("code") or error.type or body.get("type") or "").lower()


def _retry_after_s(headers: Any) -> float | None:
    """Return the wait that the server requests, None if it requests none."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after", "")
        if value.replace(".", "", 1).isdigit():
            return float(value)
        if value:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        pass
    for kind in ("requests", "tokens"):
        if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
            return _duration_s(headers.get(f"x-ratelimit-reset-{kind}", "")) or None
    return None


def _duration_s(text: str) -> float:
    """Parse a duration such as ``6m0s``, ``1.5s`` or ``20ms``; other texts are 0 s."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s|)", text)
    return sum(float(number) * units[unit] for number, unit in parts)
