"""The lock is made by one Python, but holds what every supported Python needs."""

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parents[1] / "requirements.lock"


@pytest.mark.parametrize("version", ["3.11.0", "3.11.2", "3.12.0", "3.13.0"])
def test_the_lock_holds_what_another_python_needs(version: str) -> None:
    locked = re.findall(r"^([\w.-]+)==", LOCK.read_text(), re.MULTILINE)
    names = {canonicalize_name(name) for name in locked}
    environment = {
        **{key: str(value) for key, value in default_environment().items()},
        "python_version": version.rpartition(".")[0],
        "python_full_version": version,
        "extra": "",
    }
    missing = [
        f"{name} requires {requirement}"
        for name in locked
        for requirement in map(Requirement, requires(name) or ())
        if (requirement.marker is None or requirement.marker.evaluate(environment))
        # Set-up installs torch beside the lock.
        and canonicalize_name(requirement.name) not in names | {"torch"}
    ]
    assert missing == []
