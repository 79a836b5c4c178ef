"""The annotation pipeline as plain functions: each stage takes a shard of items and stages results.

:mod:`annotators.stages.shards` calls them in order. Every function is idempotent: what is staged or
published is not computed again, so a killed run goes on where it stopped. Items of the same stage
run in parallel worker processes.

    sources -> ingest_files -> scan_videos -> estimate_clip_poses -> caption_videos
            -> annotate_videos -> publish
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from annotators.clips.cutting import ClipConfig, cut_clips, scan_video
from annotators.config import AnnotateConfig
from annotators.poses.estimate import PoseConfig, estimate_poses
from annotators.poses.landmarks import PoseModel
from annotators.run import Progress, Run
from annotators.stages.restaging import TEXT_STAGES, require_same_poses, restage, restage_from
from annotators.stages.staged import (
    SourceVideo,
    StagedAnnotations,
    StagedCaptions,
    StagedPoses,
    StagedScan,
    load_staged,
    poses_path,
    read_staged,
    read_tracks,
    tracks_path,
    video_path,
    write_staged,
)
from annotators.texts.kinematic_captions import people_at_a_time
from data.errors import RETRYABLE, ItemError, Reason, Stage
from data.records import Clip, Outcome, PoseTrack, Rejection, RejectionKey
from data.schemas import (
    Row,
    annotation_row,
    caption_row,
    clip_row,
    pose_row,
    rejection_row,
    video_row,
)
from data.store.dataset import Dataset
from data.store.writer import DatasetWriter, Publication, rows_table, write_table
from data.video.files import hash_file
from data.video.probe import probe_video
from data.video.reader import ReaderConfig, open_frames
from data.video.sources import discover_videos, path_item_id, shortened

RETRYABLE_OUTCOMES: Final = frozenset({Outcome.UNAVAILABLE.value, Outcome.RATE_LIMITED.value})
"""Outcomes of calls that may go away on another day; ``retry_rejected`` tries these again."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What the sources came to.

    Attributes:
        videos: to be worked on, in the order of their paths.
        rejections: new rejection rows, with the video's id where the content was read.
        superseded: published rejections that no longer hold.
        replaced: ``video_id`` of published videos that are tried again.
        num_known: files whose content is already in the dataset, or rejected for good.
    """

    videos: tuple[SourceVideo, ...]
    rejections: tuple[tuple[Rejection, str | None], ...]
    superseded: tuple[RejectionKey, ...]
    replaced: tuple[str, ...]
    num_known: int


# ---------------------------------------------------------------------------------- ingest


def inspect_file(path: Path) -> SourceVideo:
    """Probe and hash one file. Raises :class:`ItemError` when it is no readable video."""
    probe = probe_video(path)
    return SourceVideo(hash_file(path), path.stat().st_mtime_ns, probe)


def ingest_files(run: Run, published: Dataset | None) -> Ingested:
    """Find, probe and hash the sources; set aside what is known, twice there or unreadable.

    Args:
        run: the run.
        published: the dataset as it stands, or None when it is new.

    Returns:
        What to work on, and what to record.

    Raises:
        ValueError: the sources name no file at all, or a list cannot be used.
    """
    config, work = run.config, run.work
    source = None if config.poses_from is None else Dataset(config.poses_from)
    discovery = discover_videos(config.videos or _paths_of(source))
    if not discovery.files and not discovery.rejections:
        raise ValueError(
            f"videos: expected at least one video file in {shortened(config.videos)}, found none. "
            "Remedy: name files, folders with videos, globs, or lists of paths."
        )
    known = _Known.of(published, retry=config.retry_rejected)
    _discard_work_of(known.finished, work)
    changed: list[Path] = []
    num_known = 0
    usable = set(discovery.usable_ids)
    for path in discovery.files:
        if known.has_unchanged(path):
            num_known += 1
            usable.add(path_item_id(path))
        else:
            changed.append(path)

    rejections: dict[RejectionKey, tuple[Rejection, str | None]] = {
        rejection.key: (rejection, None) for rejection in discovery.rejections
    }
    readable: dict[Path, SourceVideo] = {}
    progress = Progress("ingest", len(changed), run.report)
    inspected = run.workers.run(
        inspect_file, changed, video_s=_no_video, size_bytes=_size_bytes, stage="ingest"
    )
    for path, result in inspected:
        if isinstance(result, ItemError):
            rejection = Rejection.of(path_item_id(path), str(path), Stage.INGEST, result)
            rejections[rejection.key] = (rejection, None)
        else:
            readable[path] = result
        progress.advance(rejected=isinstance(result, ItemError))

    videos: dict[str, SourceVideo] = {}
    for path in sorted(readable):
        video = readable[path]
        first = known.other_copy(video) or (
            videos[video.video_id].probe.path if video.video_id in videos else None
        )
        if first is not None:
            error = ItemError(
                Reason.DUPLICATE,
                f"expected new content, found the same bytes as {first}.",
                "Nothing to do: the content is annotated once, under the other path.",
            )
            rejection = Rejection.of(path_item_id(path), str(path), Stage.INGEST, error)
            rejections[rejection.key] = (rejection, video.video_id)
        elif video.video_id in known.finished:
            num_known += 1
        else:
            videos[video.video_id] = video

    strangers = _restage(videos.values(), published, source, known.retried_texts, work)
    rejections |= {rejected.key: (rejected, v) for v, rejected in strangers.items()}
    videos = {v: video for v, video in videos.items() if v not in strangers}

    new = {
        key: value
        for key, value in rejections.items()
        if known.rejected.get(key) != value[0].reason.value
    }
    usable.update(path_item_id(path) for path in readable)
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
    """Stage the clips and poses that are published, here or in the dataset they are taken from.

    Returns:
        Rejections of videos that the other dataset lacks, by ``video_id``.
    """
    again = [video for video in videos if video.video_id in retried_texts]
    if published is not None and again:
        restage(published, again, work)
    if source is None:
        return {}
    return restage_from(source, [v for v in videos if v.video_id not in retried_texts], work)


def _paths_of(source: Dataset | None) -> list[str]:
    """Where a dataset's videos were read."""
    return [] if source is None else [row["path"] for row in source.rows("videos", ["path"])]


