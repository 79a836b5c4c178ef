"""Facts of this machine, read from the environment: the only place that does so."""

import os
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from flows.assets import fetch_assets

LOOPBACK_PORT: Final = 4200
LOOPBACK_API_URL: Final = f"http://127.0.0.1:{LOOPBACK_PORT}/api"
"""Where `avatargpt up` serves Prefect; pyproject.toml names the same for `prefect` itself."""
HEARTBEAT_S: Final = 30
"""How often a run tells that it lives; Prefect allows no less."""


MAX_PARAMETER_BYTES: Final = 64_000_000
"""Of a flow run, such as the paths of its videos."""


class Settings(BaseSettings):
    """Settings of this machine; each is an environment variable ``AVATARGPT_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="AVATARGPT_", extra="ignore")

    home: Path = Field(
        default=Path("~/avatargpt"), description="Root of datasets, checkpoints and logs."
    )
    cache_dir: Path = Field(
        default=Path("~/.cache/avatargpt"), description="Fetched assets: weights, sample clip."
    )
    pose_model: Path | None = Field(
        default=None, description="A pose landmarker .task file to use instead of the fetched one."
    )

    @property
    def home_folder(self) -> Path:
        """``home`` as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def run_dir(self) -> Path:
        """Logs and process ids of the local server and worker."""
        return self.home_folder / "run"


def pose_model_path(configured: Path | None) -> Path:
    """The pose model to use: configured, from the environment, or fetched.

    Raises:
        ValueError: the configured file is not there.
        flows.assets.AssetError: it must be fetched and cannot be.
    """
    settings = Settings()
    explicit = configured or settings.pose_model
    if explicit is None:
        return fetch_assets(settings.cache_dir.expanduser(), only=("pose_model",))["pose_model"]
    path = explicit.expanduser()
    if not path.is_file():
        raise ValueError(
            f"pose model: expected a .task file at {path}, found none. "
            "Remedy: correct pose_model or AVATARGPT_POSE_MODEL, or unset both to fetch it."
        )
    return path


def replies_dir() -> Path:
    """Where replies that were paid for are kept, for all datasets of this machine."""
    return Settings().cache_dir.expanduser() / "replies"


def api_key(name: str) -> SecretStr | None:
    """The key of a name, from the first place that has it.

    1. the environment variable of that name, e.g. ``OPENAI_API_KEY``;
    2. the file that the environment variable ``<NAME>_FILE`` points at;
    3. the Prefect Secret block of that name in lower case with hyphens, e.g. ``openai-api-key``.

    Returns:
        The key, or None when no place has it (endpoints on one's own machine need none).

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
    from prefect.blocks.system import Secret  # noqa: PLC0415 - after Prefect's address is set

    block = name.lower().replace("_", "-")
    try:
        value = Secret.load(block).get()  # pyright: ignore[reportAttributeAccessIssue]
    except ValueError:
        return None
    return SecretStr(str(value))


def off_current_folder() -> dict[str, str]:
    """The environment of a child process that must not import from the folder it runs in.

    ``python -m`` puts that folder first on ``sys.path``: a user's own ``data/`` or ``training.py``
    there would hide ours. The variable reaches grandchildren too, which ``python -P`` does not.
    """
    return {**os.environ, "PYTHONSAFEPATH": "1"}


def quiet_prefect() -> None:
    """Let Prefect call nobody but its server. To be called before it is imported.

    What the user set stays.
    """
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # 10,000 paths on a command line are parameters of more than the usual half megabyte.
    os.environ.setdefault("PREFECT_SERVER_API_MAX_PARAMETER_SIZE", str(MAX_PARAMETER_BYTES))
    os.environ.setdefault("DO_NOT_TRACK", "1")  # the client's own, told of in terminals
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_S))
