"""Pages on this machine: where they listen, and how they are opened."""

import secrets
import webbrowser
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flows.commands.options import show

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from browser.safety import Access

LOOPBACK: Final = "127.0.0.1"

Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Port to listen at; 0 chooses a free one.")
]
Host = Annotated[
    str,
    typer.Option(
        help="Address to listen at. Other addresses than loopback ask for the token in the "
        "printed link."
    ),
]
Body = Annotated[
    bool,
    typer.Option("--body", help="Show people as bodies; the first time, 48 MB are fetched for it."),
]
OpenPage = Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")]


def serve_page(
    make: "Callable[[Access], ASGIApp]", host: str, port: int, name: str, *, open_page: bool
) -> None:
    """Serve a page until Ctrl-C, and print its link.

    Args:
        make: creates the application.
        host: address to listen at; other machines must present the token of the printed link.
        port: port to listen at; 0 chooses a free one.
        name: what the page shows.
        open_page: whether to open the page in a browser.

    Raises:
        ValueError: the address is not one of this machine, or is in use.
    """
    from browser.safety import Access, is_loopback  # noqa: PLC0415 - slow, rarely needed
    from browser.server import listen, serve  # noqa: PLC0415

    with listen(host, port) as opened:
        token = "" if is_loopback(host) else secrets.token_urlsafe(24)
        access = Access(host, opened.getsockname()[1], token)

        def started() -> None:
            show(f"{name}: open {access.link}")
            show("Ctrl-C ends the page.")
            if open_page:
                webbrowser.open(access.link)

        serve(make(access), opened, started)
