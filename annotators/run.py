"""State that the stages of one annotation run share, and their progress reports."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path

from annotators.chat.model import NO_MODELS, Models
from annotators.config import AnnotateConfig
from annotators.poses.programs import PosePrograms
from data.remote.downloads import DEFAULT_FOLDER, open_cache
from data.workers.workers import Workers


@dataclass(slots=True)
class Progress:
    """Progress of a stage. ``report`` is called at the start and after every finished item.

    Attributes:
        stage: name of the stage.
        total: number of items.
        report: callback that receives this object.
        done: number of finished items, including failed ones.
        rejected: number of failed items.
        video_s: duration of video in the finished items, seconds.
        cost_usd: cost of the calls so far, including cached replies paid for by earlier runs.
    """

    stage: str
    total: int
    report: Callable[["Progress"], None]
    done: int = 0
    rejected: int = 0
    video_s: float = 0.0
    cost_usd: float = 0.0

    def __post_init__(self) -> None:
        if self.total:
            self.report(self)

    def advance(
        self,
        *,
        items: int = 1,
        video_s: float = 0.0,
        rejected: bool = False,
        cost_usd: float = 0.0,
    ) -> None:
        """Add finished items and report the progress."""
        self.done += items
        self.rejected += rejected
        self.video_s += video_s
        self.cost_usd += cost_usd
        self.report(self)


def silent(_: Progress) -> None:
    """Ignore a progress report."""


class Run:
    """State that the stages of one run share.

    This is not a dataclass, because Prefect traverses the fields of dataclasses in task parameters.

    Attributes:
        config: configuration of the run.
        work: folder of staged work.
        workers: worker processes, which also count the unexpected errors of the run.
        models: models that write the texts.
        pose_model: file of the pose model; None if the poses of all clips are already staged, or
            come from another estimator.
        object_detectors: file of the object detectors; None where there is no pose model.
        programs: processes of the pose estimator ``command``; None for any other.
        downloads: cache of the videos that are not on this machine; made of the folder of that
            name.
        report: callback for the progress of stages.
    """

    def __init__(
        self,
        config: AnnotateConfig,
        work: Path,
        workers: Workers,
        *,
        models: Models = NO_MODELS,
        pose_model: Path | None = None,
        object_detectors: Path | None = None,
        programs: PosePrograms | None = None,
        downloads: Path | None = None,
        report: Callable[[Progress], None] = silent,
    ) -> None:
        self.config = config
        self.work = work
        self.workers = workers
        self.models = models
        self.pose_model = pose_model
        self.object_detectors = object_detectors
        self.programs = programs
        self.downloads = open_cache(downloads or DEFAULT_FOLDER, config.downloads)
        self.report = report

    def reporting_to(self, report: Callable[[Progress], None]) -> "Run":
        """Return a copy of the run with another callback, such as that of one shard."""
        run = copy(self)
        run.report = report
        return run
