"""The ``train-all`` flow: from a dataset to an evaluated and versioned motion model.

Each stage has a folder that is named by a hash of its inputs; a finished stage is not run again.
Trainings run in this process's machine, or as deployments on the ``gpu`` work pool.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.deployments import run_deployment
from pydantic import BaseModel, ConfigDict

from data.importers.listing import PLAN_FILES
from data.importers.run import MotionImportConfig
from data.presets import NOTHING, PartOf, one_of
from data.remote.folders import send
from data.store.dataset import Dataset
from data.store.manifest import MANIFEST
from data.store.reviews import read_reviews
from data.synthetic.activities import parse_procedural
from evaluation.evaluators.contrastive import KIND as CHOOSER_KIND
from evaluation.evaluators.contrastive import ContrastiveConfig
from evaluation.evaluators.pairs import PairDataConfig
from evaluation.evaluators.train_contrastive import PRESETS as CHOOSER_PRESETS
from evaluation.evaluators.train_contrastive import TrainContrastiveConfig
from evaluation.model_report.evaluate import load_judges
from evaluation.model_report.files import read_report
from evaluation.promotion import promote
from evaluation.versions import CARD_FILE
from flows.configuration import start_config
from flows.evaluate import evaluate_checkpoints
from flows.motions import import_motions
from flows.paths import require_absolute
from flows.runtime.failures import StageError, stage
from flows.runtime.reporting import describe_state, outlives_server, run_flow, show_markdown
from flows.runtime.start_deployment import find_deployment
from flows.settings import asset_path
from flows.train import TrainingSummary, summary_of, tokenize, train_motion_lm, train_motion_vqvae
from flows.train_all_config import PRESETS, TrainAllConfig
from flows.train_evaluator import train_contrastive_evaluator
from training.language_model.config import KIND as LM_KIND
from training.language_model.config import TrainMotionLmConfig
from training.loop import has_ended
from training.tokenizer.motion_tokenizer import KIND as VQVAE_KIND
from training.tokenizer.tokenize import TokenizeConfig
from training.tokenizer.train import TrainMotionVqvaeConfig
from training.tokenizer.windows import MotionDataConfig


class TrainAllSummary(BaseModel):
    """Result of a run of ``train-all``.

    Attributes:
        model: folder of the model version.
        is_latest: whether ``latest`` points to it.
        why: reason for ``is_latest``.
        metrics: metrics of the evaluation.
        skipped: stages that an earlier run had finished.
    """

    model_config = ConfigDict(frozen=True)

    model: Path
    is_latest: bool
    why: str
    metrics: dict[str, float]
    skipped: tuple[str, ...] = ()


@flow(name="train-all")
@outlives_server
def train_all(
    preset: Annotated[str, one_of(PRESETS)] = "",
    config: Annotated[TrainAllConfig | dict[str, Any], PartOf(TrainAllConfig)] = NOTHING,
) -> TrainAllSummary:
    """Train, evaluate and version a motion model on motions and texts. Resumable.

    Args:
        preset: named set of values that config overrides; empty means none.
        config: sources, output folder, models and training; values that differ from the preset.

    Raises:
        ValueError: the configuration is invalid.
        RuntimeError: a stage failed.
    """
    logger = get_run_logger()
    config = start_config(TrainAllConfig, PRESETS, preset, config)
    paths = [source for source in config.sources if parse_procedural(source) is None]
    judges = config.evaluation.evaluator, config.evaluation.chooser
    paths += [str(judge.run) for judge in judges if judge is not None]
    require_absolute(
        (*paths, config.root), "config.sources, root, evaluation.evaluator.run and chooser.run"
    )
    # What cannot be loaded is told before hours of training.
    load_judges(config.evaluation)
    encoder = None if config.chooser is None else asset_path("sentence_encoder")
    if config.as_deployments:
        for flow_name in ("train-motion-vqvae", "train-motion-lm"):
            find_deployment(flow_name, config.as_deployments, "as_deployments")
    skipped: list[str] = []
    motions, plans = motions_and_plans(config)

    # Run folders are named by a hash of their inputs, so that other inputs are another run.
    tables = Dataset(motions).manifest["tables"]
    vqvae_values = config.vqvae.model_dump(mode="json")
    vqvae_run = (
        config.root / "runs" / _name("vqvae", tables["motions"], config.min_quality, vqvae_values)
    )
    vqvae_config = TrainMotionVqvaeConfig(
        run=vqvae_run,
        data=MotionDataConfig(dataset=motions, min_quality=config.min_quality),
        **dict(config.vqvae),
    )
    vqvae = _stage("train-motion-vqvae", vqvae_config, VQVAE_KIND, config, skipped)
    tokenize(TokenizeConfig(dataset=motions, tokenizer=vqvae.checkpoint))
    _keep(config.root)

    lm_config = TrainMotionLmConfig(
        run=config.root,
        dataset=motions,
        plans=plans,
        tokenizer=vqvae.checkpoint,
        model=config.lm.model,
        instructions=config.lm.instructions,
        min_grounding_score=config.min_grounding_score,
        min_quality=config.min_quality,
        reviews=config.reviews,
        loop=config.lm.loop,
    )
    inputs = [
        config.lm.model_dump(mode="json"),
        vqvae_run.name,
        vqvae.step,
        config.min_grounding_score,
        [Dataset(plan).manifest["tables"]["annotations"] for plan in (*lm_config.plans, motions)],
    ]
    inputs += _reviewed(config, (*plans, motions))
    if config.lm.pretraining is not None:
        first = lm_config.model_copy(
            update={
                "run": config.root / "runs" / _name("lm-pretraining", *inputs),
                "stage": "pretrain",
                "loop": config.lm.pretraining,
            }
        )
        started = _stage("train-motion-lm", first, LM_KIND, config, skipped)
        lm_config = lm_config.model_copy(update={"initial": started.checkpoint})
    lm_config = lm_config.model_copy(update={"run": config.root / "runs" / _name("lm", *inputs)})
    lm = _stage("train-motion-lm", lm_config, LM_KIND, config, skipped)

    chooser: Path | None = None
    if config.chooser is not None:
        values = config.chooser.model_dump(mode="json")
        name = _name("chooser", tables["motions"], config.min_quality, values)
        small = CHOOSER_PRESETS["small"]
        data = {**small["data"], "dataset": motions, "min_quality": config.min_quality}
        chooser_config = TrainContrastiveConfig(
            run=config.root / "runs" / name,
            data=PairDataConfig.model_validate(data),
            model=ContrastiveConfig.model_validate(small["model"]),
            sentence_encoder=encoder,
            loop=config.chooser,
        )
        chooser = _stage(
            "train-contrastive-evaluator", chooser_config, CHOOSER_KIND, config, skipped
        ).checkpoint

    models = config.root / "models"
    folder = evaluate_checkpoints(
        vqvae.checkpoint, lm.checkpoint, lm_config, config.evaluation, models, chooser
    )
    show_markdown((folder / CARD_FILE).read_text(), "train-all-model-card")
    with stage("promotion", str(folder)):
        is_latest, why = promote(models, folder, config.promotion)
    logger.info("%s is %sthe latest: %s", folder, "" if is_latest else "not ", why)
    _keep(config.root)
    return TrainAllSummary(
        model=folder,
        is_latest=is_latest,
        why=why,
        metrics=read_report(folder).metrics,
        skipped=tuple(skipped),
    )


def motions_and_plans(config: TrainAllConfig) -> tuple[Path, tuple[Path, ...]]:
    """Return the dataset of motions to train on, and other datasets whose texts give plans.

    A source that is a dataset of motions is used as it is. Without one, all are imported into a new
    dataset.

    Raises:
        ValueError: there are other motions beside a dataset of motions.
    """
    datasets = [Path(source) for source in config.sources if (Path(source) / MANIFEST).is_file()]
    rows = {path: _rows(path) for path in datasets}
    made = [path for path in datasets if rows[path]["motions"]]
    if not made:
        motions = config.root / "motions"
        _import(config, config.sources, motions)
        return motions, tuple(datasets)
    others = [source for source in config.sources if Path(source) not in datasets]
    more = [*made[1:], *(path for path in datasets if rows[path]["poses"] and path not in made)]
    more += [source for source in others if Path(source).suffix.lower() not in PLAN_FILES]
    if config.texts is not None:
        more.append(config.texts)
    if more:
        raise ValueError(
            f"sources: expected only plans beside the dataset of motions {made[0]}, found "
            f"{', '.join(map(str, more))}. Remedy: import all into one dataset with avatargpt "
            "import-motions, and train on that."
        )
    plans = [path for path in datasets if path != made[0]]
    if others:
        plans.append(config.root / "plans")
        _import(config, others, plans[-1])
    return made[0], tuple(plans)


def _rows(dataset: Path) -> dict[str, int]:
    tables = Dataset(dataset).manifest["tables"]
    return {name: tables[name]["rows"] for name in ("motions", "poses")}


def _reviewed(config: TrainAllConfig, datasets: Sequence[Path]) -> list[Any]:
    """Return what reviews add to the inputs of a training; nothing where nobody reviewed."""
    if not config.reviews:
        return ["published"]
    return [one.review_id for dataset in datasets for one in read_reviews(dataset)]


def _import(config: TrainAllConfig, sources: Sequence[str], dataset: Path) -> None:
    found = MotionImportConfig(
        sources=tuple(sources), dataset=dataset, texts=config.texts, reviews=config.reviews
    )
    run_flow(import_motions, config=found)
    # Runs are named by the motions: another machine that goes on must have the same ones.
    _keep(dataset)


def _keep(folder: Path) -> None:
    """Send what is new in a folder, if it is on S3."""
    with stage("upload", str(folder)):
        send(folder)


def _stage(
    flow_name: str,
    stage: TrainMotionVqvaeConfig | TrainMotionLmConfig | TrainContrastiveConfig,
    kind: str,
    config: TrainAllConfig,
    skipped: list[str],
) -> TrainingSummary:
    if has_ended(stage.run):
        skipped.append(flow_name)
        get_run_logger().info("%s: %s is finished, not run again", flow_name, stage.run)
        return summary_of(stage.run, kind)
    # A chooser takes minutes, and needs a file of this machine.
    if isinstance(stage, TrainContrastiveConfig):
        return run_flow(train_contrastive_evaluator, config=stage, processes=config.processes)
    if config.as_deployments:
        # The configuration is complete, so the preset of the deployment must not be merged into it.
        parameters = {
            "config": stage.model_dump(mode="json"),
            "preset": "",
            "processes": config.processes,
        }
        name = f"{flow_name}/{config.as_deployments}"
        run: Any = run_deployment(name, parameters=parameters)
        if not run.state.is_completed():
            raise StageError(describe_state(f"run {run.name} of {name}", run.state))
        return summary_of(stage.run, kind)
    if isinstance(stage, TrainMotionVqvaeConfig):
        return run_flow(train_motion_vqvae, config=stage, processes=config.processes)
    return run_flow(train_motion_lm, config=stage, processes=config.processes)


def _name(stage: str, *inputs: Any) -> str:
    text = json.dumps(inputs, sort_keys=True, default=str)
    return f"{stage}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
