"""Videos that are not on this machine: downloaded for ingest, and kept while a stage reads them."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from annotators.run import Progress, Run
from annotators.stages.staged import SourceVideo, load_staged, probe_path
from data.errors import ItemError, Reason
from data.remote.cache import CachedFile
from data.remote.errors import (
    DeniedError,
    MissingError,
    RemoteError,
    TooLargeError,
    UnsuitableError,
)
from data.video.sources import RemoteVideo

_AT_ONCE: Final = 64
"""Number of videos that are downloaded before they are probed."""
_REASONS: Final = {
    MissingError: Reason.NOT_FOUND,
    DeniedError: Reason.UNREADABLE,
    TooLargeError: Reason.TOO_LARGE,
    UnsuitableError: Reason.NOT_A_VIDEO,
}


@dataclass(frozen=True, slots=True)
class Downloads:
    """Some videos of a run.

    Attributes:
        files: videos by downloaded file.
        known: what an earlier run found out about videos, which need no download.
        failed: videos that cannot be downloaded, with the reasons.
    """

    files: Mapping[Path, RemoteVideo]
    known: Sequence[SourceVideo]
    failed: Sequence[tuple[RemoteVideo, ItemError]]


def download_videos(run: Run, videos: Iterable[RemoteVideo]) -> Generator[Downloads]:
    """Download videos into the cache of a run, some at a time.

    Yields:
        Videos whose files stay until the next ones are asked for.
    """
    wanted: dict[str, RemoteVideo] = {}
    known: list[SourceVideo] = []
    for video in videos:
        staged = load_staged(
            SourceVideo, probe_path(run.work, run.downloads.path_of(video.address))
        )
        if staged is not None and _is_unchanged(staged, video):
            known.append(staged)
        else:
            wanted[video.address] = video
    yield Downloads({}, known, ())
    progress = Progress("download", len(wanted), run.report)
    addresses = list(wanted)
    for start in range(0, len(addresses), _AT_ONCE):
        some = addresses[start : start + _AT_ONCE]
        with run.downloads.held(some) as found:
            errors = {a: one for a, one in found.items() if isinstance(one, RemoteError)}
            progress.advance(items=len(some), rejected=bool(errors))
            yield Downloads(
                {run.downloads.path_of(a): wanted[a] for a in some if a not in errors},
                (),
                [(wanted[a], _item_error(error)) for a, error in errors.items()],
            )


@contextmanager
def hold_downloads(run: Run, videos: Sequence[SourceVideo]) -> Generator[None]:
    """Have the downloaded ones among videos on the disk, also if the cache is too small for a run.

    Raises:
        RemoteError: a video cannot be downloaded again, or has changed since.
    """
    remote = [video for video in videos if video.source]
    with run.downloads.held([video.source for video in remote]) as found:
        for video in remote:
            file = found[video.source]
            if not isinstance(file, CachedFile):
                raise file
            if (file.fetched.size_bytes, file.path.stat().st_mtime_ns) != (
                video.probe.size_bytes,
                video.mtime_ns,
            ):
                raise RemoteError(
                    f"{video.name}: expected the content that was probed, found that it changed "
                    "during the run. Remedy: run the same command again."
                )
        yield


def _is_unchanged(known: SourceVideo, video: RemoteVideo) -> bool:
    # A run that was killed may have staged it before its address was added.
    if known.source != video.address:
        return False
    return video.size_bytes is None or (known.probe.size_bytes, known.mtime_ns) == (
        video.size_bytes,
        video.modified_ns,
    )


def _item_error(error: RemoteError) -> ItemError:
    reason = next(
        (reason for kind, reason in _REASONS.items() if isinstance(error, kind)),
        Reason.DOWNLOAD_FAILED,
    )
    detail, _, remedy = str(error).partition(" Remedy: ")
    return ItemError(reason, detail, remedy or "Run the same command again.")
