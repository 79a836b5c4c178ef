"""Lets users type `prefect deployment run annotate-videos`, with neither a slash nor a token.

Prefect calls :func:`setup_environment` whenever it is imported (the ``prefect.plugins`` entry
point, switched on in pyproject.toml). Every flow here has a deployment of its own name, so a name
without a slash stands for ``name/name``. The server that ``avatargpt up`` started asks for a token,
which is in its file, and may be on another port than the project's settings say.
"""

import os
import sys

from prefect.plugins import HookContext, SetupResult, register_hook

from flows.server.process import answers, recorded_server
from flows.settings import LOOPBACK_API_URL

PREFECT_PLUGIN_API_REQUIRES = ">=0.1,<1"


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Find the local server and its token, and complete `prefect deployment run NAME`."""
    env = local_environment(ctx.api_url)
    if sys.argv[1:3] == ["deployment", "run"]:
        sys.argv[3:4] = [complete_name(name) for name in sys.argv[3:4]]
        api_url = env.get("PREFECT_API_URL", ctx.api_url)
        if api_url and not answers(api_url):
            sys.stderr.write(
                f"No Prefect server answers at {api_url}. Start one, with a worker and the "
                "deployments: make up\n"
            )
            raise SystemExit(1)
    return SetupResult(env=env) if env else None


def local_environment(api_url: str | None) -> dict[str, str]:
    """What Prefect must know of the server that `up` started, where it is the one to use.

    Args:
        api_url: that Prefect is configured for. The token is for no other server.
    """
    server = recorded_server()
    if server is None:
        return {}
    default = api_url in {None, LOOPBACK_API_URL} and "PREFECT_API_URL" not in os.environ
    if api_url != server.api_url and not default:
        return {}
    # What the user set goes first.
    return {k: v for k, v in server.client_environment.items() if k not in os.environ}


def complete_name(name: str) -> str:
    """``flow`` becomes ``flow/flow``; options and complete names stay as they are."""
    return name if "/" in name or name.startswith("-") else f"{name}/{name}"
