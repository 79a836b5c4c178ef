"""What answers requests, whether it is a remote service or a model in this process."""

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
        """The name that rows give it, as the user configured it."""
        ...

    def ask_many(
        self, requests: Iterable[tuple[Tag, ChatRequest]]
    ) -> Iterator[tuple[Tag, ChatReply]]:
        """Answer requests, in any order, taking them as it needs them."""
        ...


@dataclass(frozen=True, slots=True)
class Models:
    """Who writes the texts of a run; None where they come from the measured motion.

    Attributes:
        captioner: writes captions.
        annotator: writes annotations.
        caption_service: ``captioner``, where it is a remote service.
        annotation_service: ``annotator``, where it is one; may be the same.
    """

    captioner: ChatModel | None = None
    annotator: ChatModel | None = None
    caption_service: "ChatService | None" = None
    annotation_service: "ChatService | None" = None

    @property
    def services(self) -> tuple["ChatService", ...]:
        """The remote services, each once."""
        found = [s for s in (self.caption_service, self.annotation_service) if s is not None]
        return tuple({id(service): service for service in found}.values())

    def abandon(self) -> None:
        """Give up what is asked, as the run is interrupted; from any thread."""
        for service in self.services:
            service.abandon()


NO_MODELS = Models()
"""Texts from the measured motion alone."""
