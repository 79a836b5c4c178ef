"""The server of the page: an address of this machine that the application listens at."""

import errno
import socket
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import ASGIApp

SHUTDOWN_S: Final = 2
"""Open connections of a page must not delay the end."""


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; port 0 is replaced by a free one.

    Raises:
        ValueError: the address is not one of this machine, or is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise ValueError(
                f"port {port}: expected a free one, found that something listens at {host}:{port}. "
                "Remedy: choose another with --port, or 0 for any free one."
            ) from error
        raise ValueError(
            f"host {host}: expected an address of this machine, found: {error.strerror or error}. "
            "Remedy: use 127.0.0.1, or an address that `ip addr` shows."
        ) from error
    return opened


def serve(app: ASGIApp, opened: socket.socket, started: Callable[[], object]) -> None:
    """Serve until the process is interrupted.

    Args:
        app: the application.
        opened: a socket of :func:`listen`.
        started: called once the page can be opened.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
        server_header=False,
    )
    server = _Server(config, started)
    server.run(sockets=[opened])


class _Server(uvicorn.Server):
    """A server that tells when it answers."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell()
