"""Open the models that write the texts of a run: remote services, or a model in this process."""

import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import cv2
import numpy as np
from pydantic import SecretStr

from annotators.chat.batch import BatchChatService
from annotators.chat.budget import Budget
from annotators.chat.cache import ChatReply
from annotators.chat.config import ChatConfig, LocalVlmConfig
from annotators.chat.model import ChatModel, Models
from annotators.chat.protocol import ChatRequest, Jpeg
from annotators.chat.service import ChatService, Limiter
from annotators.config import AnnotateConfig
from data.errors import ItemError, Stage
from data.records import Outcome
from data.video.files import size_of
from data.workers.workers import Workers

Tag = TypeVar("Tag")

LIKE_VIDEO_S: Final = 10.0
"""The time limit of a request to a model on a cluster is that of so many seconds of video."""


@contextmanager
def open_models(
    config: AnnotateConfig,
    api_key: Callable[[str], SecretStr | None],
    cache_dir: Path,
    limiter: Limiter | None = None,
    workers: Workers | None = None,
) -> Generator[Models]:
    """Open the models of a run. Services are closed when the context exits.

    Stages with the same service configuration share one service and its limit on concurrent calls.
    All services share the budget of the run.

    Args:
        config: configuration of the run.
        api_key: function that returns the key of a name (``ChatConfig.api_key_name``), or None.
        cache_dir: folder of the cache of replies, which are stored permanently.
        limiter: context manager held during every call, e.g. a Prefect concurrency limit.
        workers: workers of the run; a local model is loaded by those of a cluster.

    Yields:
        The models.

    Raises:
        ValueError: a service or a local model cannot be used as configured.
    """
    budget = Budget(config.budget_usd, config.budget_tokens)
    captions, annotations = config.captions, config.annotations
    with ExitStack() as stack:
        opened: dict[str, ChatService] = {}

        def service(chat: ChatConfig) -> ChatService:
            known = chat.model_dump_json()
            if known not in opened:
                kind = BatchChatService if chat.batch else ChatService
                opened[known] = stack.enter_context(
                    kind(
                        chat,
                        api_key(chat.api_key_name),
                        cache_dir,
                        budget=budget,
                        prices=config.prices,
                        limiter=limiter,
                    )
                )
            return opened[known]

        captioner: ChatModel | None = None
        caption_service = annotation_service = None
        if captions.captioner == "openai" and captions.service is not None:
            captioner = caption_service = service(captions.service)
        elif captions.captioner == "transformers" and captions.local_model is not None:
            if workers is not None and workers.config.executor == "ray":
                captioner = ClusterChat(captions.local_model, workers)
            else:
                captioner = LocalChat(captions.local_model)
        if annotations.annotator == "openai" and annotations.service is not None:
            annotation_service = service(annotations.service)
        yield Models(captioner, annotation_service, caption_service, annotation_service)


class LocalChat:
    """A model in this process with the interface of a remote service. It is thread-safe.

    Args:
        config: configuration of the model, which is loaded by the constructor.

    Raises:
        ValueError: the model cannot be loaded.
    """

    def __init__(self, config: LocalVlmConfig) -> None:
        # torch takes seconds to import, and most runs use no local model.
        from annotators.chat.local import LocalVlm  # noqa: PLC0415

        self._model = LocalVlm(config)
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the model's folder, or the name of the model on the Hugging Face Hub."""
        return _name_of(self._model.config)

    def ask_many(
        self, requests: Iterable[tuple[Tag, ChatRequest]]
    ) -> Iterator[tuple[Tag, ChatReply]]:
        """Yield the replies to requests with their tags, in order, one batch at a time."""
        from annotators.chat.local import VlmRequest  # noqa: PLC0415

        source = iter(requests)
        while batch := list(itertools.islice(source, self._model.config.batch_size)):
            asked = [
                VlmRequest(request.system, tuple(map(_decoded, request.parts)), request.sample)
                for _, request in batch
            ]
            with self._lock:
                replies = self._model.ask_many(asked)
            for (tag, _), reply in zip(batch, replies, strict=True):
                yield tag, replace(reply, model=self.name)


