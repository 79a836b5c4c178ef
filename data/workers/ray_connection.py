"""The connection of this process to a Ray cluster, and a cluster started on this machine."""

import logging
import socket
import threading
from typing import Any, Final

from data.workers.cluster import ClusterConfig

CONNECT_LIMIT_S: Final = 10.0
"""How long to wait for the head of a cluster."""
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")

logger: Final = logging.getLogger(__name__)


def import_ray() -> Any:
    """Import the package ``ray``, which not everybody has.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(
            "workers.executor ray: expected the package ray, found none. Remedy: install the extra "
            "`ray` of this package on every machine (pip install 'avatargpt[ray]'), or choose the "
            "executor local."
        ) from error
    return ray


class _Connection:
    """The connection of this process, of which Ray allows one, and its users."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.is_ours = False


_connection: Final = _Connection()


def connect(ray: Any, cluster: ClusterConfig, num_workers: int) -> None:
    """Connect to the cluster, or start one on this machine; :func:`disconnect` ends it.

    Called in the main thread, Ray would replace the SIGTERM handler of the process.

    Args:
        ray: the package.
        cluster: its address; empty to start one.
        num_workers: CPUs of a cluster that is started; 0 means those of the machine.

    Raises:
        ValueError: the cluster does not answer, this machine has not joined it, or this process is
            connected to another one.
    """
    with _connection.lock:
        if not ray.is_initialized():
            _init(ray, cluster, num_workers)
            _connection.is_ours = True
        elif cluster.address not in {"", "auto", address := _address(ray)}:
            raise ValueError(
                f"cluster: expected no connection of this process, or one to {cluster.address}, "
                f"found one to {address}. Remedy: close the workers that use it first."
            )
        _connection.users += 1


def disconnect(ray: Any) -> None:
    """End the connection, or the cluster that was started, if nobody else uses it."""
    with _connection.lock:
        _connection.users -= 1
        if not _connection.users and _connection.is_ours:
            _connection.is_ours = False
            ray.shutdown()


def _address(ray: Any) -> str:
    return ray.get_runtime_context().gcs_address


def _init(ray: Any, cluster: ClusterConfig, num_workers: int) -> None:
    options: dict[str, Any] = {"address": cluster.address}
    if not cluster.address:
        options = {
            "address": "local",
            "num_cpus": num_workers or None,
            "include_dashboard": cluster.include_dashboard,
            "dashboard_host": "127.0.0.1",
            "object_store_memory": cluster.object_store_mb * 2**20,
            # Its servers then listen on loopback only.
            "_node_ip_address": "127.0.0.1",
        }
    host, _, port = cluster.address.rpartition(":")
    if not cluster.address or host in _LOOPBACK:
        use_loopback()
    # Ray puts the folder of the run and that of its script first on the module path of workers,
    # where a user's `data` would hide ours. It does not if a job says where its modules are.
    job = ray.job_config.JobConfig()
    job._runtime_env_has_working_dir = lambda: True
    # Ray prints messages about its machines to standard output, where a result may go.
    ray._private.worker.print_to_stdstream = _note
    try:
        if host:
            # Ray itself asks a head that does not answer for minutes.
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_LIMIT_S).close()
        ray.init(
            **options,
            logging_level=logging.ERROR,
            log_to_driver=False,
            job_config=job,
        )
    except Exception as error:  # Ray raises errors of all kinds
        raise ValueError(
            f"cluster: expected a Ray cluster at {cluster.address or 'this machine'} that this "
            f"machine has joined, found: {brief(error)} Remedy: start its head (`ray start "
            "--head`) and join it on this machine (`ray start --address=HOST:PORT`); if it has a "
            "token, set RAY_AUTH_MODE=token and the same token here."
        ) from error


def use_loopback() -> None:
    """Let Ray use the loopback addresses that it is given, so that its servers listen only there.

    It replaces them by an address that other machines reach, except where it knows of no clusters.
    """
    import_ray()._private.ray_constants.ENABLE_RAY_CLUSTER = False


def brief(why: object) -> str:
    """Return the first words of an error of Ray, whose messages fill a page."""
    return " ".join(str(why).split())[:300] or type(why).__name__


def _note(message: dict[str, Any], ignore_prefix: bool = False) -> None:
    """Take a message of Ray in the place of its own function, which prints it."""
    del ignore_prefix
    logger.debug("ray: %s", brief("\n".join(message["lines"])))
