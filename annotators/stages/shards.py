"""Order of the stages: shards of videos pass all stages and are published when complete.

Every stage is idempotent. It skips items that are staged or published, so that a killed run
continues where it stopped. Items of one stage run in parallel worker processes.

    sources -> ingest_files -> scan_videos -> estimate_clip_poses -> caption_videos
            -> annotate_videos -> publish_videos

Shards come from the ingest stage, which goes on while the first ones are worked on. The caller
decides how a stage is run on a shard: the flow submits Prefect tasks, and :func:`annotate_dataset`
runs one stage after the other in this thread.
"""

import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from annotators.chat.model import Models
from annotators.config import AnnotateConfig
from annotators.poses.external import open_programs, require_estimator
from annotators.run import Progress, Run, silent
from annotators.stages.clips import scan_videos
from annotators.stages.downloads import hold_downloads
from annotators.stages.estimates import TextEstimate, estimate_texts
from annotators.stages.ingest import Ingested, Shard, ingest_files
from annotators.stages.poses import estimate_clip_poses
from annotators.stages.publish import hold_work, publish_videos, recipe_of
from annotators.stages.staged import StagedScan
from annotators.stages.texts import annotate_videos, caption_videos
from data.records import Rejection
from data.store.writer import open_writer
from data.workers.workers import Workers

Stage = Callable[[Run, Any], list[StagedScan]]


def _with_downloads(
    stage: Stage, reads: Callable[[AnnotateConfig], bool] = lambda _: True
) -> Stage:
    """Return a stage that has the downloaded videos of its shard on the disk while it runs."""

    def work(run: Run, given: Any) -> list[StagedScan]:
        videos = [item.video if isinstance(item, StagedScan) else item for item in given]
        with hold_downloads(run, videos if reads(run.config) else ()):
            return stage(run, given)

    return work


STAGES: Final[Mapping[str, Stage]] = {
    "clips": _with_downloads(scan_videos),
    "poses": _with_downloads(estimate_clip_poses),
    "captions": _with_downloads(
        caption_videos, lambda config: config.captions.captioner != "kinematic"
    ),
    "annotations": annotate_videos,
}
"""Stages in order. The first one takes videos, the others take the result of the one before."""
SHARDS_UNDER_WAY: Final = 4
"""While the last items of one shard are worked on, the next ones keep all workers busy."""
BATCHED_CLIPS: Final = 50_000
"""Texts of so many clips are asked for together if they are batched; a batch has at most so many
requests."""


class Result(Protocol):
    """Result of a stage, which may still be running."""

    def result(self) -> Any:
        """Wait for the scans for the next stage; raises the exception that stopped the stage."""
        ...

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None:
        """Call a function, in any thread, when the stage has ended."""
        ...


StartIngest = Callable[[Callable[[Shard], bool]], Result]
"""Function that starts the ingest stage in another thread. The stage passes each shard to the
function that it is given, which waits until there is room; it ends when that returns False."""


class Submit(Protocol):
    """Function that starts a stage on a shard.

    Args:
        stage: key of ``STAGES``.
        shard: name of the shard, such as ``2/7``.
        given: videos, or the result of the stage before.
    """

    def __call__(self, stage: str, shard: str, given: Any) -> Result:
        """Start the stage."""
        ...


@dataclass
class Worked:
    """Result of all shards of a run.

    Attributes:
        added: number of published rows by table.
        num_shards: number of shards with videos.
        num_known: number of files that were already annotated.
        video_s: duration of the videos that need work, seconds.
        rejections: new rejections of the ingest stage.
        failures: first exception of each shard that failed, and of the ingest stage.
        unpublished: videos that passed all stages and were not published.
        remaining: estimate of the calls that remain; None if there are none.
    """

    added: Counter[str] = field(default_factory=Counter[str])
    num_shards: int = 0
    num_known: int = 0
    video_s: float = 0.0
    rejections: list[Rejection] = field(default_factory=list[Rejection])
    failures: list[Exception] = field(default_factory=list[Exception])
    unpublished: list[StagedScan] = field(default_factory=list[StagedScan])
    remaining: TextEstimate | None = None

    def note(self, shard: Shard) -> None:
        """Add what the ingest stage found."""
        self.num_shards += bool(shard.found.videos)
        self.num_known += shard.found.num_known
        self.video_s += sum(video.probe.duration_s for video in shard.found.videos)
        self.rejections += [rejection for rejection, _ in shard.found.rejections]


