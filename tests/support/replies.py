"""What clients of the chat server have written down."""

import json
from pathlib import Path


def kept_ids(cache: Path) -> set[str]:
    """Ids of the calls whose replies are kept (``Asked.request_id``)."""
    return {json.loads(file.read_bytes())["request_id"] for file in cache.rglob("*.json")}
