import os
from collections.abc import Callable
from pathlib import Path

import pytest

from data.remote.addresses import S3Address
from data.remote.errors import RemoteError
from data.remote.folders import receive, send
from data.remote.links import link_folder
from data.remote.objects import list_objects, write_object
from tests.support.s3_server import Fault, Faulty, new_bucket

ADDRESS = "s3://team/runs/first"


@pytest.fixture
def machine(s3: Faulty, tmp_path: Path) -> Callable[[str], Path]:
    del s3
    new_bucket("team")
    return lambda name: link_folder(ADDRESS, tmp_path / name)


def _fill(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def _sent(s3: Faulty) -> list[str]:
    start = "/team/runs/first/"
    sent = [path.removeprefix(start) for method, path in s3.requests if method == "PUT"]
    return [name for name in sent if not name.startswith("/")]


def test_only_what_changed_is_sent_and_received(s3: Faulty, machine: Callable[[str], Path]) -> None:
    one, two = machine("one"), machine("two")
    _fill(one, checkpoints__a="1", checkpoints__b="2", last="a")
    (one / "checkpoints" / "c.tmp").mkdir()
    _fill(one, **{"checkpoints__c.tmp__x": "half", ".lock": "me"})
    send(one)
    receive(two)
    assert _names(two) == ["checkpoints/a", "checkpoints/b", "last"]
    (one / "checkpoints" / "a").unlink()
    _fill(one, checkpoints__d="3", last="d")
    s3.requests.clear()
    send(one / "checkpoints")
    send(one)
    assert _sent(s3) == ["checkpoints/d", "last"]
    _fill(two, checkpoints__b="changed here")
    s3.requests.clear()
    receive(two)
    assert (two / "last").read_text() == "d" and (two / "checkpoints" / "d").exists()
    assert (two / "checkpoints" / "b").read_text() == "changed here"
    assert [
        path for method, path in s3.requests if method == "GET" and "/checkpoints/b" in path
    ] == []
    # What was deleted on one machine stays on another that had it before.
    assert not any(one.key.endswith("/a") for one in list_objects(S3Address("team", "runs")))


def test_a_checkpoint_that_comes_while_others_are_received_is_whole(
    s3: Faulty, machine: Callable[[str], Path]
) -> None:
    """A machine that is asked to end sends its last checkpoint when the next one has begun."""
    one, two = machine("one"), machine("two")
    _fill(one, **{"checkpoints__step-1__a": "1", "checkpoints__last.json": "step-1"})
    send(one)
    ended: list[str] = []

    def end(method: str, path: str) -> None:
        if method == "GET" and path.endswith("/last.json") and not ended:
            ended.append(path)
            (one / "checkpoints" / "step-1" / "a").unlink()
            _fill(one, **{"checkpoints__step-2__a": "2", "checkpoints__last.json": "step-2"})
            send(one)

    s3.before = end
    receive(two)
    assert ended
    last = (two / "checkpoints" / "last.json").read_text()
    assert last == "step-2" and (two / "checkpoints" / last / "a").read_text() == "2"


def test_a_machine_that_does_not_stop_sending_is_told(
    s3: Faulty, machine: Callable[[str], Path]
) -> None:
    one, two = machine("one"), machine("two")
    _fill(one, **{"metrics.jsonl": "0"})
    send(one)

    def go_on(method: str, path: str) -> None:
        if method == "GET" and path.endswith("/metrics.jsonl"):
            _fill(one, **{"metrics.jsonl": (one / "metrics.jsonl").read_text() + "1"})
            send(one)

    s3.before = go_on
    with pytest.raises(RemoteError, match=r"found new ones in 10 listings.* Remedy: wait until"):
        receive(two)


def test_a_link_between_folders_arrives_as_a_link(
    machine: Callable[[str], Path], tmp_path: Path
) -> None:
    one = machine("one")
    _fill(one, **{"models__v-1__model.json": "first", "models__v-2__model.json": "second"})
    (one / "models" / "latest").symlink_to("v-1")
    send(one)
    (one / "models" / "latest").unlink()
    (one / "models" / "latest").symlink_to("v-2")
    (one / "models" / "outside").symlink_to("/etc")
    send(one)
    two = machine("two")
    receive(two)
    assert (two / "models" / "latest").readlink() == Path("v-2")
    assert not os.path.lexists(two / "models" / "outside")
    # The model alone, by the name of the link.
    model = link_folder(f"{ADDRESS}/models/latest", tmp_path / "three")
    receive(model)
    assert (model / "model.json").read_text() == "second"


@pytest.mark.parametrize("target", ["../../etc", "/etc", "", ".."])
def test_a_link_that_leads_elsewhere_is_refused(
    machine: Callable[[str], Path], target: str
) -> None:
    write_object(S3Address("team", "runs/first/models/latest.link"), target.encode())
    with pytest.raises(RemoteError, match="expected the name of a folder beside it"):
        receive(machine("one"))


def test_an_object_outside_of_the_folder_is_refused(machine: Callable[[str], Path]) -> None:
    write_object(S3Address("team", "runs/first/a/../../../b"), b"x")
    with pytest.raises(RemoteError, match="expected names of files"):
        receive(machine("one"))


def test_what_failed_is_sent_the_next_time(s3: Faulty, machine: Callable[[str], Path]) -> None:
    one = machine("one")
    _fill(one, **{"weights": "w", "last.json": "{}"})
    s3.faults.append(Fault(403, "PUT", "weights"))
    with pytest.raises(RemoteError, match="expected access, found HTTP 403"):
        send(one)
    assert list(list_objects(S3Address("team", "runs"))) == []
    send(one)
    receive(machine("two"))
    assert _names(machine("two")) == ["last.json", "weights"]


def test_other_folders_stay_as_they_are(s3: Faulty, tmp_path: Path) -> None:
    _fill(tmp_path, a="1")
    send(tmp_path)
    receive(tmp_path)
    assert not s3.requests and _names(tmp_path) == ["a"]
