"""The interface of models that write texts: remote services and models in this process."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from annotators.chat.cache import ChatReply
from annotators.chat.protocol import ChatRequest

if TYPE_CHECKING:
    from annotators.chat.service import ChatService

Tag = TypeVar("Tag")


class ChatModel(Protocol):
    """A model that writes text: a remote service, or one in this process."""

    @property
    def name(self) -> str:
        """Name of the model as configured, which is stored in rows."""
        ...

    def ask_many(
        self, requests: Iterable[tuple[Tag, ChatRequest]]
    ) -> Iterator[tuple[Tag, ChatReply]]:
        """Yield the replies to requests with their tags, in any order.

        Requests are read from the iterable as they are needed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Models:
    """The models that write the texts of a run; None for texts from the measured motion.

    Attributes:
        captioner: model that writes captions.
        annotator: model that writes annotations.
        caption_service: ``captioner`` if it is a remote service.
        annotation_service: ``annotator`` if it is a remote service, possibly the same one.
    """

    captioner: ChatModel | None = None
    annotator: ChatModel | None = None
    caption_service: "ChatService | None" = None
    annotation_service: "ChatService | None" = None

    @property
    def services(self) -> tuple["ChatService", ...]:
        """Return the remote services without duplicates."""
        found = [s for s in (self.caption_service, self.annotation_service) if s is not None]
        return tuple({id(service): service for service in found}.values())

    def abandon(self) -> None:
        """Cancel requests in progress when the run is interrupted. It is thread-safe."""
        for service in self.services:
            service.abandon()


NO_MODELS = Models()
"""No models: all texts come from the measured motion."""
