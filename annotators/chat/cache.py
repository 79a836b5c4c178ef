"""A cache of replies on disk, keyed by the content of the request; no reply is paid for twice."""

import json
import logging
import math
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final
from uuid import uuid4

from pydantic import TypeAdapter

from data.records import Cost, Outcome

logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChatReply(Cost):
    """The reply to a request, with the total cost of its calls. A cached reply keeps its cost.

    Attributes:
        outcome, reason: how the request ended, and why if it did not succeed.
        text: text of the model, which may be present without success (a truncated reply).
        model: name of the model, as reported by the service.
        request_id: id of the last call at the service.
        attempts: number of calls.
        cached: whether the reply came from the cache, without a call.
    """

    outcome: Outcome
    reason: str = ""
    text: str = ""
    model: str = ""
    request_id: str = ""
    attempts: int = 0
    cached: bool = False


_STORED: Final = TypeAdapter(ChatReply)
_MAX_COUNT: Final = 2**31
"""More tokens or calls than any reply has had; a damaged file may hold numbers of any size."""


class ReplyCache:
    """Stores replies by key, in one file each. Several processes may share it.

    Args:
        folder: folder of the files, created with the first reply.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> ChatReply | None:
        """Return the stored reply, marked as cached, or None if there is no readable one."""
        path = self._path(key)
        try:
            reply = _STORED.validate_json(path.read_bytes())
            if not (math.isfinite(reply.cost_usd) and math.isfinite(reply.latency_s)):
                raise ValueError("expected a finite cost and time")
            counts = (reply.tokens_in, reply.tokens_out, reply.attempts)
            if not all(0 <= count <= _MAX_COUNT for count in counts):
                raise ValueError(f"expected counts of 0 to {_MAX_COUNT}")
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            logger.warning(
                "%s: a cached reply cannot be read (%s); the request is sent again", path, error
            )
            return None
        return replace(reply, cached=True)

    def put(self, key: str, reply: ChatReply) -> None:
        """Store a reply. It is on disk when this method returns."""
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
