"""The Prefect server that ``avatargpt up`` and single runs start: Prefect's own, and one page.

Prefect's API asks for the token in a header, which no other page can set. Its UI keeps the token in
the browser's storage, and would ask for it; the page :data:`OPEN_PATH` puts it there, from the part
of the printed link that browsers do not send. So no token is in an access log or in a history of
requests.
"""

import argparse
import fcntl
from collections.abc import Callable
from typing import Final

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data.workers.parent import end_with_parent
from flows.server.process import OPEN_PATH

_OPEN_PAGE: Final = """<!doctype html><meta charset="utf-8"><title>avatargpt</title>
<p id="said">Opening the Prefect UI …</p><script>
const token = btoa(location.hash.slice(1));
history.replaceState(null, "", location.pathname);
fetch("/api/admin/version", {headers: {Authorization: "Basic " + token}}).then(reply => {
  if (!reply.ok) throw new Error("the server refuses the token of this link");
  localStorage.setItem("prefect-password", token);
  location.replace("/");
}).catch(error => {
  document.getElementById("said").textContent =
    error.message + ". Remedy: run `avatargpt up` again, and open the link that it prints.";
});
</script>"""


def with_open_page(app: ASGIApp, started: Callable[[], object]) -> ASGIApp:
    """The app with the page that opens its UI; no other page may hold it in a frame.

    Args:
        app: Prefect's.
        started: called once the database is up to date and the app answers.
    """
    page = HTMLResponse(_OPEN_PAGE, headers={"Cache-Control": "no-store"})

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = "frame-ancestors 'none'"
                headers["X-Frame-Options"] = "DENY"
            if message["type"] == "lifespan.startup.complete":
                started()
            await send(message)

        asked = page if scope["type"] == "http" and scope["path"] == OPEN_PATH else app
        await asked(scope, receive, send_unframed)

    return wrapped


def wait_for_database() -> Callable[[], object]:
    """Wait until no other server of this user is starting.

    Each brings the database up to date at its start: two at once would end each other.

    Returns:
        What lets the next one start; the end of this process does so too.
    """
    home = get_current_settings().home
    home.mkdir(parents=True, exist_ok=True)
    lock = (home / "avatargpt-server-start.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock.close


def main() -> None:
    """Serve on loopback; the rest of the settings comes in the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--parent", type=int, help="Process to end with.")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        end_with_parent(arguments.parent)
    uvicorn.run(
        with_open_page(create_app(final=True), wait_for_database()),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        # Connections of an open UI do not hold up the end.
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
