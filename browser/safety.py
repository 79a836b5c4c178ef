"""What protects the page: who may ask, from which page, and what a browser may do with answers."""

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
COOKIE: Final = "avatargpt"
WRITE_HEADER: Final = "x-avatargpt"
"""Header of every write. A page of another origin can neither set nor learn its value."""
LOGIN: Final = "/api/login"
_POLICY: Final = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"),
        *("img-src 'self' blob:", "media-src 'self' blob:", "base-uri 'none'"),
        *("form-action 'none'", "frame-ancestors 'none'"),
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_SAFE: Final = frozenset({"GET", "HEAD"})


def is_loopback(host: str) -> bool:
    """Return whether an address to bind to is that of this machine only."""
    return host in {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the server.

    Attributes:
        host, port: address that the server listens at.
        token: what a user must present; empty on loopback, where none is asked for.
        write_token: what every write must carry; made anew by each server.
    """

    host: str
    port: int
    token: str = ""
    write_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.token:
            raise ValueError(
                f"host {self.host}: expected a token, because other machines can reach it, found "
                "none. Remedy: use 127.0.0.1, or give a token."
            )

    def accepts(self, token: str) -> bool:
        """Return whether a token is the one that a user must present."""
        return _same(token, self.token)

    @property
    def link(self) -> str:
        """Link that opens the page; the token is in the fragment, which browsers do not send."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        fragment = f"#token={self.token}" if self.token else ""
        return f"http://{host}:{self.port}/{fragment}"


class Guard:
    """ASGI middleware that refuses requests of other sites and adds the headers of every answer.

    A page of another site could reach a server on loopback through the user's browser: by a name
    that it lets point to 127.0.0.1 (refused by the Host header), or by forms and scripts (refused
    by the Origin header and the write token, and without CORS headers they read nothing).
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
            return
        status, detail = refusal
        await JSONResponse({"detail": detail}, status)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        headers = Headers(scope=scope)
        host, path = headers.get("host", ""), scope["path"]
        # Any port: a tunnel may listen at another one than the server.
        if is_loopback(self._access.host) and host.rpartition(":")[0] not in LOOPBACK:
            return HTTPStatus.MISDIRECTED_REQUEST, (
                f"Host: expected {self._access.link}, found {host[:100]!r}. Remedy: open the link "
                "that avatargpt printed."
            )
        origin = headers.get("origin")
        if origin is not None and origin != f"{scope.get('scheme', 'http')}://{host}":
            return (
                HTTPStatus.FORBIDDEN,
                "A page of another site asked. Remedy: open the page itself.",
            )
        if scope["method"] not in _SAFE:
            if origin is None:
                return HTTPStatus.FORBIDDEN, "A write needs an Origin header."
            sent = headers.get(WRITE_HEADER, "")
            if path != LOGIN and not _same(sent, self._access.write_token):
                return HTTPStatus.FORBIDDEN, (
                    "This page belongs to a server that has ended. Remedy: reload the page."
                )
        if self._access.token and path.startswith("/api/") and path != LOGIN:
            given = _cookie(headers.getlist("cookie"))
            if not _same(given, self._access.token):
                return HTTPStatus.UNAUTHORIZED, (
                    "The token is missing or wrong. Remedy: open the link that avatargpt printed."
                )
        return None


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _cookie(headers: Iterable[str]) -> str:
    for header in headers:
        try:
            cookies = SimpleCookie(header)
        except CookieError:
            continue
        if COOKIE in cookies:
            return cookies[COOKIE].value
    return ""
