"""Start ``train-all`` on a dataset that another flow has just published."""

from pathlib import Path

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound


def start_training(dataset: Path, deployment: str) -> str:
    """Start a deployment of ``train-all`` with a dataset as its source; does not wait for it.

    Args:
        dataset: its folder.
        deployment: name of the deployment, such as ``small``.

    Returns:
        Name of the flow run.

    Raises:
        ValueError: there is no such deployment.
    """
    name = f"train-all/{deployment}"
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(name)
        except ObjectNotFound as error:
            raise ValueError(
                f"train_with: expected a deployment {name}, found none. "
                "Remedy: register it with prefect deploy, or leave train_with empty."
            ) from error
    # Given parameters replace whole ones: the rest of the deployment's own stays.
    own = dict(found.parameters.get("config", {}))
    parameters = {"config": own | {"sources": [str(dataset)]}}
    run = run_deployment(name, parameters=parameters, timeout=0, as_subflow=False)
    get_run_logger().info("%s started as %s", name, run.name)  # pyright: ignore[reportAttributeAccessIssue]
    return str(run.name)  # pyright: ignore[reportAttributeAccessIssue]
