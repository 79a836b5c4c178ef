"""What generates the motions of the page: one model, one queue, one request at a time.

Shapes: T is the number of frames at 20 fps, J = 22 the number of joints, D = 263 the number of
features.
"""

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, StringConstraints

from annotators.grounding.checks import ground_claims, ground_statement
from annotators.motion.describe import MotionDescription, describe_motion
from annotators.pictures.stick_figure import describe_steps
from browser.clips import UnknownItemError
from data.config import Config
from data.motion.features import features_to_joints, stream_joints
from data.motion.skeleton import FPS
from data.store.manifest import MANIFEST
from training.checkpoints import CheckpointError
from training.inference.long_motion import ImaginationError, ImagineConfig, imagine
from training.inference.motion_model import MODEL_FILE, Features, MotionModel
from training.language_model.config import BETWEEN, CHOSEN, Sampling

MAX_SEEDS: Final = 4
MAX_SECONDS: Final = 20.0
"""Maximum length of one motion that is asked for, and of each end of an in-between."""
MAX_SCENE_SECONDS: Final = 120.0
KEPT: Final = 64
"""Number of the newest motions that can be downloaded and joined."""
MAX_WAITING: Final = 8
"""Number of requests that wait for the model; further ones are refused."""

Event = dict[str, Any]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1 - MAX_SEEDS)]
Seconds = Annotated[float | None, Field(ge=0.4, le=MAX_SECONDS)]

_log = logging.getLogger(__name__)


class BusyError(RuntimeError):
    """Too many requests wait for the model."""


class TextRequest(Config):
    """Motions of one text, with as many seeds."""

    text: Text = Field(description="Description of the motion.")
    count: int = Field(default=1, ge=1, le=MAX_SEEDS, description="Number of motions.")
    seed: Seed = Field(default=0, description="Seed of the first; the next ones follow it.")
    seconds: Seconds = Field(default=None, description="Length; empty: the model decides.")


class SceneRequest(Config):
    """A plan in a scene, and its motion."""

    scene: Text = Field(description="Description of the scene.")
    seconds: float = Field(default=20.0, ge=2, le=MAX_SCENE_SECONDS, description="Minimum length.")
    seed: Seed = Field(default=0, description="Seed of plan and motion.")


class BetweenRequest(Config):
    """The motion between two motions of the page."""

    head: str = Field(description="Id of the motion of the beginning.")
    tail: str = Field(description="Id of the motion of the ending.")
    seed: Seed = Field(default=0, description="Seed of the middle.")
    seconds: Seconds = Field(
        default=None, description="Length of the middle; empty: the model decides."
    )


@dataclass(frozen=True, slots=True)
class Made:
    """A motion that was generated.

    Attributes:
        title: what it shows.
        features_TD: (T, D) features, not normalized.
        joints_TJ3: (T, J, 3) positions, meters, y up.
        steps: start_s, end_s and text of its steps.
    """

    title: str
    features_TD: Features
    joints_TJ3: NDArray[np.float32]
    steps: tuple[tuple[float, float, str], ...] = ()


Work = Callable[[MotionModel], Iterator[Event]]


