"""Bring the files of a linked folder from S3 and back: training runs and models.

Files are compared with what was sent and received last, so that only changed ones travel. A link
from one folder to another beside it, such as ``models/latest``, is an object with its name. What
tells which files there are travels last. A folder that is not below a link stays as it is.
"""

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from data.remote.addresses import S3Address
from data.remote.errors import MissingError, RemoteError
from data.remote.links import Link, find_link_above
from data.remote.objects import (
    StoredObject,
    delete_object,
    download_object,
    list_objects,
    read_object,
    upload_file,
    write_object,
)

_THREADS: Final = 8
_LISTINGS: Final = 10
_POINTERS: Final = (".json", ".jsonl", ".link")
_NOT_SENT: Final = frozenset({".lock", ".staging"})
_LINK: Final = ".link"
_SIBLING: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")


@dataclass(frozen=True, slots=True)
class _Place:
    """A linked folder, or a folder below one.

    Attributes:
        link: the link.
        below: path below its folder; empty for the folder itself.
    """

    link: Link
    below: str

    @classmethod
    def of(cls, folder: Path) -> "_Place | None":
        found = find_link_above(folder)
        return None if found is None else cls(found[0], "" if found[1] == "." else f"{found[1]}/")


def receive(folder: Path) -> None:
    """Download what a linked folder, or a folder below one, lacks.

    Files that were changed here since they were sent or received are not replaced. The machine that
    trained before may still send its last checkpoint: what comes while others are downloaded is
    downloaded, too, so that no pointer names files that are not here.

    Raises:
        RemoteError: a file cannot be downloaded, an object has a name that no file can have, or
            another machine does not stop sending.
    """
    place = _Place.of(folder)
    if place is None:
        return
    known = _known(place.link)
    source = place.link.address
    listed = list(list_objects(source.child(place.below)))
    if not listed and not place.below:
        source = _target(source)
        listed = list(list_objects(source.child("")))
    seen: set[StoredObject] = set()

    def get(item: tuple[str, StoredObject]) -> None:
        name, one = item
        path = place.link.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(_LINK):
            _set_link(path.with_suffix(""), source.child(name))
            return
        part = path.with_name(f".{path.name}.part-{os.getpid()}")
        try:
            download_object(S3Address(source.bucket, one.key), part)
            part.replace(path)
        except MissingError:
            # It was deleted since; the next listing tells.
            return
        finally:
            part.unlink(missing_ok=True)
        known[name] = _entry(path, one.etag)

    for _ in range(_LISTINGS):
        wanted: list[tuple[str, StoredObject]] = []
        for one in listed:
            name = one.key.removeprefix(source.child("").key)
            # Those of a dataset that is not published yet, such as the lease of its first run.
            hidden = name.startswith(".") or one in seen
            if not hidden and _lacks(place.link, name, one, known):
                wanted.append((name, one))
        if not wanted:
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(get, [item for item in wanted if not _is_pointer(item[0])]):
                pass
        for item in wanted:
            if _is_pointer(item[0]):
                get(item)
        _remember(place.link, known)
        seen.update(listed)
        listed = list(list_objects(source.child(place.below)))
    raise RemoteError(
        f"{source}: expected files that stay as they are, found new ones in {_LISTINGS} listings. "
        "Remedy: wait until the other machine that writes there has ended."
    )


def send(folder: Path) -> None:
    """Upload what changed in a linked folder, or a folder below one, since it was sent last.

    Files that were sent and are gone are deleted on S3, too.

    Raises:
        RemoteError: a file cannot be uploaded.
    """
    place = _Place.of(folder)
    if place is None:
        return
    link, known = place.link, _known(place.link)
    names = {path.relative_to(link.folder).as_posix() for path in _files(folder)}
    changed = [
        name for name in names if name not in known or not _is(link.folder / name, known[name])
    ]

    last = sorted(
        name for name in changed if _is_pointer(name) or (link.folder / name).is_symlink()
    )

    def put(name: str) -> None:
        path = link.folder / name
        if path.is_symlink():
            target = path.readlink().name.encode()
            etag = write_object(link.address.child(f"{name}{_LINK}"), target)
            known[name] = {"target": target.decode(), "etag": etag}
            return
        entry = _entry(path, "")
        known[name] = entry | {"etag": upload_file(path, link.address.child(name))}

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(put, [name for name in changed if name not in last]):
            pass
    for name in last:
        put(name)
    for name in [one for one in known if one.startswith(place.below) and one not in names]:
        delete_object(link.address.child(f"{name}{_LINK}" if "target" in known[name] else name))
        del known[name]
    _remember(link, known)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, and its links to folders beside them."""
    for parent, folders, files in os.walk(folder):
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink() and _SIBLING.fullmatch(str(path.readlink())):
                yield path
        folders[:] = [
            name for name in folders if name not in _NOT_SENT and not name.endswith(".tmp")
        ]
        for name in files:
            path = Path(parent, name)
            is_partial = ".part-" in name or ".tmp-" in name
            if name not in _NOT_SENT and not is_partial and not path.is_symlink():
                yield path


def _is_pointer(name: str) -> bool:
    """Whether a file tells which others there are; those of a checkpoint do not."""
    path = PurePosixPath(name)
    return path.suffix in _POINTERS and not path.parent.name.startswith("step-")


def _lacks(link: Link, name: str, one: StoredObject, known: dict[str, dict[str, Any]]) -> bool:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not name or name.endswith("/") or "\0" in name:
        raise RemoteError(
            f"{link.address}: expected names of files, found the object {name!r}. Remedy: remove "
            "it, or name another prefix."
        )
    if name.endswith(_LINK):
        return True
    file, entry = link.folder / name, known.get(name)
    if not file.exists():
        return True
    return entry is not None and entry["etag"] != one.etag and _is(file, entry)


def _target(address: S3Address) -> S3Address:
    """Return the address that a link of this name leads to; without a link the same."""
    found = read_object(S3Address(address.bucket, f"{address.key}{_LINK}"))
    name = "" if found is None else found.data.decode(errors="replace")
    if not _SIBLING.fullmatch(name):
        return address
    parent, slash, _ = address.key.rpartition("/")
    return S3Address(address.bucket, f"{parent}{slash}{name}")


def _set_link(path: Path, address: S3Address) -> None:
    found = read_object(address)
    name = "" if found is None else found.data.decode(errors="replace")
    if not _SIBLING.fullmatch(name):
        raise RemoteError(
            f"{address}: expected the name of a folder beside it, found {name!r}. Remedy: remove "
            "this object."
        )
    if path.is_symlink() or not path.exists():
        new = path.with_name(f".{path.name}.part-{os.getpid()}")
        new.unlink(missing_ok=True)
        new.symlink_to(name)
        new.replace(path)


def _is(path: Path, entry: dict[str, Any]) -> bool:
    """Whether a file is the one that was sent or received last."""
    if path.is_symlink():
        return entry.get("target") == path.readlink().name
    status = path.stat()
    return (status.st_size, status.st_mtime_ns) == (entry.get("size"), entry.get("mtime_ns"))


def _entry(path: Path, etag: str) -> dict[str, Any]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "etag": etag}


def _state(link: Link) -> Path:
    return link.state.with_suffix(".files")


def _known(link: Link) -> dict[str, dict[str, Any]]:
    try:
        return json.loads(_state(link).read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _remember(link: Link, known: dict[str, dict[str, Any]]) -> None:
    new = _state(link).with_name(f"{_state(link).name}-{os.getpid()}")
    new.write_text(json.dumps(known))
    new.replace(_state(link))
