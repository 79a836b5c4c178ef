"""One real Prefect server for all flow tests."""

from collections.abc import Generator

import pytest

from flows.settings import quiet_prefect


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Generator[None]:
    quiet_prefect()
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield
