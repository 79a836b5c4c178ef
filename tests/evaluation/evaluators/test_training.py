"""Both evaluators learn to match unseen motions with captions, and are loaded as trained."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.importers.run import MotionImportConfig, import_motions
from data.motion.splits import SplitConfig
from data.synthetic.activities import generate_motion
from data.workers.workers import WorkerConfig
from evaluation.chooser import motion_judge
from evaluation.evaluators.evaluator import Evaluator
from evaluation.evaluators.loading import load_evaluator
from evaluation.evaluators.pairs import PairDataConfig, Pairs, prepare_pairs
from evaluation.evaluators.train_contrastive import PRESETS as CONTRASTIVE_PRESETS
from evaluation.evaluators.train_contrastive import (
    TrainContrastiveConfig,
    train_contrastive_evaluator,
)
from evaluation.evaluators.train_matching import PRESETS as MATCHING_PRESETS
from evaluation.evaluators.train_matching import TrainMatchingConfig, train_matching_evaluator
from evaluation.metrics.matching import match
from tests.support.tiny_bert import save_tiny_bert
from training.checkpoints import CheckpointError
from training.loop import TrainingResult, read_metrics

_STEPS = 80


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 synthetic motions, of which 96 train and about 32 each validate and test."""
    folder = tmp_path_factory.mktemp("pairs") / "dataset"
    import_motions(
        MotionImportConfig(
            sources=("procedural:160:3",),
            dataset=folder,
            mirror=False,
            splits=SplitConfig(train=0.6, val=0.2, test=0.2),
            workers=WorkerConfig(num_workers=1),
        )
    )
    return folder


