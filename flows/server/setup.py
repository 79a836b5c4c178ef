"""Set-up of a local Prefect server: work pools and the automation that detects dead runs."""

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
"""Three heartbeat intervals of 30 s, the shortest interval that Prefect allows."""
_SIGNS_OF_LIFE: Final = frozenset(
    f"prefect.flow-run.{event}"
    for event in ("heartbeat", "Completed", "Failed", "Cancelled", "Crashed")
)


def make_pools(names: tuple[str, ...]) -> None:
    """Create the process work pools that do not exist."""
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        for name in names:
            pool = WorkPoolCreate(name=name, type="process", base_job_template=template)
            with suppress(ObjectAlreadyExists):
                client.create_work_pool(pool)


def silent_runs(silence_s: float = SILENCE_S) -> AutomationCore:
    """Return an automation that marks a run as crashed when its heartbeats stop.

    If both worker and engine are killed, no process is left that could report the crash.

    Args:
        silence_s: seconds without a heartbeat; at least 10.
    """
    return AutomationCore(
        name=SILENT_RUNS,
        description="A run whose heartbeats stop was killed together with its worker.",
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
                "Finished work is kept; start the run again to resume it.",
            )
        ],
    )


def add_automation(automation: AutomationCore) -> None:
    """Create an automation unless one with its name exists, which a user may have changed."""
    with get_client(sync_client=True) as client:
        if not client.read_automations_by_name(automation.name):
            client.create_automation(automation)
