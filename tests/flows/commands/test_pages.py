"""The commands that serve pages name what they cannot show, and where they cannot listen."""

import socket
import sys
from pathlib import Path

import pytest

from data.store.writer import open_writer
from flows.commands.main import main


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset without rows."""
    with open_writer(tmp_path / "dataset", {}) as writer:
        writer.publish({})
    return tmp_path / "dataset"


def _refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> str:
    """Run a command that must fail, and return what it says."""
    given = [str(argument) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["avatargpt", *given, "--no-open"])
    with pytest.raises(SystemExit) as refused:
        main()
    told = capsys.readouterr()
    # What a model folder lacks is a failure, as for all commands of a model.
    assert refused.value.code == (1 if "of a model" in told.err else 2)
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert "Traceback" not in told.err
    assert "Remedy: " in told.err
    return told.err


def test_play_says_that_no_model_was_trained_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AVATARGPT_HOME", str(tmp_path))
    told = _refused(monkeypatch, capsys, "play")
    assert f"{tmp_path}/train/models/latest: expected the folder of a model, found none" in told
    assert "make demo-train" in told


def test_play_tells_what_the_folder_is(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = _refused(monkeypatch, capsys, "play", dataset)
    assert "found a dataset. Remedy: " in told
    assert f"avatargpt browse {dataset}" in told
    (tmp_path / "videos").mkdir()
    assert "found no model.json in it" in _refused(monkeypatch, capsys, "play", tmp_path / "videos")


def test_browse_tells_that_a_folder_is_no_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert str(tmp_path) in _refused(monkeypatch, capsys, "browse", tmp_path)


def test_a_port_in_use_and_a_foreign_address_are_named(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = _refused(monkeypatch, capsys, "browse", dataset, "--port", str(port))
    assert f"found that something listens at 127.0.0.1:{port}" in told
    assert "--port" in told
    told = _refused(monkeypatch, capsys, "browse", dataset, "--host", "192.0.2.1")
    assert "host 192.0.2.1: expected an address of this machine" in told
