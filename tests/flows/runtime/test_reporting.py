"""What runs tell Prefect: artifacts with keys of their own, none where nobody answers."""

import re

from prefect import flow, task
from prefect.client.orchestration import get_client

from flows.runtime.reporting import ProgressBar, artifact_key, outlives_server, run_flow, show_table


@task
def _work() -> None:
    bar = ProgressBar()
    bar.show(50.0, "reporting-work", "half")
    bar.show(100.0, "reporting-work", "all")


@flow(name="reporting")
@outlives_server
def _reports(rows: int = 2) -> str:
    _work()
    show_table([{"row": row} for row in range(rows)], "reporting-rows", "Rows")
    return artifact_key("reporting-rows")


def test_artifact_keys_belong_to_a_run() -> None:
    keys = [run_flow(_reports), run_flow(_reports, rows=3)]
    assert len(set(keys)) == 2
    assert all(re.fullmatch("reporting-rows-[0-9a-f]{12}", key) for key in keys)
    with get_client(sync_client=True) as client:
        artifacts = [a for a in client.read_artifacts() if str(a.key).startswith("reporting-")]
    tables = {a.key: a.flow_run_id for a in artifacts if a.type == "table"}
    assert set(tables) == set(keys)
    assert len(set(tables.values())) == 2
    # A task's bar belongs to its run too, and moves.
    bars = [(str(a.key)[-12:], a.data) for a in artifacts if a.type == "progress"]
    assert sorted(bars) == sorted((key[-12:], 100.0) for key in keys)
