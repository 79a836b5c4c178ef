"""Ingest stage: find, probe and hash the sources, and select the videos that need work.

It is a stream: a shard of videos is passed on as soon as its files are inspected, while others are
still read. Files are taken in the order of their paths, so that shards, and which of two copies is
the duplicate, do not depend on which file was read first.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
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
from data.video.sources import (
    Discovery,
    RemoteVideo,
    discover_videos,
    path_item_id,
    shortened,
)

RETRYABLE_OUTCOMES: Final = frozenset({Outcome.UNAVAILABLE.value, Outcome.RATE_LIMITED.value})
"""Outcomes of transient failures; ``retry_rejected`` repeats these calls."""
RESTAGED_TOGETHER: Final = 64
"""Rows of so many published videos are read at once, because each reading looks at all parts."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """Files that were inspected, and the videos among them that need work.

    Attributes:
        videos: videos that need work, ordered by path.
        rejections: new rejections, each with the id of the video if its content was read.
        superseded: published rejections that no longer hold.
        replaced: ``video_id`` of published videos that are processed again.
        num_known: number of files whose content is in the dataset or permanently rejected.
    """

    videos: tuple[SourceVideo, ...] = ()
    rejections: tuple[tuple[Rejection, str | None], ...] = ()
    superseded: tuple[RejectionKey, ...] = ()
    replaced: tuple[str, ...] = ()
    num_known: int = 0

    def __add__(self, other: "Ingested") -> "Ingested":
        return Ingested(
            self.videos + other.videos,
            self.rejections + other.rejections,
            self.superseded + other.superseded,
            self.replaced + other.replaced,
            self.num_known + other.num_known,
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """A group of videos that pass the stages together.

    Attributes:
        name: its number and that of all shards, such as ``2/7``, or ``2/~7`` while the latter is
            estimated.
        found: the videos, and all that was found since the shard before. The last shard may have no
            videos.
    """

    name: str
    found: Ingested


def inspect_file(path: Path) -> SourceVideo:
    """Probe and hash one file.

    Raises:
        ItemError: the file is not a readable video.
    """
    probe = probe_video(path)
    return SourceVideo(hash_file(path), path.stat().st_mtime_ns, probe)


def ingest_files(run: Run, published: Dataset | None) -> Generator[Shard]:
    """Find, probe and hash the sources, and skip known, duplicate and unreadable files.

    Files are only read as shards are asked for.

    Args:
        run: run whose configuration names the sources.
        published: published dataset, or None for a new dataset.

    Yields:
        At least one shard. A shard has about ``shard_clips`` clips and at least one video; on a
        cluster at least two clips per worker, because all of its workers work on few shards.

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
    files = _Files(known)
    new_files, new_remote = files.take_discovery(discovery)
    num_new = len(new_files) + len(new_remote)
    inspected = _read(run, new_files, new_remote)
    new = filter(None, itertools.starmap(files.take, inspected))
    together = RESTAGED_TOGETHER if source is not None or known.retried_texts else 1
    worked_on: set[Path] = set()
    number = 1
    num_clips = 0.0
    with closing(inspected):
        while videos := list(itertools.islice(new, together)):
            if config.retry_rejected:
                forget_failures(videos, work)
            strangers = _restage(videos, published, source, known.retried_texts, work)
            for video in videos:
                if video.video_id in strangers:
                    files.reject(strangers[video.video_id], video.video_id)
                    continue
                files.add(video)
                worked_on.add(probe_path(work, video.probe.path))
                num_clips += max(1.0, video.probe.duration_s / config.clips.max_clip_s)
                more = files.num_taken < num_new or video is not videos[-1]
                if more and num_clips >= _clips_of_shard(run):
                    expected = math.ceil(number * num_new / files.num_taken)
                    yield Shard(f"{number}/~{max(expected, number + 1)}", files.collect())
                    number, num_clips = number + 1, 0.0
    _discard_probes(worked_on, work)
    yield Shard(f"{number}/{number}", files.collect())


def _clips_of_shard(run: Run) -> int:
    enough = run.config.shard_clips
    if run.config.workers.executor == "ray":
        # The cluster may grow during a run.
        enough = max(enough, 2 * run.workers.capacity)
    return enough


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
    run: Run, files: Sequence[Path], remote: Sequence[RemoteVideo]
) -> Generator[tuple[str, str, SourceVideo | ItemError]]:
    """Inspect files, and videos that are not on this machine; yield them in the given order.

    Yields:
        Its ``item_id``, its name, and the video or the reason why it is none.
    """
    with closing(_inspect(run, files)) as inspected:
        for path, result in inspected:
            yield path_item_id(path), str(path), result
    with closing(_inspect_remote(run, remote)) as inspected:
        for video, result in inspected:
            yield video.item_id, video.item, result


def _inspect_remote(
    run: Run, videos: Sequence[RemoteVideo]
) -> Generator[tuple[RemoteVideo, SourceVideo | ItemError]]:
    """Download videos and inspect them, some at a time."""
    results: dict[str, SourceVideo | ItemError] = {}
    with closing(download_videos(run, videos)) as downloads:
        for video in videos:
            while video.address not in results:
                some = next(downloads)
                results |= {known.source: known for known in some.known}
                results |= {failed.address: error for failed, error in some.failed}
                for path, result in _inspect(run, [*some.files]):
                    remote = some.files[path]
                    results[remote.address] = result
                    if not isinstance(result, ItemError):
                        named = replace(result, address=remote.item, source=remote.address)
                        write_staged(probe_path(run.work, path), named)
                        results[remote.address] = named
            yield video, results.pop(video.address)


