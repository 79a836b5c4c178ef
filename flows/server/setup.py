"""What a local Prefect server needs before it is of use: work pools, and an eye on dead runs."""

from contextlib import suppress
from datetime import timedelta
from typing import Final

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

SILENT_RUNS: Final = "Crash runs that fell silent"
SILENCE_S: Final = 90.0
"""Three heartbeats: a run sends one every 30 s, which is Prefect's least."""
_SIGNS_OF_LIFE: Final = frozenset(
    f"prefect.flow-run.{event}"
    for event in ("heartbeat", "Completed", "Failed", "Cancelled", "Crashed")
)


def make_pools(names: tuple[str, ...]) -> None:
    """Make the work pools that are not there; each runs processes."""
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        for name in names:
            pool = WorkPoolCreate(name=name, type="process", base_job_template=template)
            with suppress(ObjectAlreadyExists):
                client.create_work_pool(pool)


def silent_runs(silence_s: float = SILENCE_S) -> AutomationCore:
    """What lets the server call a run crashed whose heartbeats end before it does.

    A run whose worker and engine were killed has nobody left to report it.

    Args:
        silence_s: for how long no sign of life may come; at least 10.
    """
    return AutomationCore(
        name=SILENT_RUNS,
        description="A run that sent heartbeats and sends none any more died with its worker.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect=set(_SIGNS_OF_LIFE),
            match={"prefect.resource.id": "prefect.flow-run.*"},  # pyright: ignore[reportArgumentType]
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silence_s),
        ),
        actions=[  # pyright: ignore[reportArgumentType]
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                force=False,
                message=f"No heartbeat for {silence_s:.0f} s: its process died or was killed. "
                "Finished work is kept; start the run again to go on.",
            )
        ],
    )


def add_automation(automation: AutomationCore) -> None:
    """Make an automation, unless there is one of its name, which a user may have changed."""
    with get_client(sync_client=True) as client:
        if not client.read_automations_by_name(automation.name):
            client.create_automation(automation)
