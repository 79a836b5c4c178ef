"""What the stages of one annotation run share, and how they tell of their progress."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path

from annotators.chat.model import NO_MODELS, Models
from annotators.config import AnnotateConfig
from data.workers.workers import Workers


@dataclass(slots=True)
class Progress:
    """How far a stage is; ``report`` is called when it begins and after every finished item.

    Attributes:
        stage: its name.
        total: items to do.
        report: is told.
        done, rejected: items so far; ``rejected`` counts those of ``done`` that failed.
        video_s: seconds of video in the finished items.
        cost_usd: what the calls so far cost, those that earlier runs paid for included.
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
        """So many more items are finished."""
        self.done += items
        self.rejected += rejected
        self.video_s += video_s
        self.cost_usd += cost_usd
        self.report(self)


def silent(_: Progress) -> None:
    """A reporter that tells nobody."""


class Run:
    """What the stages of one run share. No dataclass: Prefect takes those in parameters apart.

    Attributes:
        config: the configuration.
        work: folder of staged work.
        workers: where the work is done; they count the run's unexpected errors.
        models: that write the texts.
        pose_model: model file; None where every clip's poses are staged already.
        report: told of every finished item.
    """

    def __init__(
        self,
        config: AnnotateConfig,
        work: Path,
        workers: Workers,
        *,
        models: Models = NO_MODELS,
        pose_model: Path | None = None,
        report: Callable[[Progress], None] = silent,
    ) -> None:
        self.config = config
        self.work = work
        self.workers = workers
        self.models = models
        self.pose_model = pose_model
        self.report = report

    def reporting_to(self, report: Callable[[Progress], None]) -> "Run":
        """The same run with another reporter, such as that of one shard."""
        run = copy(self)
        run.report = report
        return run