def _inspect(run: Run, paths: Sequence[Path]) -> Generator[tuple[Path, SourceVideo | ItemError]]:
    """Inspect files in worker processes, stage the results, and yield them in the given order.

    A run that was killed has hashed some of them, which takes long for many large files: these are
    not read again.
    """
    results: dict[Path, SourceVideo | ItemError] = {}
    for path in paths:
        video = load_staged(SourceVideo, probe_path(run.work, path))
        if video is not None and _is_unchanged(path, video.probe.size_bytes, video.mtime_ns):
            results[path] = video
    unread = [path for path in paths if path not in results]
    progress = Progress("ingest", len(unread), run.report)
    inspected = run.workers.run(
        inspect_file, unread, video_s=_no_video, size_bytes=size_of, stage="ingest"
    )
    with closing(inspected):
        for path in paths:
            while path not in results:
                read, result = next(inspected)
                if not isinstance(result, ItemError):
                    write_staged(probe_path(run.work, read), result)
                results[read] = result
                progress.advance(rejected=isinstance(result, ItemError))
            yield path, results.pop(path)


def _item_id(video: SourceVideo) -> str:
    if video.source:
        return RemoteVideo(video.source).item_id
    return path_item_id(video.probe.path)


def _discard_probes(kept: Collection[Path], work: Path) -> None:
    """Remove the staged results of files that this run does not work on."""
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


@dataclass(slots=True)
class _Files:
    """What is found of the files, one after the other, and not collected yet.

    Attributes:
        known: files and rejections of the published dataset.
        num_taken: number of inspected files that were taken.
        first: name of the first file of each ``video_id``.
        videos, rejections, superseded, num_known: as in :class:`Ingested`.
    """

    known: "_Known"
    num_taken: int = 0
    first: dict[str, str] = field(default_factory=dict[str, str])
    videos: list[SourceVideo] = field(default_factory=list[SourceVideo])
    rejections: list[tuple[Rejection, str | None]] = field(
        default_factory=list[tuple[Rejection, str | None]]
    )
    superseded: list[RejectionKey] = field(default_factory=list[RejectionKey])
    num_known: int = 0

    def take_discovery(self, discovery: Discovery) -> tuple[list[Path], list[RemoteVideo]]:
        """Take what was found without reading files, and return what must be read."""
        for rejection in discovery.rejections:
            self.reject(rejection, None)
        for item_id in sorted(discovery.usable_ids):
            self._accept(item_id)
        files: list[Path] = []
        for path in discovery.files:
            if self.known.has_unchanged(path):
                self._take_known(path_item_id(path))
            else:
                files.append(path)
        remote: list[RemoteVideo] = []
        for video in discovery.remote:
            if self.known.has_remote(video):
                self._take_known(video.item_id)
            else:
                remote.append(video)
        return files, remote

    def take(self, item_id: str, item: str, result: SourceVideo | ItemError) -> SourceVideo | None:
        """Take an inspected file, and return its video if that needs work."""
        self.num_taken += 1
        if isinstance(result, ItemError):
            self.reject(Rejection.of(item_id, item, Stage.INGEST, result), None)
            return None
        video_id = result.video_id
        other = self.known.other_copy(result) or self.first.get(video_id)
        if other is not None:
            error = ItemError(
                Reason.DUPLICATE,
                f"expected new content, found the same bytes as {other}.",
                "Nothing to do: the content is annotated once, under the other path.",
            )
            self.reject(Rejection.of(item_id, item, Stage.INGEST, error), video_id)
            return None
        if video_id in self.known.finished:
            self._take_known(item_id)
            return None
        self.first[video_id] = result.name
        return result

    def add(self, video: SourceVideo) -> None:
        """Add a video that :meth:`take` returned."""
        self._accept(_item_id(video))
        self.videos.append(video)

    def reject(self, rejection: Rejection, video_id: str | None) -> None:
        """Add a rejection, unless the dataset has it already."""
        reason = self.known.rejected.get(rejection.key)
        if reason == rejection.reason.value:
            return
        self.rejections.append((rejection, video_id))
        if reason is not None:
            self.superseded.append(rejection.key)

    def collect(self) -> Ingested:
        """Return what was found since the last call."""
        found = Ingested(
            videos=tuple(self.videos),
            rejections=tuple(self.rejections),
            superseded=tuple(self.superseded),
            replaced=tuple(v.video_id for v in self.videos if v.video_id in self.known.retried),
            num_known=self.num_known,
        )
        self.videos, self.rejections, self.superseded, self.num_known = [], [], [], 0
        return found

    def _take_known(self, item_id: str) -> None:
        self.num_known += 1
        self._accept(item_id)

    def _accept(self, item_id: str) -> None:
        """Take note of an item that is usable, whatever an earlier run found."""
        key = RejectionKey(item_id, Stage.INGEST)
        if key in self.known.rejected:
            self.superseded.append(key)


def _no_video(_: Path) -> float:
    return 0.0
