"""Settings of this machine. Only this module and its callers in ``flows`` read the environment."""

import os
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from flows.assets import fetch_assets

LOOPBACK_PORT: Final = 4200
LOOPBACK_API_URL: Final = f"http://127.0.0.1:{LOOPBACK_PORT}/api"
"""Default API URL of `avatargpt up`. pyproject.toml sets the same URL for `prefect` itself."""
HEARTBEAT_S: Final = 30
"""Seconds between the heartbeats of a run; the minimum that Prefect allows."""
MAX_PARAMETER_BYTES: Final = 64_000_000
"""Maximum size of the parameters of a flow run, which may list thousands of videos."""


class Settings(BaseSettings):
    """Settings of this machine, read from environment variables ``AVATARGPT_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="AVATARGPT_", extra="ignore")

    home: Path = Field(
        default=Path("~/avatargpt"), description="Root folder of datasets, checkpoints and logs."
    )
    cache_dir: Path = Field(
        default=Path("~/.cache/avatargpt"),
        description="Folder of fetched assets and replies of models.",
    )
    s3_cache_gb: float = Field(
        default=100.0,
        gt=0,
        description="Bound of the parts of datasets on S3 that this machine keeps, GB.",
    )
    pose_model: Path | None = Field(
        default=None, description="Pose landmarker .task file to use instead of the fetched one."
    )

    @property
    def home_folder(self) -> Path:
        """Return ``home`` as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def run_dir(self) -> Path:
        """Folder of logs and process IDs of the local server and workers."""
        return self.home_folder / "run"


def folder_of(place: str | Path) -> Path:
    """Return the folder that a user names: a path, or ``s3://bucket/prefix``.

    For an address it is the folder of this machine that stands for it, with what a reader needs
    first: the manifest of a dataset, or the files of a training run or a model.

    Raises:
        ValueError: the address is not valid.
        data.remote.errors.RemoteError: it cannot be read.
    """
    from data.remote.addresses import is_s3  # noqa: PLC0415 - not needed for the server
    from data.remote.folders import receive  # noqa: PLC0415
    from data.remote.links import link_folder  # noqa: PLC0415

    if not is_s3(str(place)):
        return Path(place).expanduser().absolute()
    from data.store.manifest import MANIFEST  # noqa: PLC0415
    from data.store.mirrors import refresh  # noqa: PLC0415

    settings = Settings()
    folder = link_folder(str(place), settings.home_folder, settings.s3_cache_gb)
    refresh(folder, MANIFEST)
    if not (folder / MANIFEST).exists():
        receive(folder)
    return folder


def pose_model_path(configured: Path | None) -> Path:
    """Return the pose model: the configured one, that of the environment, or the fetched one.

    Raises:
        ValueError: the configured file does not exist.
        flows.assets.AssetError: the model cannot be fetched.
    """
    settings = Settings()
    explicit = configured or settings.pose_model
    if explicit is None:
        return asset_path("pose_model")
    path = explicit.expanduser()
    if not path.is_file():
        raise ValueError(
            f"pose model: expected a .task file at {path}, found none. "
            "Remedy: correct pose_model or AVATARGPT_POSE_MODEL, or unset both to fetch it."
        )
    return path


def asset_path(name: str) -> Path:
    """Return the file of an asset (:data:`flows.assets.ASSETS`), which is fetched if missing.

    Raises:
        flows.assets.AssetError: it cannot be fetched.
    """
    return fetch_assets(Settings().cache_dir.expanduser(), only=(name,))[name]


def replies_dir() -> Path:
    """Return the folder that caches replies of paid models for all datasets of this machine."""
    return Settings().cache_dir.expanduser() / "replies"


def downloads_dir() -> Path:
    """Return the folder that caches downloaded videos for all datasets of this machine."""
    return Settings().cache_dir.expanduser().absolute() / "videos"


def api_key(name: str) -> SecretStr | None:
    """Look up an API key. The first source that has it is used.

    1. the environment variable ``<name>``, such as ``OPENAI_API_KEY``;
    2. the file whose path is in the environment variable ``<name>_FILE``;
    3. the Prefect Secret block of that name in lower case with hyphens, such as ``openai-api-key``.

    Returns:
        The key, or None if no source has it. Local endpoints need none.

    Raises:
        ValueError: the file cannot be read.
    """
    if value := os.environ.get(name, "").strip():
        return SecretStr(value)
    if path := os.environ.get(f"{name}_FILE", ""):
        try:
            return SecretStr(Path(path).expanduser().read_text(encoding="utf-8").strip())
        except OSError as error:
            raise ValueError(
                f"{name}_FILE: expected a readable file at {path}, found {error.strerror}. "
                "Remedy: correct the path, or unset the variable."
            ) from error
    from prefect.blocks.system import Secret  # noqa: PLC0415 - after the server's address is set

    block = name.lower().replace("_", "-")
    try:
        value = Secret.load(block).get()  # pyright: ignore[reportAttributeAccessIssue]
    except ValueError:
        return None
    return SecretStr(str(value))


def off_current_folder() -> dict[str, str]:
    """Return an environment for a child process that keeps its current folder off ``sys.path``.

    ``python -m`` puts the current folder first on ``sys.path``, where a user's own ``data/`` or
    ``training.py`` would shadow ours. Unlike ``python -P``, the variable is inherited by
    grandchildren.
    """
    return {**os.environ, "PYTHONSAFEPATH": "1"}


def program_environment() -> dict[str, str]:
    """Return an environment for a program of the user, which may import what lies beside it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}


def quiet_prefect() -> None:
    """Disable Prefect's telemetry and set its limits. Must be called before Prefect is imported.

    Variables that the user has set are not changed.
    """
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # The default is half a megabyte, which 10,000 paths on a command line exceed.
    os.environ.setdefault("PREFECT_SERVER_API_MAX_PARAMETER_SIZE", str(MAX_PARAMETER_BYTES))
    os.environ.setdefault("DO_NOT_TRACK", "1")  # the client's own telemetry
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_S))
    # The server answers so while its database restarts, and the client would end the run.
    os.environ.setdefault("PREFECT_CLIENT_RETRY_EXTRA_CODES", "500")
