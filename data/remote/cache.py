"""A folder of downloaded files, bounded by size; what was not used for longest goes first."""

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from data.remote.addresses import name_of
from data.remote.errors import RemoteError
from data.remote.transfers import Fetched

_THREADS: Final = 8
_MAX_SUFFIX: Final = 10

Fetch = Callable[[str, Path], Fetched]
"""Downloads an address to a file."""


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file in the cache.

    Attributes:
        path: the file. Its modification time is that of the original.
        fetched: facts about its download.
    """

    path: Path
    fetched: Fetched


class FileCache:
    """Files by address. Several processes may share the folder.

    A file that is :meth:`held` stays, even if that exceeds the bound. The name of a file depends
    on its address only.

    Args:
        folder: folder of the files; created if missing.
        max_bytes: bound of the total size.
        fetch: function that downloads a file.
    """

    def __init__(self, folder: Path, max_bytes: int, fetch: Fetch) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._fetch = fetch
        self._held = Counter[Path]()
        self._lock = threading.Lock()

    def path_of(self, address: str) -> Path:
        """Return where the file of an address is, or would be."""
        suffix = name_of(address).suffix.lower()
        suffix = suffix if len(suffix) <= _MAX_SUFFIX and suffix[1:].isalnum() else ""
        return self.folder / f"{hashlib.sha256(address.encode()).hexdigest()[:24]}{suffix}"

    def get(self, address: str) -> CachedFile:
        """Return the file of an address, which is downloaded if missing.

        Raises:
            RemoteError: it cannot be downloaded.
            OSError: it cannot be written.
        """
        path = self.path_of(address)
        known = self._known(path)
        if known is not None:
            return known
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part-{os.getpid()}-{threading.get_ident()}")
        try:
            fetched = self._fetch(address, part)
            os.utime(part, ns=(fetched.modified_ns, fetched.modified_ns))
            _facts(path).write_text(json.dumps(asdict(fetched)))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        self._evict(keep=path)
        return CachedFile(path, fetched)

    def get_many(self, addresses: Iterable[str]) -> Generator[tuple[str, CachedFile | RemoteError]]:
        """Get several files at the same time; what cannot be downloaded yields its error."""

        def attempt(address: str) -> CachedFile | RemoteError:
            try:
                return self.get(address)
            except RemoteError as error:
                return error

        listed = list(addresses)
        with ThreadPoolExecutor(_THREADS) as pool:
            yield from zip(listed, pool.map(attempt, listed), strict=True)

    @contextmanager
    def held(self, addresses: Sequence[str]) -> Generator[dict[str, CachedFile | RemoteError]]:
        """Get files that stay in the cache within the context."""
        paths = [self.path_of(address) for address in addresses]
        with self._lock:
            self._held.update(paths)
        try:
            yield dict(self.get_many(addresses))
        finally:
            with self._lock:
                self._held.subtract(paths)
            self._evict()

    def _known(self, path: Path) -> CachedFile | None:
        """Return the facts of a complete file, and mark it as used now."""
        facts = _facts(path)
        try:
            fetched = Fetched(**json.loads(facts.read_text()))
            status = path.stat()
            facts.touch()
        except (OSError, ValueError, TypeError):
            return None
        # Facts are written before the file they belong to is in place.
        same = (status.st_size, status.st_mtime_ns) == (fetched.size_bytes, fetched.modified_ns)
        return CachedFile(path, fetched) if same else None

    def _evict(self, keep: Path | None = None) -> None:
        with self._lock:
            held = {path for path, count in self._held.items() if count > 0} | {keep}
            files: list[tuple[int, int, Path]] = []
            for facts in self.folder.glob("*.json"):
                path = facts.with_suffix("")
                with suppress(OSError):
                    files.append((facts.stat().st_mtime_ns, path.stat().st_size, path))
            total = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if total <= self._max_bytes:
                    return
                if path not in held:
                    path.unlink(missing_ok=True)
                    _facts(path).unlink(missing_ok=True)
                    total -= size


def _facts(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
