"""Replies kept on disk by the content of their request: none is ever paid for twice."""

import json
import logging
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from data.records import Cost, Outcome

logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChatReply(Cost):
    """The answer to a request, with the cost of all calls it took, also where it is cached.

    Attributes:
        outcome, reason: how it ended, and why if it did not succeed.
        text: what the model wrote; may be there without success (a reply cut off).
        model: as the service names it.
        request_id: the service's id of the last call.
        attempts: calls that it took.
        cached: no call was made for it.
    """

    outcome: Outcome
    reason: str = ""
    text: str = ""
    model: str = ""
    request_id: str = ""
    attempts: int = 0
    cached: bool = False


class ReplyCache:
    """Replies by key, one file each; safe to share between processes.

    Args:
        folder: made when the first reply is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> ChatReply | None:
        """The reply that was kept, marked as cached; None when there is none that can be read."""
        path = self._path(key)
        try:
            data: dict[str, Any] = json.loads(path.read_bytes())
            data["outcome"] = Outcome(data["outcome"])
            reply = ChatReply(**data)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            logger.warning(
                "%s: a kept reply cannot be read (%s); it is asked for again", path, error
            )
            return None
        return replace(reply, cached=True)

    def put(self, key: str, reply: ChatReply) -> None:
        """Keep a reply; it is on the disk when this returns."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{uuid4().hex}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(reply), file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
