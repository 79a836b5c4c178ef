"""Prefect global concurrency limits, which bound the calls to a service across machines."""

from contextlib import AbstractAsyncContextManager

from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import concurrency
from prefect.exceptions import ObjectNotFound

from annotators.chat.service import Limiter


def concurrency_limiter(name: str | None) -> Limiter | None:
    """Return a factory of context managers that hold one slot of a limit during a call.

    Args:
        name: name of the limit; None means no limit.

    Raises:
        ValueError: the server has no limit with that name.
    """
    if name is None:
        return None
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound as error:
            raise ValueError(
                f"concurrency_limit: expected a global concurrency limit {name!r} on the Prefect "
                "server, found none. Remedy: prefect global-concurrency-limit create "
                f"{name} --limit 8, or unset concurrency_limit."
            ) from error

    def slot() -> AbstractAsyncContextManager[None]:
        return concurrency(name, occupy=1, strict=True)

    return slot
