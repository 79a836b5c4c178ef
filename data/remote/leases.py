"""Leases on S3, which keep two runs from doing the same work.

A lease saves work, it does not protect data: a run that was stopped for longer than its lease may
wake up beside its successor, and commits are still safe (``data/store/pushing.py``). Times are
compared on the clock of the server.
"""

import json
import secrets
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from data.remote.addresses import S3Address
from data.remote.errors import ChangedError, RemoteError
from data.remote.objects import ABSENT, delete_object, read_object, write_object

LASTS_S: Final = 300.0
"""Seconds after which a lease that is not renewed can be taken over."""
_ATTEMPTS: Final = 5


class LeasedError(RemoteError):
    """Another run has the lease; the message names it."""


@contextmanager
def hold_lease(
    address: S3Address, holder: str, work: str, lasts_s: float = LASTS_S
) -> Generator[None]:
    """Hold a lease, and renew it in a thread.

    Args:
        address: object that represents the lease.
        holder: name of the machine and folder. A killed run of the same holder is no obstacle.
        work: what the lease is for, for the message.
        lasts_s: seconds after which it ends, unless it is renewed.

    Raises:
        LeasedError: another holder has it.
        RemoteError: it cannot be read or written.
    """
    content = {"holder": holder, "token": secrets.token_hex(8), "lasts_s": lasts_s}
    data = json.dumps(content).encode()
    _take(address, data, holder, work)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(lasts_s / 3):
            # Without an answer now, it is renewed the next time. One that was lost stays lost.
            with suppress(RemoteError):
                found = read_object(address)
                if found is not None and found.data == data:
                    write_object(address, data, expected=found.etag)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(RemoteError):
            found = read_object(address)
            if found is not None and found.data == data:
                delete_object(address)


def _take(address: S3Address, data: bytes, holder: str, work: str) -> None:
    for _ in range(_ATTEMPTS):
        found = read_object(address)
        if found is not None and found.data == data:
            return  # taken before, but the answer was lost
        if found is not None:
            other = _parsed(found.data)
            age = found.now - found.modified
            left = timedelta(seconds=float(other.get("lasts_s", LASTS_S))) - age
            if other.get("holder") != holder and left > timedelta(0):
                raise LeasedError(
                    f"{work}: expected no other run with the same work, found one of "
                    f"{other.get('holder')}. Remedy: wait for it, or give each run a share of its "
                    f"own with --shard N/COUNT; if it was killed, try again in "
                    f"{left.total_seconds():.0f} s."
                )
        try:
            write_object(address, data, expected=ABSENT if found is None else found.etag)
        except ChangedError:
            continue
        return
    raise LeasedError(
        f"{work}: expected to get the lease {address}, found that other runs write it all the "
        "time. Remedy: run the same command again."
    )


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
