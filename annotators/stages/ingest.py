"""Ingest stage: find, probe and hash the sources, and select the videos that need work."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from annotators.run import Progress, Run
from annotators.stages.downloads import download_videos
from annotators.stages.restaging import TEXT_STAGES, forget_failures, restage, restage_from
from annotators.stages.staged import (
    SourceVideo,
    StagedScan,
    load_staged,
    probe_path,
    read_staged,
    staged_files,
    write_staged,
)
from data.errors import RETRYABLE, ItemError, Reason, Stage
from data.records import Outcome, Rejection, RejectionKey
from data.remote.addresses import is_address
from data.store.dataset import Dataset
from data.video.files import hash_file, size_of
from data.video.probe import probe_video
from data.video.sharing import take_share
from data.video.sources import RemoteVideo, discover_videos, path_item_id, shortened

RETRYABLE_OUTCOMES: Final = frozenset({Outcome.UNAVAILABLE.value, Outcome.RATE_LIMITED.value})
"""Outcomes of transient failures; ``retry_rejected`` repeats these calls."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """Result of the ingest stage.

    Attributes:
        videos: videos that need work, ordered by path.
        rejections: new rejections, each with the id of the video if its content was read.
        superseded: published rejections that no longer hold.
        replaced: ``video_id`` of published videos that are processed again.
        num_known: number of files whose content is in the dataset or permanently rejected.
    """

    videos: tuple[SourceVideo, ...]
    rejections: tuple[tuple[Rejection, str | None], ...]
    superseded: tuple[RejectionKey, ...]
    replaced: tuple[str, ...]
    num_known: int


def inspect_file(path: Path) -> SourceVideo:
    """Probe and hash one file.

    Raises:
        ItemError: the file is not a readable video.
    """
    probe = probe_video(path)
    return SourceVideo(hash_file(path), path.stat().st_mtime_ns, probe)


def ingest_files(run: Run, published: Dataset | None) -> Ingested:
    """Find, probe and hash the sources, and skip known, duplicate and unreadable files.

    Args:
        run: run whose configuration names the sources.
        published: published dataset, or None for a new dataset.

    Raises:
        ValueError: the sources name no file, none of them is in the share that the run takes, or a
            list of paths cannot be used.
    """
    config, work = run.config, run.work
    source = None if config.poses_from is None else Dataset(config.poses_from)
    discovery = discover_videos(config.videos or _paths_of(source))
    if not discovery.files and not discovery.rejections and not discovery.remote:
        raise ValueError(
            f"videos: expected at least one video file in {shortened(config.videos)}, found none. "
            "Remedy: name files, folders with videos, globs, or lists of paths."
        )
    discovery = take_share(discovery, config.shard)
    known = _Known.of(published, retry=config.retry_rejected)
    _discard_work_of(known.finished, work)
    usable = set(discovery.usable_ids)
    found = {path: known.has_unchanged(path) for path in discovery.files}
    found_remote = {remote: known.has_remote(remote) for remote in discovery.remote}
    new_files = [path for path, is_known in found.items() if not is_known]
    new_remote = [remote for remote, is_known in found_remote.items() if not is_known]
    usable.update(path_item_id(path) for path, is_known in found.items() if is_known)
    usable.update(remote.item_id for remote, is_known in found_remote.items() if is_known)
    num_known = len(discovery.files) + len(discovery.remote) - len(new_files) - len(new_remote)

    rejections: dict[RejectionKey, tuple[Rejection, str | None]] = {
        rejection.key: (rejection, None) for rejection in discovery.rejections
    }
    readable: dict[Path, SourceVideo] = {}
    for result in _read(run, new_files, new_remote):
        if isinstance(result, Rejection):
            rejections[result.key] = (result, None)
        else:
            readable[result.probe.path] = result

    videos: dict[str, SourceVideo] = {}
    for path in sorted(readable, key=lambda path: (readable[path].address, path)):
        video = readable[path]
        first = known.other_copy(video) or (
            videos[video.video_id].name if video.video_id in videos else None
        )
        if first is not None:
            error = ItemError(
                Reason.DUPLICATE,
                f"expected new content, found the same bytes as {first}.",
                "Nothing to do: the content is annotated once, under the other path.",
            )
            rejection = Rejection.of(_item_id(video), video.name, Stage.INGEST, error)
            rejections[rejection.key] = (rejection, video.video_id)
        elif video.video_id in known.finished:
            num_known += 1
        else:
            videos[video.video_id] = video

    if config.retry_rejected:
        forget_failures(videos.values(), work)
    strangers = _restage(videos.values(), published, source, known.retried_texts, work)
    rejections |= {rejected.key: (rejected, v) for v, rejected in strangers.items()}
    videos = {v: video for v, video in videos.items() if v not in strangers}

    _discard_probes(videos.values(), work)

    new = {
        key: value
        for key, value in rejections.items()
        if known.rejected.get(key) != value[0].reason.value
    }
    usable.update(map(_item_id, readable.values()))
    fixed = {RejectionKey(item_id, Stage.INGEST) for item_id in usable}.difference(rejections)
    return Ingested(
        videos=tuple(videos.values()),
        rejections=tuple(new.values()),
        superseded=tuple(key for key in (*new, *sorted(fixed)) if key in known.rejected),
        replaced=tuple(video_id for video_id in videos if video_id in known.retried),
        num_known=num_known,
    )


def _restage(
    videos: Collection[SourceVideo],
    published: Dataset | None,
    source: Dataset | None,
    retried_texts: Collection[str],
    work: Path,
) -> dict[str, Rejection]:
    """Stage clips and poses that are published in this dataset or in ``poses_from``.

    Returns:
        Rejections of videos that ``poses_from`` does not contain, by ``video_id``.
    """
    again = [video for video in videos if video.video_id in retried_texts]
    if published is not None and again:
        restage(published, again, work)
    if source is None:
        return {}
    return restage_from(source, [v for v in videos if v.video_id not in retried_texts], work)


def _paths_of(source: Dataset | None) -> list[str]:
    """Return the paths of the videos of a dataset."""
    return [] if source is None else [row["path"] for row in source.rows("videos", ["path"])]


def _discard_work_of(video_ids: Collection[str], work: Path) -> None:
    """Remove staged files of published videos, which a killed run left behind."""
    for path in sorted((work / "scans").glob("*.json")):
        if path.stem in video_ids:
            for staged in staged_files(read_staged(StagedScan, path), work):
                staged.unlink(missing_ok=True)


def _read(
    run: Run, files: Iterable[Path], remote: Iterable[RemoteVideo]
) -> Iterator[SourceVideo | Rejection]:
    """Probe and hash files, and videos that are not on this machine."""
    for path, result in _inspect(run, files):
        if isinstance(result, ItemError):
            yield Rejection.of(path_item_id(path), str(path), Stage.INGEST, result)
        else:
            yield result
    for downloads in download_videos(run, remote):
        yield from downloads.known
        for video, error in downloads.failed:
            yield Rejection.of(video.item_id, video.item, Stage.INGEST, error)
        for path, result in _inspect(run, downloads.files):
            video = downloads.files[path]
            if isinstance(result, ItemError):
                yield Rejection.of(video.item_id, video.item, Stage.INGEST, result)
            else:
                named = replace(result, address=video.item, source=video.address)
                write_staged(probe_path(run.work, path), named)
                yield named


def _inspect(run: Run, paths: Iterable[Path]) -> Iterator[tuple[Path, SourceVideo | ItemError]]:
    """Inspect files in worker processes, and stage the results.

    A run that was killed has hashed some of them, which takes long for many large files: these are
    not read again.
    """
    unread: list[Path] = []
    for path in paths:
        video = load_staged(SourceVideo, probe_path(run.work, path))
        if video is not None and _is_unchanged(path, video.probe.size_bytes, video.mtime_ns):
            yield path, video
        else:
            unread.append(path)
    progress = Progress("ingest", len(unread), run.report)
    inspected = run.workers.run(
        inspect_file, unread, video_s=_no_video, size_bytes=size_of, stage="ingest"
    )
    for path, result in inspected:
        if not isinstance(result, ItemError):
            write_staged(probe_path(run.work, path), result)
        yield path, result
        progress.advance(rejected=isinstance(result, ItemError))


def _item_id(video: SourceVideo) -> str:
    if video.source:
        return RemoteVideo(video.source).item_id
    return path_item_id(video.probe.path)


def _discard_probes(videos: Iterable[SourceVideo], work: Path) -> None:
    """Remove the staged results of files that this run does not work on."""
    kept = {probe_path(work, video.probe.path) for video in videos}
    for path in (work / "probes").glob("*.json"):
        if path not in kept:
            path.unlink()


def _is_unchanged(path: Path, size_bytes: int, mtime_ns: int) -> bool:
    now = path.stat()
    return (now.st_size, now.st_mtime_ns) == (size_bytes, mtime_ns)


@dataclass(frozen=True, slots=True)
class _Known:
    """Files and rejections of a published dataset.

    Attributes:
        files: (size, mtime, ``video_id``) of each path.
        copies: paths of the files of each ``video_id``.
        finished: ``video_id`` of videos that need no work.
        retried: ``video_id`` of videos that are processed again.
        retried_texts: subset of ``retried`` for which only the texts are written again.
        rejected: reason of each rejection.
    """

    files: Mapping[str, tuple[int, int, str]]
    copies: Mapping[str, Sequence[str]]
    finished: frozenset[str]
    retried: frozenset[str]
    retried_texts: frozenset[str]
    rejected: Mapping[RejectionKey, str]

    @classmethod
    def of(cls, published: Dataset | None, *, retry: bool) -> "_Known":
        if published is None:
            return cls({}, {}, frozenset(), frozenset(), frozenset(), {})
        files: dict[str, tuple[int, int, str]] = {}
        copies: defaultdict[str, list[str]] = defaultdict(list)
        for row in published.rows("videos", ("video_id", "path", "size_bytes", "mtime_ns")):
            files[row["path"]] = row["size_bytes"], row["mtime_ns"], row["video_id"]
            copies[row["video_id"]].append(row["path"])
        finished = set(copies)
        retried: set[str] = set()
        texts: set[str] = set()
        rejected: dict[RejectionKey, str] = {}
        for row in published.rows("rejections", ("item_id", "video_id", "reason", "stage")):
            rejected[RejectionKey(row["item_id"], Stage(row["stage"]))] = row["reason"]
            if row["stage"] != Stage.INGEST:
                finished.add(row["video_id"])
            if retry and row["reason"] in RETRYABLE:
                (texts if row["stage"] in TEXT_STAGES else retried).add(row["video_id"])
        for table in ("captions", "annotations") if retry else ():
            failed = {"outcome": RETRYABLE_OUTCOMES}
            texts |= {row["video_id"] for row in published.rows(table, ["video_id"], failed)}
        texts -= retried
        return cls(
            files,
            copies,
            frozenset(finished - retried - texts),
            frozenset(retried | texts),
            frozenset(texts),
            rejected,
        )

    def has_unchanged(self, path: Path) -> bool:
        """Whether a file with this path, size and modification time is in the dataset."""
        if str(path) not in self.files:
            return False
        size_bytes, mtime_ns, video_id = self.files[str(path)]
        return _is_unchanged(path, size_bytes, mtime_ns) and video_id in self.finished

    def has_remote(self, remote: RemoteVideo) -> bool:
        """Whether the video of an address is in the dataset and has not changed, if that is known.

        What a server gives for a query, which rows do not have, is not known.
        """
        if remote.item != remote.address or remote.item not in self.files:
            return False
        size_bytes, mtime_ns, video_id = self.files[remote.item]
        same = remote.size_bytes is None or (size_bytes, mtime_ns) == (
            remote.size_bytes,
            remote.modified_ns,
        )
        return same and video_id in self.finished

    def other_copy(self, video: SourceVideo) -> str | None:
        """Return another file of the dataset with the same content that exists, or None.

        Whether a file at an address still exists is not asked.
        """
        for path in self.copies.get(video.video_id, ()):
            if path != video.name and (is_address(path) or Path(path).is_file()):
                return path
        return None


def _no_video(_: Path) -> float:
    return 0.0