@dataclass(slots=True)
class Job:
    """A request and the events that answer it; the last event is ``end``.

    Attributes:
        work: generates the events.
        events: events so far.
    """

    work: Work
    events: list[Event] = field(default_factory=list)
    _canceled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """End the job after the motion, or the piece of one, that is being generated."""
        self._canceled.set()

    @property
    def ended(self) -> bool:
        """Whether no further event will come."""
        return bool(self.events) and self.events[-1]["event"] == "end"

    def run(self, model: MotionModel) -> None:
        """Generate the events."""
        try:
            if not self._canceled.is_set():
                self.events.append({"event": "begin"})
                for event in self.work(model):
                    if self._canceled.is_set():
                        break
                    self.events.append(event)
        except (ValueError, ImaginationError, UnknownItemError) as error:
            self.fail(str(error))
        except Exception as error:  # noqa: BLE001 - the page tells it, the log has the traceback
            _log.exception("generation")
            self.fail(
                f"The generation failed: {error!r}. Remedy: see the output of avatargpt play."
            )
        finally:
            self.events.append({"event": "end"})

    def fail(self, message: str) -> None:
        """Say why the rest of the answer is missing."""
        self.events.append({"event": "failed", "message": message})


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that is no model, before anything slow is loaded.

    Raises:
        CheckpointError: there is no such folder, or it holds something else.
    """
    if (folder / MODEL_FILE).is_file():
        return
    remedy = (
        "Remedy: train a model with make demo-train (minutes) or avatargpt train-all, and give the "
        "folder that it prints, such as models/latest."
    )
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: expected the folder of a model, found none. {remedy}")
    if (folder / MANIFEST).is_file():
        raise CheckpointError(
            f"{folder}: expected the folder of a model, found a dataset. {remedy} "
            f"A dataset is shown by avatargpt browse {folder}."
        )
    raise CheckpointError(
        f"{folder}: expected the folder of a model, found no {MODEL_FILE} in it. {remedy}"
    )


class Studio:
    """A model with the queue of what it is asked for.

    Args:
        load: loads the model; called in the thread of the studio.
    """

    def __init__(self, load: Callable[[], MotionModel]) -> None:
        self._load = load
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._jobs: list[Job] = []
        self._made: OrderedDict[str, Made] = OrderedDict()
        self._lock = threading.Lock()
        self._number = 0
        self.state = "loading"
        """``loading``, ``ready``, or ``failed``, with the reason in :attr:`problem`."""
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="studio", daemon=True)

    def __enter__(self) -> "Studio":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel everything, and wait until the piece that is being generated is done."""
        with self._lock:
            for job in self._jobs:
                job.cancel()
        self._waiting.put(None)
        self._thread.join()

    def motions_of(self, asked: TextRequest) -> Job:
        """Begin to generate the motions of a text.

        Raises:
            BusyError: too many requests wait.
        """
        return self._begin(lambda model: self._of_text(model, asked))

    def motion_in(self, asked: SceneRequest) -> Job:
        """Begin to plan in a scene and to generate the motion of the plan.

        Raises:
            BusyError: too many requests wait.
        """
        return self._begin(lambda model: self._of_scene(model, asked))

    def motion_between(self, asked: BetweenRequest) -> Job:
        """Begin to generate the motion between two motions.

        Raises:
            BusyError: too many requests wait.
            UnknownItemError: a motion is not kept any more.
            ValueError: a motion is too long.
        """
        ends = self.made(asked.head), self.made(asked.tail)
        for end in ends:
            seconds = len(end.features_TD) / FPS
            if seconds > MAX_SECONDS:
                raise ValueError(
                    f"{end.title}: expected at most {MAX_SECONDS:g} s on either side of an "
                    f"in-between, found {seconds:.1f} s. Remedy: pick shorter motions."
                )
        return self._begin(lambda model: self._of_ends(model, *ends, asked))

    def made(self, motion_id: str) -> Made:
        """Return a motion that was generated.

        Raises:
            UnknownItemError: it is not kept any more, or never was.
        """
        with self._lock:
            if motion_id not in self._made:
                raise UnknownItemError(
                    f"Motion {motion_id[:40]!r}: expected one of the newest {KEPT} of this server, "
                    "found none. Remedy: generate it again; the same seed gives the same motion."
                )
            return self._made[motion_id]

    # ------------------------------------------------------------------------------- the thread

    def _begin(self, work: Work) -> Job:
        job = Job(work)
        with self._lock:
            self._jobs = [one for one in self._jobs if not one.ended]
            ahead = len(self._jobs)
            if ahead >= MAX_WAITING:
                raise BusyError(
                    f"Expected at most {MAX_WAITING} requests at a time, found {ahead} that wait. "
                    "Remedy: wait until one has ended, or cancel one."
                )
            self._jobs.append(job)
            job.events.append({"event": "queued", "ahead": ahead})
        self._waiting.put(job)
        return job

    def _run(self) -> None:
        model = self._loaded()
        while (job := self._waiting.get()) is not None:
            if model is None:
                job.fail(self.problem)
                job.events.append({"event": "end"})
            else:
                job.run(model)

    def _loaded(self) -> MotionModel | None:
        try:
            model = self._load()
        except (CheckpointError, OSError, ValueError) as error:
            self.problem = str(error)
        except Exception as error:  # noqa: BLE001 - the page tells it, the log has the traceback
            _log.exception("model")
            self.problem = f"The model cannot be loaded: {error!r}. Remedy: train it again."
        else:
            self.state = "ready"
            return model
        self.state = "failed"
        return None

    def _keep(self, made: Made) -> str:
        with self._lock:
            self._number += 1
            motion_id = f"m{self._number}"
            self._made[motion_id] = made
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        return motion_id

    # ------------------------------------------------------------------------------ generation

    def _of_text(self, model: MotionModel, asked: TextRequest) -> Iterator[Event]:
        for seed in range(asked.seed, asked.seed + asked.count):
            sampling = _seeded(CHOSEN, seed)
            (features,) = model.text_to_motion([asked.text], asked.seconds, sampling)
            yield self._shown(model, features, f"seed {seed}", asked.text)

    def _of_ends(
        self, model: MotionModel, head: Made, tail: Made, asked: BetweenRequest
    ) -> Iterator[Event]:
        sampling = _seeded(BETWEEN, asked.seed)
        ends = head.features_TD, tail.features_TD
        features = model.in_between(*ends, asked.seconds, sampling)
        yield self._shown(model, features, f"{head.title}, then {tail.title}", "")

    def _shown(self, model: MotionModel, features: Features, label: str, text: str) -> Event:
        joints = features_to_joints(features)
        (told,) = model.motion_to_text([features])
        title = f"{text} ({label})" if text else label
        made = Made(title, features, joints, tuple(describe_steps(joints)))
        return {
            "event": "motion",
            "id": self._keep(made),
            "label": label,
            "seconds": len(joints) / FPS,
            "joints": _flat(joints),
            "description": told,
            "measured": [step for _, _, step in made.steps],
            "grounding": _grounded(text, describe_motion(joints)) if text else None,
        }

    def _of_scene(self, model: MotionModel, asked: SceneRequest) -> Iterator[Event]:
        usual = ImagineConfig()
        config = ImagineConfig(
            seconds=asked.seconds,
            plan=_seeded(usual.plan, asked.seed),
            motion=_seeded(usual.motion, asked.seed),
            between=_seeded(usual.between, asked.seed),
        )
        long = imagine(model, asked.scene, None, config)
        pieces: list[Features] = []

        def kept() -> Iterator[torch.Tensor]:
            for piece in long.features():
                pieces.append(piece)
                yield torch.from_numpy(piece)

        shown: list[NDArray[np.float32]] = []
        told = 0
        for piece in stream_joints(kept()):
            shown.append(piece.numpy())
            spans = [asdict(span) for span in long.plan[told:]]
            told = len(long.plan)
            yield {"event": "piece", "joints": _flat(shown[-1]), "plan": spans}
        joints = np.concatenate(shown)
        steps = tuple((span.start_s, span.end_s, span.step or "(in between)") for span in long.plan)
        made = Made(asked.scene, np.concatenate(pieces), joints, steps)
        description = describe_motion(joints)
        yield {
            "event": "whole",
            "id": self._keep(made),
            "seconds": len(joints) / FPS,
            "notes": long.notes,
            "groundings": [
                _grounded(span.step, description, span.start_s, span.end_s) if span.step else None
                for span in long.plan
            ],
        }


def _seeded(sampling: Sampling, seed: int) -> Sampling:
    return sampling.model_copy(update={"seed": seed})


def _flat(joints_TJ3: NDArray[np.float32]) -> list[float]:
    """Return positions in whole millimeters, frame by frame."""
    return joints_TJ3.astype(np.float64).round(3).ravel().tolist()


def _grounded(
    text: str, description: MotionDescription, start_s: float = 0.0, end_s: float | None = None
) -> Event:
    """Check a text against its own motion; the whole, and what it claims."""
    end = description.end_s if end_s is None else end_s
    found = ground_statement(text, description, start_s=start_s, end_s=end)
    claims = ground_claims(text, description, start_s=start_s, end_s=end)
    return {
        "verdict": found.verdict,
        "measurement": found.measurement,
        "claims": [
            {"word": one.claim.word, "verdict": one.verdict, "measurement": one.measurement}
            for one in claims
        ],
    }
