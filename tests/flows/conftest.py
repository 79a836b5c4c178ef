"""One real Prefect server for all flow tests."""

from collections.abc import Generator
from pathlib import Path

import pytest

from flows.settings import quiet_prefect


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Generator[None]:
    quiet_prefect()
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(scope="session")
def users_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with our names, and Python's, that end whatever imports them."""
    folder = tmp_path_factory.mktemp("users_folder")
    for name in (
        "data/__init__.py",
        "annotators/__init__.py",
        "flows.py",
        "training.py",
        "pickle.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"raise SystemExit('imported {name} of the user')")
    return folder