def _name_of(config: LocalVlmConfig) -> str:
    folder = Path(config.model).expanduser()
    return folder.name if folder.is_dir() else config.model


# ------------------------------------------------------------------------------ on a cluster


@dataclass(frozen=True, slots=True)
class _Asked:
    """Requests that a worker answers together."""

    number: int
    config: LocalVlmConfig
    requests: tuple[ChatRequest, ...]


class ClusterChat:
    """A local model on the machines of a cluster, loaded once by each worker of ``captions``.

    Args:
        config: configuration of the model.
        workers: workers of the run, of which those of the stage ``captions`` load the model.

    Raises:
        ValueError: a worker cannot load the model.
    """

    def __init__(self, config: LocalVlmConfig, workers: Workers) -> None:
        self.name = _name_of(config)
        self._config = config
        self._workers = workers
        ((_, problem),) = workers.run(
            _problem_of, [config], video_s=_load_s, size_bytes=_size_of, stage=Stage.CAPTIONS
        )
        if isinstance(problem, ItemError):
            raise ValueError(
                f"local_model: expected a worker of the cluster to load {config.model}, found: "
                f"{problem} A worker needs workers.cluster.stages.captions.memory_gb for it."
            )
        if problem:
            raise ValueError(problem)

    def ask_many(
        self, requests: Iterable[tuple[Tag, ChatRequest]]
    ) -> Iterator[tuple[Tag, ChatReply]]:
        """Yield the replies to requests with their tags, one batch per worker at a time."""
        source = iter(requests)
        tags: dict[int, list[Tag]] = {}

        def batches() -> Iterator[_Asked]:
            for number in itertools.count():
                batch = list(itertools.islice(source, self._config.batch_size))
                if not batch:
                    return
                tags[number] = [tag for tag, _ in batch]
                yield _Asked(number, self._config, tuple(request for _, request in batch))

        answered = self._workers.run(
            _answers, batches(), video_s=_answer_s, name=_batch_name, stage=Stage.CAPTIONS
        )
        for asked, result in answered:
            replies = (
                [ChatReply(Outcome.ERROR, str(result))] * len(asked.requests)
                if isinstance(result, ItemError)
                else result
            )
            for tag, reply in zip(tags.pop(asked.number), replies, strict=True):
                yield tag, replace(reply, model=self.name)


@cache
def _loaded(config_json: str) -> LocalChat:
    return LocalChat(LocalVlmConfig.model_validate_json(config_json))


def _problem_of(config: LocalVlmConfig) -> str:
    """Load a model in this process, and return why it cannot be used; empty if it can."""
    try:
        _loaded(config.model_dump_json())
    except ValueError as error:
        return str(error)
    return ""


def _answers(asked: _Asked) -> list[ChatReply]:
    model = _loaded(asked.config.model_dump_json())
    return [reply for _, reply in model.ask_many((None, request) for request in asked.requests)]


def _size_of(config: LocalVlmConfig) -> int:
    folder = Path(config.model).expanduser()
    return sum(size_of(file) for file in folder.iterdir()) if folder.is_dir() else 0


def _load_s(_: LocalVlmConfig) -> float:
    return LIKE_VIDEO_S


def _answer_s(asked: _Asked) -> float:
    return LIKE_VIDEO_S * len(asked.requests)


def _batch_name(asked: _Asked) -> str:
    return f"captions, batch {asked.number + 1}"


def _decoded(part: str | Jpeg) -> str | np.ndarray:
    if isinstance(part, str):
        return part
    image_HW3 = cv2.imdecode(np.frombuffer(part.data, np.uint8), cv2.IMREAD_COLOR)
    if image_HW3 is None:
        raise AssertionError("an image that this program encoded cannot be decoded")
    return cv2.cvtColor(image_HW3, cv2.COLOR_BGR2RGB)
