"""Prefect plugin: short deployment names, and the address and token of the local server.

Prefect calls :func:`setup_environment` when it is imported (entry point ``prefect.plugins``,
enabled in pyproject.toml). Every flow has a deployment with the name of the flow, so a name without
a slash is completed to ``name/name``. The server of ``avatargpt up`` requires a token, which is
read from its file, and may listen on another port than that in the project's settings.
"""

import os
import sys

from prefect.plugins import HookContext, SetupResult, register_hook

from flows.server.process import answers, recorded_server
from flows.settings import LOOPBACK_API_URL

PREFECT_PLUGIN_API_REQUIRES = ">=0.1,<1"


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Set the address and token of the local server; complete `prefect deployment run NAME`."""
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
    """Return the environment variables for the server of `up`, if Prefect should use it.

    Args:
        api_url: API URL that Prefect is configured with. The token is sent to no other server.
    """
    server = recorded_server()
    if server is None:
        return {}
    default = api_url in {None, LOOPBACK_API_URL} and "PREFECT_API_URL" not in os.environ
    if api_url != server.api_url and not default:
        return {}
    # Variables that the user has set take precedence.
    return {k: v for k, v in server.client_environment.items() if k not in os.environ}


def complete_name(name: str) -> str:
    """Complete ``flow`` to ``flow/flow``; options and complete names are returned unchanged."""
    return name if "/" in name or name.startswith("-") else f"{name}/{name}"
