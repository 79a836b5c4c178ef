"""Lets users type `prefect deployment run annotate-videos`, without Prefect's `flow/deployment`.

Prefect calls :func:`setup_environment` whenever it is imported (the ``prefect.plugins`` entry
point, switched on in pyproject.toml). Every flow here has a deployment of its own name, so a name
without a slash stands for ``name/name``.
"""

import sys

from prefect.plugins import HookContext, register_hook

from flows.server import answers

PREFECT_PLUGIN_API_REQUIRES = ">=0.1,<1"


@register_hook
def setup_environment(*, ctx: HookContext) -> None:
    """Complete the name in `prefect deployment run NAME`, and say so when no server answers."""
    if sys.argv[1:3] != ["deployment", "run"]:
        return
    sys.argv[3:4] = [complete_name(name) for name in sys.argv[3:4]]
    if ctx.api_url and not answers(ctx.api_url):
        sys.stderr.write(
            f"No Prefect server answers at {ctx.api_url}. Start one, with a worker and the "
            "deployments: make up\n"
        )
        raise SystemExit(1)


def complete_name(name: str) -> str:
    """``flow`` becomes ``flow/flow``; options and complete names stay as they are."""
    return name if "/" in name or name.startswith("-") else f"{name}/{name}"
