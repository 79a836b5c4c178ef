"""Publish a version of a dataset on S3: new parts under fresh keys, then one compare-and-swap.

S3 has no rename and no lock. The manifest is replaced only if it is still the one that the new
version continues; this is the moment of publication. What a killed or refused writer leaves behind
are objects that no manifest lists; :func:`collect_objects` removes them.
"""

import json
import secrets
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from data.remote.errors import ChangedError, MissingError, RemoteError
from data.remote.links import Link
from data.remote.objects import (
    ABSENT,
    copy_object,
    delete_object,
    list_objects,
    read_object,
    upload_file,
    write_object,
)
from data.schemas import SCHEMAS
from data.store.manifest import MANIFEST, DatasetError
from data.store.mirrors import VERSIONS

COMMIT: Final = "commit"
"""Field of a manifest on S3: 16 hexadecimal digits that only this version has, so that a writer
recognizes its own version if the answer to its commit was lost."""
GRACE: Final = timedelta(days=1)
"""Age from which an object that no manifest lists is one that a killed writer left behind."""

_ATTEMPTS: Final = 6
_FIRST_WAIT_S: Final = 0.2
_THREADS: Final = 8


class ConflictError(DatasetError):
    """Another run published a version since this one read the manifest."""


def new_commit() -> str:
    """Return a new value of :data:`COMMIT`; its first 8 digits are part of the names of parts."""
    return secrets.token_hex(8)


def push(
    link: Link,
    previous: Mapping[str, Any],
    manifest: Mapping[str, Any],
    *,
    files: Mapping[str, Path],
    retires: Collection[str] = (),
    kept: tuple[str, bytes] | None = None,
    card: tuple[str, bytes] | None = None,
) -> str:
    """Publish a version.

    Args:
        link: linked folder of the dataset.
        previous: manifest that the version continues.
        manifest: manifest of the version, with a new :data:`COMMIT`.
        files: new parts by name.
        retires: names of parts that the version replaces.
        kept: name and content of the previous manifest, kept for the older versions.
        card: name and content of the dataset card.

    Returns:
        The identifier of the new manifest.

    Raises:
        ConflictError: another run has published a version. Nothing has changed.
        RemoteError: the dataset cannot be written. Either nothing has changed, or only the answer
            was lost, as the next run sees.
    """
    # Parts are large: a version that is known to come second is not sent.
    _read_previous(link, previous)
    with ThreadPoolExecutor(_THREADS) as pool:
        sent = [
            pool.submit(upload_file, path, link.address.child(name)) for name, path in files.items()
        ]
        for one in sent:
            one.result()
    if kept is not None:
        # Before the commit, so that the older versions can be read at any moment.
        write_object(link.address.child(kept[0]), kept[1])
    etag = _swap(link, previous, manifest)
    if card is not None:
        write_object(link.address.child(card[0]), card[1])
    for name in retires:
        _retire(link, name)
    return etag


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return the content of the object or file of a manifest."""
    return f"{json.dumps(manifest, indent=1, ensure_ascii=False)}\n".encode()


def collect_objects(link: Link, current: Collection[str], older: Collection[str]) -> int:
    """Remove objects of a dataset that no version needs, and return their size in bytes.

    Args:
        link: linked folder of the dataset.
        current: names of the parts of the current version.
        older: names of what only older versions need: parts, and manifests in ``.versions``.

    Raises:
        RemoteError: an object cannot be listed, moved or removed.
    """
    freed = 0
    now = datetime.now(UTC)
    prefix = link.address.child("")
    for one in list(list_objects(prefix)):
        name = one.key.removeprefix(prefix.key)
        folder, _, rest = name.partition("/")
        if folder == VERSIONS:
            is_needed = rest in older or name in older
        elif folder in SCHEMAS:
            if name in older and name not in current:
                _retire(link, name)  # a writer was killed after its commit
            # By the clock of this machine: a wrong one matters only if it is a day ahead.
            is_needed = name in current or name in older or now - one.modified < GRACE
        else:
            continue
        if not is_needed:
            delete_object(link.address.child(name))
            freed += one.size_bytes
    return freed


def _swap(link: Link, previous: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Replace the manifest if it is still the previous one; return its new identifier."""
    address = link.address.child(MANIFEST)
    data = manifest_bytes(manifest)
    failure: RemoteError | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_FIRST_WAIT_S * 2 ** (attempt - 1))
        try:
            etag, is_ours = _read_previous(link, previous, manifest[COMMIT])
            return etag if is_ours else write_object(address, data, expected=etag)
        except ChangedError as error:
            failure = error  # somebody else wrote it, or we did: look again
        except RemoteError as error:
            if attempt == _ATTEMPTS - 1 or isinstance(error, MissingError):
                raise
            failure = error
    raise RemoteError(
        f"{address}: expected to replace the manifest, found that it was refused {_ATTEMPTS} "
        f"times: {failure} Remedy: run the same command again; finished work is kept."
    ) from failure


def _read_previous(link: Link, previous: Mapping[str, Any], commit: str = "") -> tuple[str, bool]:
    """Check that the manifest on S3 is the previous one, or that of a commit.

    Returns:
        Its identifier, and whether it is that of the commit: then only the answer was lost.

    Raises:
        ConflictError: it is another one.
    """
    found = read_object(link.address.child(MANIFEST))
    stored: dict[str, Any] = {} if found is None else json.loads(found.data)
    if found is not None and commit and stored.get(COMMIT) == commit:
        return found.etag, True
    if not _is_same(stored, previous):
        raise ConflictError(
            f"{link.address}: expected version {previous['publications']}, found that another run "
            "published a later one meanwhile. Nothing was changed. Remedy: run the same command "
            "again."
        )
    return ABSENT if found is None else found.etag, False


def _is_same(stored: Mapping[str, Any], previous: Mapping[str, Any]) -> bool:
    if not stored:
        return previous["publications"] == 0
    names = (COMMIT, "publications", "created_at", "updated_at")
    return all(stored.get(name) == previous.get(name) for name in names)


def _retire(link: Link, name: str) -> None:
    """Move a part to where older versions find it."""
    try:
        copy_object(link.address.child(name), link.address.child(f"{VERSIONS}/{name}"))
    except MissingError:
        return  # it was moved before
    delete_object(link.address.child(name))
