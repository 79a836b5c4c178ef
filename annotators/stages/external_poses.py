"""Poses of clips by another estimator: a program of the user, or a folder with its results."""

import os
import platform
import shutil
import zipfile
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from annotators.motion.framing import people_at_a_time
from annotators.poses.estimate import PoseConfig
from annotators.poses.external import read_tracks, results_path
from annotators.poses.programs import (
    ExternalPoseConfig,
    PosePrograms,
    ProgramEndedError,
    ProgramStartError,
    Span,
)
from annotators.run import Run
from annotators.stages.staged import SourceVideo, StagedPoses, write_tracks
from data.errors import ItemError, Reason
from data.records import Clip
from data.video.files import size_of

CLIPS_PER_JOB = 32
"""Clips of one video that a program gets at a time; a killed run loses no more per device."""
DECODER = "external"
"""Value of the column ``decoder``: the program decodes the video itself."""


@dataclass(frozen=True, slots=True)
class ExternalJob:
    """A clip whose poses come from another estimator.

    Attributes:
        video: the video.
        clip: the clip.
        poses: the configuration.
        work: folder of staged work.
        path: file with the results; None until there is one.
    """

    video: SourceVideo
    clip: Clip
    poses: PoseConfig
    work: Path
    path: Path | None = None

    @property
    def model(self) -> str:
        """Name of the estimator."""
        return self.poses.external.model if self.poses.external is not None else ""


_Results = list[tuple[ExternalJob, Path | ItemError]]


def take_poses(
    run: Run, jobs: Sequence[ExternalJob]
) -> Iterator[tuple[ExternalJob, StagedPoses | ItemError]]:
    """Get the poses of clips from the estimator, and check and convert them in worker processes.

    Args:
        run: run that the stages share.
        jobs: clips without poses.

    Raises:
        annotators.poses.programs.ProgramStartError: the program does not start.
    """
    if run.config.poses.estimator == "results":
        yield from _converted(run, jobs)
        return
    programs = run.programs
    if programs is None:
        raise AssertionError("expected pose programs, found none")
    groups = list(_groups(jobs))
    on_cluster = run.config.workers.executor == "ray"
    estimated = _by_workers(run, programs, groups) if on_cluster else _by_threads(programs, groups)
    with closing(estimated):
        for results in estimated:
            yield from ((job, error) for job, error in results if isinstance(error, ItemError))
            done = [replace(job, path=path) for job, path in results if isinstance(path, Path)]
            yield from _converted(run, done)
            shutil.rmtree(_output(results[0][0]), ignore_errors=True)


def _converted(
    run: Run, jobs: Sequence[ExternalJob]
) -> Iterator[tuple[ExternalJob, StagedPoses | ItemError]]:
    yield from run.workers.run(_convert, jobs, size_bytes=_size_bytes, name=_name, stage="poses")


def _convert(job: ExternalJob) -> StagedPoses:
    external, probe = job.poses.external, job.video.probe
    path = job.path
    if path is None:
        if external is None or external.results is None:
            raise AssertionError("expected a folder with results, found none")
        path = results_path(external.results, probe.path)
    tracks = read_tracks(path, job.clip, probe, job.poses)
    write_tracks(job.work, job.clip, tracks, job.model)
    quality = sum(track.quality for track in tracks) / len(tracks)
    people = people_at_a_time(tracks)
    return StagedPoses(job.clip, people, len(tracks), DECODER, quality, (), None)


def _size_bytes(job: ExternalJob) -> int:
    return size_of(job.path) if job.path is not None else 0


def _name(job: ExternalJob) -> str:
    return f"{job.video.name} {job.clip.start_s:.2f}-{job.clip.end_s:.2f} s"


# ---------------------------------------------------------------------------------- programs


def _output(job: ExternalJob) -> Path:
    """Return the folder for the results of a group that begins with a clip."""
    return job.work / "external" / job.clip.clip_id


def _groups(jobs: Sequence[ExternalJob]) -> Iterator[list[ExternalJob]]:
    """Group clips by video, at most :data:`CLIPS_PER_JOB` at a time."""
    by_video: dict[str, list[ExternalJob]] = {}
    for job in jobs:
        by_video.setdefault(job.video.video_id, []).append(job)
    for clips in by_video.values():
        for first in range(0, len(clips), CLIPS_PER_JOB):
            yield clips[first : first + CLIPS_PER_JOB]


def _by_threads(
    programs: PosePrograms, groups: Sequence[Sequence[ExternalJob]]
) -> Generator[_Results]:
    """Run the programs of this machine, one per device."""
    threads = ThreadPoolExecutor(len(programs.config.devices), thread_name_prefix="pose-program")
    try:
        for future in as_completed([threads.submit(_estimated, programs, g) for g in groups]):
            yield future.result()
    finally:
        threads.shutdown(cancel_futures=True)


