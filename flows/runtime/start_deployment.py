"""Deployments that flows start, such as ``train-all`` on a dataset that was just published."""

from pathlib import Path

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound


def find_deployment(flow_name: str, deployment: str, field: str) -> DeploymentResponse:
    """A deployment on the Prefect server of this run.

    Args:
        flow_name: name of the flow.
        deployment: name of the deployment, such as ``small``.
        field: that names it, for the message.

    Raises:
        ValueError: the server has no such deployment.
    """
    name = f"{flow_name}/{deployment}"
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(name)
        except ObjectNotFound as error:
            raise ValueError(
                f"{field}: expected a deployment {name}, found none. "
                f"Remedy: register it with prefect deploy, or leave {field} empty."
            ) from error


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
    found = find_deployment("train-all", deployment, "train_with")
    # Given parameters replace whole ones: the rest of the deployment's own stays.
    own = dict(found.parameters.get("config", {}))
    parameters = {"config": own | {"sources": [str(dataset)]}}
    name = f"train-all/{deployment}"
    run = run_deployment(name, parameters=parameters, timeout=0, as_subflow=False)
    get_run_logger().info("%s started as %s", name, run.name)  # pyright: ignore[reportAttributeAccessIssue]
    return str(run.name)  # pyright: ignore[reportAttributeAccessIssue]
