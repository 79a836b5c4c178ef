"""Starting deployments from flows, such as ``train-all`` on a dataset that was just published."""

from pathlib import Path

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound


def find_deployment(flow_name: str, deployment: str, field: str) -> DeploymentResponse:
    """Look up a deployment on the Prefect server of this run.

    Args:
        flow_name: name of the flow.
        deployment: name of the deployment, such as ``small``.
        field: configuration field that names it, for the error message.

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
    """Start a deployment of ``train-all`` on a dataset without waiting for it.

    Args:
        dataset: folder of the dataset.
        deployment: name of the deployment, such as ``small``.

    Returns:
        Name of the flow run.

    Raises:
        ValueError: the deployment does not exist.
    """
    found = find_deployment("train-all", deployment, "train_with")
    # Parameters are replaced as a whole, so the other values of `config` are copied.
    own = dict(found.parameters.get("config", {}))
    parameters = {"config": own | {"sources": [str(dataset)]}}
    name = f"train-all/{deployment}"
    run = run_deployment(name, parameters=parameters, timeout=0, as_subflow=False)
    get_run_logger().info("%s started as %s", name, run.name)  # pyright: ignore[reportAttributeAccessIssue]
    return str(run.name)  # pyright: ignore[reportAttributeAccessIssue]
