"""Open the models that write the texts of a run: remote services, or a model in this process."""

import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

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

Tag = TypeVar("Tag")


@contextmanager
def open_models(
    config: AnnotateConfig,
    api_key: Callable[[str], SecretStr | None],
    cache_dir: Path,
    limiter: Limiter | None = None,
) -> Generator[Models]:
    """Open the models of a run. Services are closed when the context exits.

    Stages with the same service configuration share one service and its limit on concurrent calls.
    All services share the budget of the run.

    Args:
        config: configuration of the run.
        api_key: function that returns the key of a name (``ChatConfig.api_key_name``), or None.
        cache_dir: folder of the cache of replies, which are stored permanently.
        limiter: context manager held during every call, e.g. a Prefect concurrency limit.

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
        folder = Path(self._model.config.model).expanduser()
        return folder.name if folder.is_dir() else self._model.config.model

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


def _decoded(part: str | Jpeg) -> str | np.ndarray:
    if isinstance(part, str):
        return part
    image_HW3 = cv2.imdecode(np.frombuffer(part.data, np.uint8), cv2.IMREAD_COLOR)
    if image_HW3 is None:
        raise AssertionError("an image that this program encoded cannot be decoded")
    return cv2.cvtColor(image_HW3, cv2.COLOR_BGR2RGB)
