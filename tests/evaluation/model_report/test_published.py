"""HumanML3D's protocol, and published results beside comparable figures only."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from data.exporters import write_humanml3d
from data.importers.run import MotionImportConfig, import_motions
from data.motion.features import joints_to_features, mirror_features
from data.motion.splits import Split
from data.synthetic.activities import generate_motion
from data.workers.workers import WorkerConfig
from evaluation.evaluators.evaluator import EvaluatorKind
from evaluation.evaluators.loading import load_evaluator
from evaluation.evaluators.results import PUBLISHED
from evaluation.model_report import text_to_motion
from evaluation.model_report.material import Material
from evaluation.model_report.page import page_of
from evaluation.model_report.tables import Table
from evaluation.pages.writing import render_page
from tests.evaluation.model_report.conftest import Measured
from tests.support.runs import lm_config
from training.inference.motion_model import MotionModel
from training.loop import TrainingResult
from training.tokenizer.tokenize import TokenizeConfig, tokenize_motions


@pytest.fixture(scope="module")
def protocol(
    motion_model: MotionModel, vqvae_run: TrainingResult, tmp_path_factory: pytest.TempPathFactory
) -> Material:
    """A dataset in the layout of HumanML3D, whose test split is 000003 to 000005 and M000003."""
    folder = tmp_path_factory.mktemp("humanml3d")
    splits: tuple[Split, ...] = ("train", "train", "val", "test", "test", "test")
    # The last two are one frame too long, and as long as the protocol allows.
    for index, (split, length_s) in enumerate(zip(splits, (4, 4, 4, 4, 10.1, 9.95), strict=True)):
        joints, captions = generate_motion("walk_forward", index, length_s)
        features = joints_to_features(joints)
        write_humanml3d(folder / "source", f"{index:06d}", features, captions, split)
        if index == 3:
            mirrored = mirror_features(features)
            write_humanml3d(folder / "source", "M000003", mirrored, captions, split)
    root = folder / "dataset"
    import_motions(
        MotionImportConfig(
            sources=(str(folder / "source"),),
            dataset=root,
            mirror=False,
            workers=WorkerConfig(num_workers=1),
        )
    )
    tokenize_motions(TokenizeConfig(dataset=root, tokenizer=vqvae_run.run))
    training = lm_config(root, vqvae_run.run, folder / "lm")
    return Material(motion_model, training, folder / "cache", humanml3d_protocol=True)


def test_the_protocol_has_mirror_images_and_its_lengths(
    protocol: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = protocol.captioned(99, 0)
    assert len(protocol.motions) == 4
    assert sorted(len(protocol.real(one)) for one in asked) == [76, 76, 196]
    # Four motions are not the test set of HumanML3D; here they stand for it.
    assert not protocol.is_humanml3d_test(asked)
    names = ["000003", "000004", "000005", "M000003"]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    monkeypatch.setattr("evaluation.evaluators.results._HUMANML3D_NAMES", digest)
    assert protocol.is_humanml3d_test(asked)
    assert not protocol.is_humanml3d_test(asked[1:])


def test_published_results_stand_beside_the_published_evaluator_only(
    measured: Measured, motion_model: MotionModel, evaluator_run: Path
) -> None:
    own = measured.evaluated.report.table("t2m")
    assert own is not None
    assert own.published == ()
    assert not any("published" in note for note in own.notes)
    # A published evaluator on motions of another dataset.
    published: EvaluatorKind = "published"
    evaluator = load_evaluator(evaluator_run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "kind", published)
        found = text_to_motion.text_to_motion(
            motion_model, measured.material, measured.config, evaluator
        )
    assert found is not None
    assert found.table.published == ()
    assert found.table.notes[-1].startswith(
        "Published results cannot be compared: the clips are not those of HumanML3D's test set"
    )


def test_the_page_shows_published_results_apart(measured: Measured) -> None:
    report = measured.evaluated.report

    def page_with(published: Table) -> str:
        tables = tuple(published if one.name == "t2m" else one for one in report.tables)
        changed = report.model_copy(update={"tables": tables})
        return render_page(page_of(replace(measured.evaluated, report=changed)))

    table = report.table("t2m")
    assert table is not None
    assert "published (" not in page_with(table)
    page = page_with(table.model_copy(update={"published": PUBLISHED}))
    assert page.count("MoMask, published (Guo et al., CVPR 2024)") == 1
    assert page.count("AvatarGPT, published (Zhou et al., CVPR 2024)") == 1
    assert ">0.807<" in page
