"""Running a flow from a command: its configuration, its presets and its interruption."""

import codecs
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any, Final, Literal

import typer
import yaml
from pydantic import BaseModel
from pydantic_core import from_json

from data.presets import Presets, check_names, merge, parse_assignments
from flows.configuration import resolve_config
from flows.deployments import DEPLOYMENTS_FILE
from flows.runtime.interruption import STOP_LIMIT_S, keep_when_stopped
from flows.runtime.progress_bars import progress_bars
from flows.server.process import use_some_server
from flows.settings import quiet_prefect

CHECKPOINT_LIMIT_S: Final = 25.0
"""Time that a training gets to finish its step and save a checkpoint."""
CLIPS_KEPT: Final = "finished clips are kept; run the same command to resume"
MOTIONS_KEPT: Final = "published motions are kept; run the same command to resume"
CHECKPOINT_KEPT: Final = "a checkpoint is kept; run the same command to resume"
NOTHING_KEPT: Final = "nothing was written; run the same command again"
"""Messages of an interrupted command."""


@dataclass(frozen=True)
class FlowCommand:
    """A flow that a command runs. Its modules are imported lazily, because that takes seconds.

    Attributes:
        flow: ``module:function``.
        config: ``module:class`` of its configuration; the module also defines ``PRESETS``.
        kept: message of an interrupted command: what is kept and how to resume.
        limit_s: time that the work gets to stop.
    """

    flow: str
    config: str
    kept: str
    limit_s: float = STOP_LIMIT_S

    @property
    def config_type(self) -> type[BaseModel]:
        """The configuration class of the flow."""
        return resolve_name(self.config)

    @property
    def presets(self) -> Presets:
        """The presets of the flow by name."""
        return resolve_name(f"{self.config.partition(':')[0]}:PRESETS")

    @property
    def preset_names(self) -> list[str]:
        """The names of :attr:`presets`, read from the deployments, each of which names one.

        Shell completion needs them on every key press, and importing the trainings is slow.
        """
        deployments = yaml.safe_load(DEPLOYMENTS_FILE.read_text())["deployments"]
        entrypoint = self.flow.replace(":", ".")
        return sorted(
            {one["parameters"]["preset"] for one in deployments if one["entrypoint"] == entrypoint}
        )

    def changes(
        self, file: Path | None, assignments: Sequence[str] | None, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Merge the values that override the preset; later arguments take precedence.

        Args:
            file: JSON file with a part of the configuration.
            assignments: values of ``--set``.
            options: values of the command's other options.

        Raises:
            ValueError: the file cannot be read, or a name is not a field.
        """
        config_type = self.config_type
        values = read_config(file)
        check_names(config_type, values)
        assigned = parse_assignments(config_type, assignments or ())
        return merge(config_type, merge(config_type, values, assigned), options)

    def check(self, preset: str, changes: Mapping[str, Any]) -> Any:
        """Resolve and validate the configuration before anything is started.

        Raises:
            ValueError: the preset does not exist, or the configuration is invalid.
        """
        return resolve_config(self.config_type, self.presets, preset, changes)

    def run(
        self,
        preset: str,
        file: Path | None,
        assignments: Sequence[str] | None,
        options: Mapping[str, Any],
        *,
        quiet: bool,
    ) -> Any:
        """Run the flow with the values of a command's options; see :meth:`changes`."""
        return self.run_with(preset, self.changes(file, assignments, options), quiet=quiet)

    def run_with(self, preset: str, changes: Mapping[str, Any], *, quiet: bool) -> Any:
        """Run the flow in this process and return its summary.

        Args:
            preset: name of the preset; empty means none.
            changes: values that override the preset.
            quiet: hide progress bars and log only warnings and errors.
        """
        self.check(preset, changes)
        _ready_for_flow(self.kept, self.limit_s, quiet=quiet)
        from flows.runtime.reporting import run_flow  # noqa: PLC0415 - Prefect's address must be set

        with progress_bars(quiet=quiet):
            return run_flow(resolve_name(self.flow), preset=preset, config=changes)


FLOWS: Final = {
    "annotate": FlowCommand(
        "flows.annotate:annotate_videos", "annotators.config:AnnotateConfig", CLIPS_KEPT
    ),
    "import-motions": FlowCommand(
        "flows.motions:import_motions", "data.importers.run:MotionImportConfig", MOTIONS_KEPT
    ),
    "train-motion-vqvae": FlowCommand(
        "flows.train:train_motion_vqvae",
        "training.tokenizer.train:TrainMotionVqvaeConfig",
        *(CHECKPOINT_KEPT, CHECKPOINT_LIMIT_S),
    ),
    "train-motion-lm": FlowCommand(
        "flows.train:train_motion_lm",
        "training.language_model.config:TrainMotionLmConfig",
        *(CHECKPOINT_KEPT, CHECKPOINT_LIMIT_S),
    ),
    "train-contrastive-evaluator": FlowCommand(
        "flows.train_evaluator:train_contrastive_evaluator",
        "evaluation.evaluators.train_contrastive:TrainContrastiveConfig",
        *(CHECKPOINT_KEPT, CHECKPOINT_LIMIT_S),
    ),
    "train-matching-evaluator": FlowCommand(
        "flows.train_evaluator:train_matching_evaluator",
        "evaluation.evaluators.train_matching:TrainMatchingConfig",
        *(CHECKPOINT_KEPT, CHECKPOINT_LIMIT_S),
    ),
    "train-all": FlowCommand(
        "flows.train_all:train_all",
        "flows.train_all_config:TrainAllConfig",
        *(CHECKPOINT_KEPT, CHECKPOINT_LIMIT_S),
    ),
    "evaluate": FlowCommand(
        "flows.evaluate:evaluate", "evaluation.model_report.config:EvaluateConfig", NOTHING_KEPT
    ),
}
"""The flow that each command runs, by the name of the command; train-evaluator runs one of two."""

ALIASES: Final = {
    "annotate-videos": "annotate",
    "train-vqvae": "train-motion-vqvae",
    "train-lm": "train-motion-lm",
}
"""Hidden names of commands: the name of a flow, and those that older releases had."""


EvaluatorKind = Literal["contrastive", "matching"]
"""Kinds of evaluators that can be trained."""
TRAIN_EVALUATOR: Final = "train-evaluator"


def evaluator_flow(kind: EvaluatorKind) -> FlowCommand:
    """Return the flow that trains an evaluator of a kind."""
    return FLOWS[f"train-{kind}-evaluator"]


def complete_preset(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the names of the presets of a command."""
    command = context.info_name or ""
    if command == TRAIN_EVALUATOR:
        names = evaluator_flow(context.params.get("kind") or "contrastive").preset_names
    else:
        names = FLOWS[ALIASES.get(command, command)].preset_names
    return [name for name in names if name.startswith(incomplete)]


Preset = Annotated[
    str,
    typer.Option(
        help="Named set of values that --config and --set override; empty means none.",
        autocompletion=complete_preset,
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="JSON file with configuration values that override the preset.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="One configuration field, such as loop.steps=500; repeatable.",
    ),
]


def read_config(path: Path | None) -> dict[str, Any]:
    """Read a JSON configuration file; return an empty dictionary without a file.

    Raises:
        ValueError: the file cannot be read or is not a JSON object; the message gives the line.
    """
    if path is None:
        return {}
    try:
        data = path.expanduser().read_bytes()
        # Unlike `json`, it has limits on the depth and on the digits of a number.
        values = from_json(data.removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise ValueError(
            f"{path}: expected a JSON file with the configuration, found: {error.strerror}. "
            "Remedy: correct the path given with --config."
        ) from error
    except ValueError as error:
        found, at, place = str(error).rpartition(" at line ")
        where = f"{path} line {place}" if at else str(path)
        raise ValueError(
            f"{where}: expected JSON in UTF-8, found: {found if at else error}. "
            "Remedy: correct the file."
        ) from error
    if not isinstance(values, dict):
        raise ValueError(
            f"{path} line 1: expected a JSON object, found {type(values).__name__}. "
            'Remedy: write the configuration as {"field": value, …}.'
        )
    return values


def _ready_for_flow(kept: str, limit_s: float = STOP_LIMIT_S, *, quiet: bool = False) -> None:
    """Prepare this process to run a flow. Must be called before Prefect is imported.

    Args:
        kept: message of an interrupted command: what is kept and how to resume.
        limit_s: time that the work gets to stop.
        quiet: log only warnings and errors, as in a terminal with progress bars.
    """
    keep_when_stopped(kept, limit_s)
    quiet_prefect()
    use_some_server(quiet=quiet)
    os.environ.setdefault(
        "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS", "flows.runtime.console.ConsoleHandler"
    )
    if quiet or sys.stderr.isatty():
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