@pytest.fixture(scope="module")
def unseen(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return prepare_pairs(PairDataConfig(dataset=root), tmp_path_factory.mktemp("cache"))[1]["test"]


def _values(root: Path, run: Path, **more: Any) -> dict[str, Any]:
    loop = {
        "steps": _STEPS,
        "batch_size": 32,
        "learning_rate": 2e-3,
        "warmup_steps": 5,
        "decay": "cosine",
        "clip_norm": 0.5,
        "log_every": 20,
        "validate_every": 40,
        "checkpoint_every": 40,
        "threads": 1,
        "tensorboard": False,
    }
    return {"run": run, "data": {"dataset": root}, "loop": loop, **more}


@pytest.fixture(scope="module")
def matching(root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    sizes = {"movement_width": 64, "motion_width": 64, "text_width": 64}
    run = tmp_path_factory.mktemp("runs") / "matching"
    return train_matching_evaluator(
        TrainMatchingConfig.model_validate(_values(root, run, model=sizes))
    )


@pytest.fixture(scope="module")
def contrastive(
    root: Path, unseen: Pairs, tmp_path_factory: pytest.TempPathFactory
) -> TrainingResult:
    folder = tmp_path_factory.mktemp("contrastive")
    encoder = save_tiny_bert(folder / "bert", unseen.captions())
    sizes = {"width": 64, "layers": 1, "heads": 2, "sentence_width": 64}
    return train_contrastive_evaluator(
        TrainContrastiveConfig.model_validate(
            _values(
                root,
                folder / "run",
                model=sizes,
                sentence_encoder=encoder,
                # Texts of a random network are more alike than those of a trained one.
                max_similarity=0.98,
            )
        )
    )


def _r_precision(evaluator: Evaluator, pairs: Pairs) -> tuple[float, float, float]:
    """R-precision over the clips with different captions, in one group."""
    own = {clip.captions[0]: clip for clip in pairs.clips}
    motions = evaluator.embed_motions([clip.features_TD for clip in own.values()])
    texts = evaluator.embed_texts(list(own))
    assert motions.shape == texts.shape == (len(own), 512)
    return match(texts, motions, group_size=len(own)).r_precision


@pytest.mark.parametrize("kind", ["matching", "contrastive"])
def test_an_evaluator_learns_to_match_unseen_motions(
    kind: str, unseen: Pairs, request: pytest.FixtureRequest
) -> None:
    result: TrainingResult = request.getfixturevalue(kind)
    rows = read_metrics(result.run)
    first, *_, last = (row for row in rows if row["event"] == "validation")
    assert last["loss"] < 0.7 * first["loss"]
    assert last["r_precision_3"] > 2 * first["r_precision_3"]
    evaluator = load_evaluator(result.run)
    assert evaluator.kind == kind
    assert evaluator.name.startswith(f"{kind}-")
    chance = 3 / len({clip.captions[0] for clip in unseen.clips})
    assert _r_precision(evaluator, unseen)[2] > 3 * chance
    # The embedding of a motion does not depend on the others of its batch.
    some = [clip.features_TD for clip in unseen.clips[:5]]
    together = evaluator.embed_motions(some)
    for motion, row in zip(some, together, strict=True):
        np.testing.assert_allclose(evaluator.embed_motions([motion])[0], row, atol=1e-4)


def test_evaluators_have_names_of_their_own(
    matching: TrainingResult, contrastive: TrainingResult, unseen: Pairs
) -> None:
    names = {load_evaluator(result.run).name for result in (matching, contrastive)}
    assert len(names) == 2
    assert load_evaluator(matching.run).name in names
    # Contrastive embeddings have length 1, matching ones any.
    texts = unseen.captions()[:4]
    lengths = np.linalg.norm(load_evaluator(contrastive.run).embed_texts(texts), axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-5)


def test_the_contrastive_evaluator_ignores_redundant_features(
    contrastive: TrainingResult, matching: TrainingResult, unseen: Pairs
) -> None:
    motion = unseen.clips[0].features_TD
    other = np.array(motion)
    other[:, 67:] += 0.5
    for result, same in ((contrastive, True), (matching, False)):
        first, second = load_evaluator(result.run).embed_motions([motion, other])
        assert np.allclose(first, second, atol=1e-4) == same


def test_a_network_tells_motions_apart_that_show_the_same_claims(
    contrastive: TrainingResult, matching: TrainingResult, unseen: Pairs
) -> None:
    judge = motion_judge(contrastive.run)
    own = {clip.captions[0]: clip.features_TD for clip in unseen.clips}
    captions, motions = list(own), list(own.values())
    others = motions[1:] + motions[:1]
    right, wrong = judge(captions, motions), judge(captions, others)
    better = [a > b for a, b in zip(right, wrong, strict=True)]
    assert sum(better) > 0.8 * len(better)
    # The claims count as without a network, and the distance of the embeddings beside them.
    support = motion_judge()(captions, motions)
    evaluator = load_evaluator(contrastive.run)
    distance = np.linalg.norm(
        evaluator.embed_motions(motions) - evaluator.embed_texts(captions), axis=1
    )
    np.testing.assert_allclose(right, np.array(support) - distance * 2 / 3, atol=1e-4)
    # A motion that is too short to be embedded counts as the farthest.
    (short,) = judge(captions[:1], [motions[0][:3]])
    (claims,) = motion_judge()(captions[:1], [motions[0][:3]])
    assert short == pytest.approx(claims - 4 / 3)
    with pytest.raises(ValueError, match="expected a contrastive evaluator, found matching-"):
        motion_judge(matching.run)


def test_another_sentence_encoder_is_refused(contrastive: TrainingResult, tmp_path: Path) -> None:
    other = save_tiny_bert(tmp_path / "other", ["a person walks"])
    with pytest.raises(ValueError, match="expected the sentence encoder"):
        load_evaluator(contrastive.run, sentence_encoder=other)
    (tmp_path / "checkpoint.json").write_text(json.dumps({"format": "x", "kind": "y"}))
    with pytest.raises(CheckpointError, match="text_motion_matching or text_motion_contrastive"):
        load_evaluator(tmp_path)


def test_clips_are_chosen_by_length(root: Path, tmp_path: Path) -> None:
    _, all_pairs = prepare_pairs(PairDataConfig(dataset=root), tmp_path)
    config = PairDataConfig(dataset=root, min_frames=70, max_frames=90)
    _, some = prepare_pairs(config, tmp_path)
    lengths = [len(clip.features_TD) for clip in some["train"].clips]
    assert lengths
    assert min(lengths) >= 70
    assert max(lengths) <= 90
    assert len(some["train"]) + some["train"].left_out.total() == len(all_pairs["train"])
    batch = some["train"].draw(0, 5, 8)
    assert batch == some["train"].draw(0, 5, 8)
    assert len({clip.motion_id for clip, _ in batch}) == 8
    with pytest.raises(ValueError, match="at least 2 clips with captions in the train split"):
        prepare_pairs(PairDataConfig(dataset=root, min_frames=190), tmp_path)


def test_motions_without_captions_are_counted(tmp_path: Path) -> None:
    motions = {f"take{index}": generate_motion("walk_forward", index, 3.0)[0] for index in range(9)}
    np.savez(tmp_path / "takes.npz", allow_pickle=False, **motions)
    folder = tmp_path / "dataset"
    import_motions(
        MotionImportConfig(
            sources=(str(tmp_path / "takes.npz"),),
            dataset=folder,
            mirror=False,
            splits=SplitConfig(train=0.5, val=0.5, test=0.0),
            workers=WorkerConfig(num_workers=1),
        )
    )
    told = (
        r"in the train split, found 0 \(left out: no caption: [1-9]\). Remedy: import more motions"
    )
    with pytest.raises(ValueError, match=told):
        prepare_pairs(PairDataConfig(dataset=folder), tmp_path / "cache")


def test_presets_are_valid(tmp_path: Path) -> None:
    for config_type, presets, more in (
        (TrainMatchingConfig, MATCHING_PRESETS, {}),
        (TrainContrastiveConfig, CONTRASTIVE_PRESETS, {"sentence_encoder": tmp_path}),
    ):
        for values in presets.values():
            config_type.model_validate({**values, **more})


@pytest.mark.corpus
def test_an_evaluator_learns_from_motion_capture(corpus: Path, tmp_path: Path) -> None:
    """Of every 20th take of Bandai-Namco, captioned by its content."""
    with np.load(corpus / "mocap" / "bandai_joints22_20fps.npz") as file:
        found = {name: file[name] for name in file.files}
    spans = list(pairwise(found["offsets"].astype(int).tolist()))[::20]
    chosen = {name: found[name][::20] for name in ("keys", "content")} | {
        "positions": np.concatenate([found["positions"][slice(*span)] for span in spans]),
        "offsets": np.cumsum([0, *(end - start for start, end in spans)]),
        "joint_names": found["joint_names"],
        "fps": found["fps"],
    }
    np.savez(tmp_path / "bandai.npz", allow_pickle=False, **chosen)
    folder = tmp_path / "dataset"
    import_motions(
        MotionImportConfig(
            sources=(str(tmp_path / "bandai.npz"),),
            dataset=folder,
            mirror=False,
            splits=SplitConfig(train=0.6, val=0.3, test=0.1),
            workers=WorkerConfig(num_workers=1),
        )
    )
    sizes = {"movement_width": 64, "motion_width": 64, "text_width": 64}
    values = _values(folder, tmp_path / "run", model=sizes)
    values["loop"]["steps"] = 60
    result = train_matching_evaluator(TrainMatchingConfig.model_validate(values))
    # Chance is 3 of 27 clips, of which several have the same caption.
    assert result.best["r_precision_3"] > 2 * 3 / 27