def _discard_work_of(video_ids: Collection[str], work: Path) -> None:
    """Remove staged work that a run published but was killed before it could clear away."""
    for path in sorted((work / "scans").glob("*.json")):
        if path.stem in video_ids:
            for staged in _staged_files(read_staged(StagedScan, path), work):
                staged.unlink(missing_ok=True)


def _staged_files(scan: StagedScan, work: Path) -> list[Path]:
    """Every file that the stages may have staged for a video; its scan last."""
    video_id = scan.video.video_id
    return [
        *(path for c in scan.clips for path in (poses_path(work, c), tracks_path(work, c))),
        *(video_path(work, stage, video_id) for stage in ("captions", "annotations", "scans")),
    ]


@dataclass(frozen=True, slots=True)
class _Known:
    """What a published dataset says of files.

    Attributes:
        files: path to (size, mtime, video_id).
        copies: video id to the paths of its files.
        finished: video ids that need no work.
        retried: video ids to be worked on again.
        retried_texts: of them, those of which only texts are to be made again.
        rejected: reason of every rejection.
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
        """Whether this very file is in the dataset, by path, size and time."""
        if str(path) not in self.files:
            return False
        size_bytes, mtime_ns, video_id = self.files[str(path)]
        now = path.stat()
        return (now.st_size, now.st_mtime_ns) == (size_bytes, mtime_ns) and (
            video_id in self.finished
        )

    def other_copy(self, video: SourceVideo) -> Path | None:
        """Another file with the same content that the dataset holds and that still exists."""
        for path in map(Path, self.copies.get(video.video_id, ())):
            if path != video.probe.path and path.is_file():
                return path
        return None


# ----------------------------------------------------------------------------------- clips


@dataclass(frozen=True, slots=True)
class _ScanJob:
    video: SourceVideo
    config: ClipConfig


def _scan(job: _ScanJob) -> StagedScan:
    scan = scan_video(job.video.probe.path, job.video.probe, job.config)
    clips, rejections = cut_clips(job.video.video_id, scan, job.config)
    return StagedScan(job.video, scan, tuple(clips), tuple(rejections))


def scan_videos(run: Run, videos: Sequence[SourceVideo]) -> list[StagedScan]:
    """Decode every video once, small; find its shots; cut them into clips; stage the result."""
    staged = {
        v.video_id: load_staged(StagedScan, video_path(run.work, "scans", v.video_id))
        for v in videos
    }
    todo = [_ScanJob(v, run.config.clips) for v in videos if staged[v.video_id] is None]
    # The longest first, so that no worker is left with it when the others have finished.
    todo.sort(key=_scan_s, reverse=True)
    progress = Progress("clips", len(todo), run.report)
    for job, result in run.workers.run(
        _scan, todo, video_s=_scan_s, name=_video_name, stage="clips"
    ):
        video = job.video
        if isinstance(result, ItemError):
            item = str(video.probe.path)
            rejection = Rejection.of(video.video_id, item, Stage.CLIPS, result)
            scan = StagedScan(video, None, (), (rejection,))
        else:
            scan = result
        write_staged(video_path(run.work, "scans", video.video_id), scan)
        staged[video.video_id] = scan
        progress.advance(video_s=video.probe.duration_s, rejected=scan.scan is None)
    return [scan for scan in staged.values() if scan is not None]


# ----------------------------------------------------------------------------------- poses


@dataclass(frozen=True, slots=True)
class _PoseJob:
    video: SourceVideo
    clip: Clip
    poses: PoseConfig
    reader: ReaderConfig
    model_path: Path
    work: Path


_models: dict[Path, PoseModel] = {}


def _model(path: Path) -> PoseModel:
    """The worker's own model, loaded once per process."""
    if path not in _models:
        _models[path] = PoseModel.load(path)
    return _models[path]


