"""Datasets on S3, read through a linked folder (``data/remote/links.py``).

The folder is a mirror: it gets the manifest whenever it is opened, and a part when it is first
read. Parts never change, so that they stay until others need the room. Objects have the keys that
the files of a local dataset have; a copy of the prefix is a dataset.
"""

import hashlib
import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from data.remote.addresses import S3Address
from data.remote.errors import MissingError, RemoteError
from data.remote.links import Link, find_link
from data.remote.objects import download_object, list_objects, read_object, upload_file
from data.schemas import SCHEMAS

VERSIONS: Final = ".versions"
"""Folder of what older versions need, in the folder of the dataset."""

_THREADS: Final = 8
_GLOBS: Final = ("*/*/*.parquet", f"*/{VERSIONS}/*/*.parquet")


def refresh(root: Path, manifest: str) -> None:
    """Bring the manifest of a linked folder up to date; nothing happens with another folder.

    Args:
        root: folder of the dataset.
        manifest: name of the manifest.

    Raises:
        RemoteError: the dataset cannot be read.
    """
    link = find_link(root)
    if link is None:
        return
    found = read_object(link.address.child(manifest))
    if found is None:
        (root / manifest).unlink(missing_ok=True)
        return
    if _state(link) == found.etag and (root / manifest).is_file():
        return
    store_manifest(link, manifest, found.data, found.etag)
    refresh_versions(link)


def store_manifest(link: Link, name: str, data: bytes, etag: str) -> None:
    """Keep a manifest that was read or written in the linked folder, and drop parts it lacks."""
    listed = {part["file"] for part in _parts(data)}
    _write(link.folder / name, data)
    for part in link.folder.glob("*/*.parquet"):
        if part.parent.name in SCHEMAS and f"{part.parent.name}/{part.name}" not in listed:
            # Readers of an older version find it again where that version keeps it.
            part.unlink(missing_ok=True)
    for table in SCHEMAS:
        (link.folder / table).mkdir(exist_ok=True)
    remember(link, etag)


def remember(link: Link, etag: str) -> None:
    """Remember which manifest the linked folder has."""
    _write(link.state, etag.encode())


def fetch_missing(root: Path, file: str) -> None:
    """Download a part that a linked folder lacks; nothing happens with another folder.

    A part that the dataset does not have (any more) stays missing.

    Args:
        root: folder of the dataset.
        file: name of the part in manifests.

    Raises:
        RemoteError: it cannot be downloaded, or is not what the manifest says.
    """
    link = find_link(root)
    if link is None:
        return
    for known in (root / file, root / VERSIONS / file):
        with suppress(FileNotFoundError):
            os.utime(known)  # used now: others are removed before it
            return
    found = _find_entry(link, file)
    if found is None:
        return
    current, entry = found
    target = link.folder / (file if current else f"{VERSIONS}/{file}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = link.state.with_name(f"{link.folder.name}-{os.getpid()}-{threading.get_ident()}.part")
    try:
        _download(link, file, part)
        _require_content(part, entry, link.address.child(file))
        _make_room(link, part.stat().st_size)
        part.replace(target)
    except MissingError:
        return
    finally:
        part.unlink(missing_ok=True)


def fetch_loose(root: Path, folder: str, name: re.Pattern[str]) -> list[Path] | None:
    """Download the files of a folder that no manifest lists, such as reviews, where they lack.

    Each is an object of its own that never changes, so that many machines can add some at a time.

    Args:
        root: folder of the dataset.
        folder: name of the folder in it.
        name: names of the files; other objects are left alone.

    Returns:
        The files that are on S3, in the order of their names; None of a folder that is not linked.

    Raises:
        RemoteError: they cannot be listed or downloaded.
    """
    link = find_link(root)
    if link is None:
        return None
    prefix = link.address.child(f"{folder}/")
    names = [one.key.removeprefix(prefix.key) for one in list_objects(prefix)]
    paths = [root / folder / one for one in sorted(names) if name.fullmatch(one)]
    (root / folder).mkdir(exist_ok=True)

    def get(path: Path) -> None:
        part = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}.part")
        try:
            download_object(link.address.child(f"{folder}/{path.name}"), part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(get, [path for path in paths if not path.exists()]):
            pass
    return paths


def send_loose(root: Path, file: str, content: Path) -> None:
    """Upload a new file that no manifest lists; nothing happens with a folder that is not linked.

    Args:
        root: folder of the dataset.
        file: name of the file in it.
        content: file with the content.

    Raises:
        RemoteError: it cannot be uploaded.
    """
    link = find_link(root)
    if link is not None:
        upload_file(content, link.address.child(file))


def _download(link: Link, file: str, part: Path) -> None:
    try:
        download_object(link.address.child(file), part)
    except MissingError:
        # Replaced meanwhile. Parts only ever move in this direction.
        download_object(link.address.child(f"{VERSIONS}/{file}"), part)


def _require_content(part: Path, entry: dict[str, Any], address: S3Address) -> None:
    with part.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if part.stat().st_size != entry["bytes"] or entry.get("sha256", sha256) != sha256:
        raise RemoteError(
            f"{address}: expected {entry['bytes']} bytes as in the manifest, found other content. "
            "Remedy: restore this object from a copy or an older version of the bucket."
        )


def _find_entry(link: Link, file: str) -> tuple[bool, dict[str, Any]] | None:
    """Return whether a part is current, and its entry in a manifest; None without an entry."""
    for path in (*link.folder.glob("*.json"), *(link.folder / VERSIONS).glob("*.json")):
        for part in _parts(path.read_bytes()):
            if part["file"] == file:
                return path.parent == link.folder, part
    return None


def refresh_versions(link: Link) -> None:
    """Get the manifests of older versions, and drop those that were collected."""
    prefix = link.address.child(f"{VERSIONS}/dataset-")
    names = {one.key.rpartition("/")[2] for one in list_objects(prefix)}
    folder = link.folder / VERSIONS
    for path in folder.glob("dataset-*.json"):
        if path.name not in names:
            path.unlink(missing_ok=True)
    for name in sorted(names):
        if not (folder / name).exists():
            found = read_object(link.address.child(f"{VERSIONS}/{name}"))
            if found is not None:
                folder.mkdir(exist_ok=True)
                _write(folder / name, found.data)


def _parts(manifest: bytes) -> list[dict[str, Any]]:
    """Return the entries of all parts; none of a manifest that is damaged, which readers report."""
    try:
        tables = json.loads(manifest)["tables"]
        return [part for table in tables.values() for part in table["parts"] if part["file"]]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def _make_room(link: Link, needed: int) -> None:
    """Remove the parts of all linked folders that were not used for longest."""
    files: list[tuple[int, int, Path]] = []
    for pattern in _GLOBS:
        for path in link.folder.parent.glob(pattern):
            with suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in files) + needed
    for _, size, path in sorted(files):
        if total <= link.max_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size


def _state(link: Link) -> str:
    try:
        return link.state.read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.new-{os.getpid()}")
    new.write_bytes(data)
    new.replace(path)
