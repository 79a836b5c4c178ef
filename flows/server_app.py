"""The Prefect server that ``avatargpt up`` and single runs start: Prefect's own, and one page.

Prefect's API asks for the token in a header, which no other page can set. Its UI keeps the token in
the browser's storage, and would ask for it; the page :data:`OPEN_PATH` puts it there, from the part
of the printed link that browsers do not send. So no token is in an access log or in a history of
requests.
"""

import argparse
from typing import Final

import uvicorn
from prefect.server.api.server import create_app
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data.parent import end_with_parent
from flows.server import OPEN_PATH

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


def with_open_page(app: ASGIApp) -> ASGIApp:
    """The app with the page that opens its UI; no other page may hold it in a frame."""
    page = HTMLResponse(_OPEN_PAGE, headers={"Cache-Control": "no-store"})

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = "frame-ancestors 'none'"
                headers["X-Frame-Options"] = "DENY"
            await send(message)

        asked = page if scope["type"] == "http" and scope["path"] == OPEN_PATH else app
        await asked(scope, receive, send_unframed)

    return wrapped


def main() -> None:
    """Serve on loopback; the rest of the settings comes in the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--parent", type=int, help="Process to end with.")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        end_with_parent(arguments.parent)
    uvicorn.run(
        with_open_page(create_app(final=True)),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        # Connections of an open UI do not hold up the end.
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