def _estimate(job: _PoseJob) -> StagedPoses:
    clip, probe = job.clip, job.video.probe
    tracks_path(job.work, clip).unlink(missing_ok=True)
    tracks: list[PoseTrack] = []
    rejection = None
    with open_frames(
        probe.path,
        probe,
        start_s=clip.start_s,
        end_s=clip.end_s,
        sample_fps=job.poses.sample_fps,
        max_side_px=job.poses.max_side_px,
        config=job.reader,
    ) as reader:
        try:
            tracks = estimate_poses(reader, clip, probe, job.poses, _model(job.model_path))
        except ItemError as error:
            rejection = Rejection.of(clip.clip_id, _clip_name(job), Stage.POSES, error)
    if tracks:
        table = rows_table("poses", [pose_row(clip, t, job.model_path.stem) for t in tracks])
        write_table(tracks_path(job.work, clip), "poses", table)
    quality = sum(t.quality for t in tracks) / len(tracks) if tracks else 0.0
    return StagedPoses(
        clip,
        people_at_a_time(tracks) if tracks else 0,
        len(tracks),
        reader.decoder,
        quality,
        reader.issues,
        rejection,
    )


def estimate_clip_poses(run: Run, scans: Sequence[StagedScan]) -> list[StagedScan]:
    """Track the people of every clip and stage their poses.

    Returns:
        The same scans, for the stages of texts.
    """
    config, work = run.config, run.work
    (work / "poses").mkdir(parents=True, exist_ok=True)
    todo: list[_PoseJob] = []
    for scan in scans:
        for clip in scan.clips:
            if not poses_path(work, clip).exists():
                if run.pose_model is None:
                    raise AssertionError(f"{clip.clip_id}: expected staged poses, found none")
                todo.append(
                    _PoseJob(scan.video, clip, config.poses, config.reader, run.pose_model, work)
                )
    progress = Progress("poses", len(todo), run.report)
    estimated = run.workers.run(_estimate, todo, video_s=_pose_s, name=_clip_name, stage="poses")
    for job, result in estimated:
        if isinstance(result, ItemError):
            rejection = Rejection.of(job.clip.clip_id, _clip_name(job), Stage.POSES, result)
            poses = StagedPoses(job.clip, 0, 0, "none", 0.0, (), rejection)
            # The worker may have been stopped after it wrote its tracks.
            tracks_path(work, job.clip).unlink(missing_ok=True)
        else:
            poses = result
        write_staged(poses_path(work, job.clip), poses)
        progress.advance(video_s=_pose_s(job), rejected=poses.rejection is not None)
    return list(scans)


# --------------------------------------------------------------------------------- publish


