"""The Prefect server that ``avatargpt up`` and single runs start: Prefect's app and a login page.

Prefect's API expects the token in a header, which pages of other origins cannot set. Its UI reads
the token from the browser's storage and would prompt for it; the page at :data:`OPEN_PATH` stores
it there, from the fragment of the printed link. Browsers do not send fragments, so the token
appears in no access log.
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
  if (!reply.ok) throw new Error("the server rejected the token of this link");
  localStorage.setItem("prefect-password", token);
  location.replace("/");
}).catch(error => {
  document.getElementById("said").textContent =
    error.message + ". Remedy: run `avatargpt up` again and open the link that it prints.";
});
</script>"""


def with_open_page(app: ASGIApp, started: Callable[[], object]) -> ASGIApp:
    """Add the login page to the app and forbid other pages to embed it in a frame.

    Args:
        app: the app of Prefect.
        started: called when the database is migrated and the app is ready.
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

    Servers migrate the database when they start, and two concurrent migrations fail.

    Returns:
        A callable that lets the next server start. The end of this process has the same effect.
    """
    home = get_current_settings().home
    home.mkdir(parents=True, exist_ok=True)
    lock = (home / "avatargpt-server-start.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock.close


def main() -> None:
    """Serve on loopback. Other settings are read from the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--parent", type=int, help="ID of the process with which the server ends.")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        end_with_parent(arguments.parent)
    uvicorn.run(
        with_open_page(create_app(final=True), wait_for_database()),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        # Open connections of the UI must not delay the shutdown.
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