def work_through(
    run: Run,
    ingest: StartIngest,
    submit: Submit,
    publish_complete: Callable[[Ingested, Sequence[StagedScan]], Mapping[str, int]],
) -> Worked:
    """Run all stages on all shards, and publish whenever ``publish_clips`` clips are complete.

    Args:
        run: run that the stages share.
        ingest: function that starts the ingest stage.
        submit: function that starts a stage on a shard.
        publish_complete: function that publishes complete videos and what ingest found, and returns
            the number of added rows by table; empty if nothing was published.
    """
    worked = Worked()
    complete: list[StagedScan] = []
    unfinished: list[StagedScan] = []
    found = Ingested()
    num_clips = 0

    def publish() -> None:
        nonlocal found, complete, num_clips
        num_clips = 0
        added = publish_complete(found, complete)
        if added:
            worked.added.update(added)
            # What ingest found is published once.
            found, complete = Ingested(replaced=found.replaced), []

    if any(service.config.batch for service in run.models.services):
        posed = _pass_through(ingest, submit, ("clips", "poses"), worked)
        passed = _in_groups(posed, submit, worked)
    else:
        passed = _pass_through(ingest, submit, tuple(STAGES), worked)
    for shard, results in passed:
        found += replace(shard.found, videos=())
        try:
            # In the order of the stages: the errors of later stages only say that they did not run.
            staged: list[list[StagedScan]] = [result.result() for result in results]
        except Exception as error:  # noqa: BLE001 - the other shards go on; raised at the end
            worked.failures.append(error)
            continue
        if not staged:
            continue
        *_, all_posed, _, done = staged
        ids = {scan.video.video_id for scan in done}
        unfinished += [scan for scan in all_posed if scan.video.video_id not in ids]
        for scan in done:
            complete.append(scan)
            num_clips += len(scan.clips)
            if num_clips >= run.config.publish_clips:
                publish()
    if complete or found.rejections or found.superseded:
        publish()
    worked.unpublished = complete
    if unfinished:
        worked.remaining = estimate_texts(run, unfinished, people_only=True)
    return worked


def estimate_all(run: Run, ingest: StartIngest, submit: Submit) -> Worked:
    """Find the clips of all videos, and estimate the cost of their texts."""
    worked = Worked()
    scans: list[StagedScan] = []
    for _, results in _pass_through(ingest, submit, ("clips",), worked):
        scans += [scan for result in results for scan in result.result()]
    if not worked.failures:
        worked.remaining = estimate_texts(run, scans, people_only=False)
    return worked


def _pass_through(
    ingest: StartIngest, submit: Submit, stages: Sequence[str], worked: Worked
) -> Iterator[tuple[Shard, list[Result]]]:
    """Pass shards through stages as they come, and yield them in order once they have finished.

    At most :data:`SHARDS_UNDER_WAY` are under way; the ingest stage waits for room.

    Args:
        ingest: function that starts the ingest stage.
        submit: function that starts a stage on a shard.
        stages: keys of ``STAGES``.
        worked: result of the run; counts are added, and the failure of the ingest stage.

    Yields:
        Each shard with the results of its stages; a shard without videos has none.
    """
    # A shard that came, the position of one that has finished, or None: the ingest stage has ended.
    events = queue.SimpleQueue[Shard | int | None]()
    room = threading.Semaphore(SHARDS_UNDER_WAY)
    stopped = threading.Event()

    def give(shard: Shard) -> bool:
        room.acquire()
        if not stopped.is_set():
            events.put(shard)
        return not stopped.is_set()

    ingesting = ingest(give)
    ingesting.add_done_callback(lambda _: events.put(None))
    begun: deque[tuple[Shard, list[Result]]] = deque()
    num_yielded = 0
    finished: set[int] = set()
    ended = False
    try:
        while begun or not ended:
            event = events.get()
            if event is None:
                ended = True
            elif isinstance(event, int):
                finished.add(event)
                room.release()
            else:
                position = num_yielded + len(begun)
                results = _begin(event.name, event.found.videos, submit, stages)
                begun.append((event, results))
                worked.note(event)
                if results:
                    results[-1].add_done_callback(lambda _, n=position: events.put(n))
                else:
                    events.put(position)
            while num_yielded in finished:
                finished.remove(num_yielded)
                num_yielded += 1
                yield begun.popleft()
    finally:
        stopped.set()
        room.release()
    try:
        ingesting.result()
    except Exception as error:  # noqa: BLE001 - what was found before is published; raised at the end
        worked.failures.append(error)