def _estimated(programs: PosePrograms, group: Sequence[ExternalJob]) -> _Results:
    """Run the program on clips of one video.

    If it ends or hangs, results that are complete are kept, and each clip without one is tried once
    more in a job of its own, so that one clip costs no other its poses.
    """
    output = _output(group[0])
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    results: _Results = []
    try:
        errors = _run(programs, group, output)
    except ProgramEndedError:
        for job in group:
            path = output / f"{job.clip.clip_id}.npz"
            if zipfile.is_zipfile(path):
                results.append((job, path))
            else:
                path.unlink(missing_ok=True)
                results.append((job, _estimated_alone(programs, job, output)))
        return results
    return [(job, _result_of(job, errors, output)) for job in group]


def _estimated_alone(programs: PosePrograms, job: ExternalJob, output: Path) -> Path | ItemError:
    try:
        errors = _run(programs, [job], output)
    except ProgramEndedError as error:
        reason = Reason.ESTIMATOR_TIMEOUT if error.timed_out else Reason.ESTIMATOR_FAILED
        limit = "raise poses.external.timeout_per_video_s, or " if error.timed_out else ""
        return ItemError(
            reason,
            f"expected poses of the clip from {job.model}, found twice that {error}",
            f"Run the program on this clip alone, {limit}correct it, and run again with "
            "retry_rejected.",
        )
    return _result_of(job, errors, output)


def _result_of(job: ExternalJob, errors: dict[str, str], output: Path) -> Path | ItemError:
    path = output / f"{job.clip.clip_id}.npz"
    error = errors.get(job.clip.clip_id)
    if error is None and path.is_file():
        return path
    found = f"the error: {error}" if error is not None else f"no file {path.name} in its output"
    return ItemError(
        Reason.ESTIMATOR_FAILED,
        f"expected poses of the clip from {job.model}, found {found}.",
        "Correct the program, and run again with retry_rejected; a clip without people is a file "
        "without rows.",
    )


def _run(programs: PosePrograms, jobs: Sequence[ExternalJob], output: Path) -> dict[str, str]:
    probe = jobs[0].video.probe
    spans = [
        Span(c.clip_id, c.start_s, c.end_s, c.start_frame, c.end_frame)
        for c in (job.clip for job in jobs)
    ]
    return programs.run(probe.path, float(probe.fps), spans, output)


# ------------------------------------------------------------------------------ on a cluster


@dataclass(frozen=True, slots=True)
class _WorkerJob:
    """Clips of one video for the program of a worker."""

    config: ExternalPoseConfig
    logs: Path
    group: tuple[ExternalJob, ...]

    @property
    def limit_s(self) -> float:
        """Longest time that the program itself is given: once together, then each clip alone."""
        clips_s = sum(job.clip.end_s - job.clip.start_s for job in self.group)
        runs = len(self.group) + 1
        starts_s = runs * (self.config.start_timeout_s + self.config.min_timeout_s)
        return starts_s + 2 * self.config.timeout_per_video_s * clips_s


def _by_workers(
    run: Run, programs: PosePrograms, groups: Sequence[Sequence[ExternalJob]]
) -> Generator[_Results]:
    """Let workers of the cluster run the program, one each.

    A program uses the first of the configured devices; Ray shows each worker its own GPUs.
    """
    # Of this machine only the configuration goes to workers, not the environment with its keys.
    config = programs.config.model_copy(update={"devices": programs.config.devices[:1]})
    jobs = [_WorkerJob(config, programs.logs, tuple(group)) for group in groups]
    per_video_s = run.config.workers.timeout_per_video_s
    done = run.workers.run(
        _estimated_by_worker,
        jobs,
        video_s=lambda job: job.limit_s / per_video_s,
        name=lambda job: str(job.group[0].video.probe.path),
        stage="poses",
    )
    with closing(done):
        for job, result in done:
            if isinstance(result, ProgramStartError):
                raise result
            if isinstance(result, ItemError):
                yield [(one, result) for one in job.group]
            else:
                yield result


def _estimated_by_worker(job: _WorkerJob) -> _Results | ProgramStartError:
    programs = _programs_of_worker(job.config.model_dump_json(), job.logs)
    try:
        return _estimated(programs, job.group)
    except ProgramStartError as error:
        return error


@cache
def _programs_of_worker(config_json: str, logs: Path) -> PosePrograms:
    """Return the program that this process keeps running; it ends with the process."""
    config = ExternalPoseConfig.model_validate_json(config_json)
    return PosePrograms(config, logs / f"logs-{platform.node()}-{os.getpid()}")