def publish(
    writer: DatasetWriter, ingested: Ingested, video_ids: Collection[str]
) -> Publication | None:
    """Publish the staged results of complete videos, and the rejections of ingest.

    Args:
        writer: of the dataset.
        ingested: the run's sources.
        video_ids: videos whose every stage is staged.

    Returns:
        What changed, or None when there was nothing to publish. A first publication without any
        annotation is not made: the dataset's recipe would bind a run with a better one.
    """
    work = writer.work
    rows: dict[str, list[Row]] = {
        name: [] for name in ("videos", "clips", "captions", "annotations", "rejections")
    }
    poses: list[pa.Table] = []
    rows["rejections"] += [rejection_row(r, video_id) for r, video_id in ingested.rejections]
    finished: list[Path] = []
    for video_id in video_ids:
        scan = read_staged(StagedScan, video_path(work, "scans", video_id))
        finished += _staged_files(scan, work)
        rows["rejections"] += [rejection_row(r, video_id) for r in scan.rejections]
        if scan.scan is None:
            continue
        for clip in scan.clips:
            staged = read_staged(StagedPoses, poses_path(work, clip))
            rows["clips"].append(
                clip_row(
                    clip,
                    num_people=staged.num_people,
                    num_tracks=staged.num_tracks,
                    decoder=staged.decoder,
                    quality=staged.quality,
                    issues=staged.issues,
                )
            )
            if staged.rejection is not None:
                rows["rejections"].append(rejection_row(staged.rejection, video_id))
            if staged.num_tracks:
                poses.append(read_tracks(work, clip))
        captions = read_staged(StagedCaptions, video_path(work, "captions", video_id))
        texts = read_staged(StagedAnnotations, video_path(work, "annotations", video_id))
        for rejection in (*captions.rejections, *texts.rejections):
            rows["rejections"].append(rejection_row(rejection, video_id))
        rows["captions"] += [caption_row(caption) for caption in captions.captions]
        clips = {clip.clip_id: clip for clip in scan.clips}
        rows["annotations"] += [annotation_row(a, clips[a.clip_id]) for a in texts.annotations]
        video = scan.video
        rows["videos"].append(
            video_row(
                video_id, video.mtime_ns, video.probe, scan.scan, len(scan.clips), texts.coarse
            )
        )
    replaced = [video_id for video_id in ingested.replaced if video_id in set(video_ids)]
    if writer.published() is None and not rows["annotations"]:
        return None
    if not any(rows.values()) and not ingested.superseded:
        return None
    tables = {name: rows_table(name, listed) for name, listed in rows.items() if listed}
    if poses:
        tables["poses"] = pa.concat_tables(poses)
    publication = writer.publish(
        tables, replace_rejections=ingested.superseded, replace_videos=replaced
    )
    for path in finished:
        path.unlink(missing_ok=True)
    return publication


def recipe_of(config: AnnotateConfig, model_path: Path | None) -> dict[str, Any]:
    """What decides the rows of a run's dataset.

    Args:
        config: the run's configuration.
        model_path: the pose model; None where poses are taken over, which name their model.

    Raises:
        data.store.manifest.DatasetError: clips and poses are to be taken from a dataset that cannot
            give them.
    """
    if config.poses_from is None:
        if model_path is None:
            raise AssertionError("expected a pose model or poses_from, found neither")
        return config.recipe(file_sha256(model_path))
    made_with = Dataset(config.poses_from).manifest["recipe"].get("pose_model", "")
    recipe = config.recipe(made_with if model_path is None else file_sha256(model_path))
    require_same_poses(config.poses_from, recipe)
    return recipe


def list_rejections(ingested: Ingested, scans: Sequence[StagedScan], work: Path) -> list[Rejection]:
    """What a run rejected, as it is staged.

    Args:
        ingested: the run's sources.
        scans: videos that went through the stages.
        work: the folder of staged work.
    """
    found = [rejection for rejection, _ in ingested.rejections]
    for scan in scans:
        found += scan.rejections
        poses = (load_staged(StagedPoses, poses_path(work, clip)) for clip in scan.clips)
        found += [staged.rejection for staged in poses if staged and staged.rejection]
    return found


def _clip_name(job: _PoseJob) -> str:
    return f"{job.video.probe.path} {job.clip.start_s:.2f}-{job.clip.end_s:.2f} s"


def _no_video(_: Path) -> float:
    return 0.0


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # It went away meanwhile; its worker says so.
        return 0


def _video_name(job: _ScanJob) -> str:
    return str(job.video.probe.path)


def _scan_s(job: _ScanJob) -> float:
    return job.video.probe.duration_s


def _pose_s(job: _PoseJob) -> float:
    return job.clip.end_s - job.clip.start_s


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