def _in_groups(
    posed: Iterable[tuple[Shard, list[Result]]], submit: Submit, worked: Worked
) -> Iterator[tuple[Shard, list[Result]]]:
    """Join posed shards to groups of :data:`BATCHED_CLIPS`, and start the text stages on these.

    Yields:
        What ingest found for a group, with the results of its last stages from poses on.
    """
    begun: deque[tuple[Shard, list[Result], threading.Event]] = deque()
    scans: list[StagedScan] = []
    found = Ingested()
    number = 0

    def begin(*, last: bool) -> None:
        nonlocal scans, found, number
        number += 1
        shard = Shard(f"{number}/{number if last else f'~{number + 1}'}", found)
        results: list[Result] = []
        ended = threading.Event()
        if scans:
            results.append(Finished(scans))
            results += _begin(shard.name, results[0], submit, ("captions", "annotations"))
            results[-1].add_done_callback(lambda _: ended.set())
        begun.append((shard, results, ended))
        scans, found = [], Ingested()

    for shard, results in posed:
        found += replace(shard.found, videos=())
        try:
            scans += [result.result() for result in results][-1] if results else []
        except Exception as error:  # noqa: BLE001 - the other shards go on; raised at the end
            worked.failures.append(error)
        if sum(len(scan.clips) for scan in scans) >= BATCHED_CLIPS:
            begin(last=False)
        while begun and begun[0][2].is_set():
            yield begun.popleft()[:2]
    begin(last=True)
    for shard, results, _ in begun:
        yield shard, results


def _begin(name: str, given: object, submit: Submit, stages: Sequence[str]) -> list[Result]:
    """Start stages on a shard, each on the result of the one before; none without videos."""
    results: list[Result] = []
    for stage in stages if given else ():
        results.append(submit(stage, name, given))
        given = results[-1]
    return results


class Finished:
    """Result of a stage that has finished.

    This is not a dataclass, because Prefect traverses the fields of dataclasses in task parameters.
    """

    def __init__(self, scans: list[StagedScan]) -> None:
        self._scans = scans

    def result(self) -> list[StagedScan]:
        """Return the scans for the next stage."""
        return self._scans

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None:
        """Call a function at once."""
        fn(self)


def items_of(given: Any) -> Any:
    """Return the videos or scans that a stage is given, if the stage before has ended."""
    return given.result() if isinstance(given, Finished) else given


def annotate_dataset(
    config: AnnotateConfig,
    pose_model: Path | None,
    workers: Workers,
    models: Models,
    report: Callable[[Progress], None] = silent,
    *,
    object_detectors: Path | None = None,
    downloads: Path | None = None,
) -> Worked:
    """Annotate videos without Prefect, one stage of one shard at a time.

    Args:
        config: configuration of the run.
        pose_model: file of the pose model; None if poses come from another dataset or estimator.
        workers: worker processes.
        models: models that write the texts.
        report: callback for progress.
        object_detectors: file of the object detectors; None where there is no pose model.
        downloads: folder of the cache of videos that are not on this machine.

    Raises:
        data.workers.unexpected.UnexpectedErrorsError: items failed with an unexpected error. The
            results of the other items are published.
    """
    require_estimator(config.poses)
    with (
        hold_work(config),
        open_writer(config.dataset, recipe_of(config, pose_model)) as writer,
        open_programs(config.poses, writer.work) as programs,
    ):
        run = Run(
            config,
            writer.work,
            workers,
            models=models,
            pose_model=pose_model,
            object_detectors=object_detectors,
            programs=programs,
            downloads=downloads,
            report=report,
        )

        def in_this_thread(stage: str, shard: str, given: Any) -> Finished:
            del shard
            return Finished(STAGES[stage](run, items_of(given)))

        def publish_complete(ingested: Ingested, scans: Sequence[StagedScan]) -> Mapping[str, int]:
            done = publish_videos(writer, ingested, [scan.video.video_id for scan in scans])
            return {} if done is None else done.added

        def ingest(give: Callable[[Shard], bool]) -> None:
            with closing(ingest_files(run, writer.published())) as shards:
                all(map(give, shards))

        with ThreadPoolExecutor(1, thread_name_prefix="ingest") as thread:
            worked = work_through(
                run, lambda give: thread.submit(ingest, give), in_this_thread, publish_complete
            )
    for failure in worked.failures:
        raise failure
    workers.unexpected.require_none()
    return worked
