"""Servers that the tests of this room share."""

from collections.abc import Generator

import pytest

from tests.support.s3_server import Faulty, s3_server


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Generator[Faulty]:
    """An S3 server on loopback."""
    with s3_server(monkeypatch) as server:
        yield server
