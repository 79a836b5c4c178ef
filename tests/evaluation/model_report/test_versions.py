"""Model folders, promotion of versions, and whether figures can be measured again."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.model_report.files import compared, read_report
from evaluation.model_report.material import Material
from evaluation.model_report.page import page_of
from evaluation.model_report.tables import Figure, Row, Table
from evaluation.pages.writing import render_page
from evaluation.promotion import Criterion, PromotionConfig, promote
from evaluation.reproduce import reproduce
from evaluation.versions import write_evaluated
from tests.evaluation.model_report.conftest import Measured
from tests.support.evaluations import evaluated_with
from training.checkpoints import CheckpointError
from training.inference.motion_model import load_motion_model
from training.instructions.tasks import Instruction

GOOD = {
    "t2m_activity": 0.8,
    "t2m_activity_real": 1.0,
    "t2m_caption_shown": 0.4,
    "t2m_caption_shown_real": 0.5,
    "reconstruction_mpjpe_mm": 30.0,
}


def _version(models: Path, name: str, metrics: dict[str, float], **measured: Any) -> Path:
    folder = models / name
    folder.mkdir(parents=True)
    report = evaluated_with(metrics, model=name, **measured).report
    (folder / "evaluation.json").write_text(report.model_dump_json())
    return folder


# --------------------------------------------------------------------------------------- folders


def test_a_model_folder_has_its_evaluation_and_answers_alone(
    measured: Measured, tmp_path: Path
) -> None:
    folder = measured.folder
    report = measured.evaluated.report
    assert read_report(folder).metrics == report.metrics
    assert not list(folder.rglob("trainer.safetensors"))
    card = (folder / "README.md").read_text()
    shown = f"{100 * report.metrics['t2m_activity_real']:.1f} %"
    assert re.search(rf"\| Text to motion: Activity right \| .* \| {shown} \|", card)
    assert "Copying the nearest training example is better" in card
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert not re.findall(r"(?:src|href)=[\"'](?!#|data:)", page)
    assert measured.evaluated.shown[0].caption in page
    # The version before stands beside the main figures.
    other = compared(report, report.model_copy(update={"metrics": GOOD}), "v-0")
    page = render_page(page_of(replace(measured.evaluated, report=other)))
    assert "Compared with v-0" in page
    assert "80.0 %" in page
    shutil.copytree(folder, tmp_path / "moved")
    (features,) = load_motion_model(tmp_path / "moved").text_to_motion(["a person waves"], 2.0)
    assert features.shape == (40, 263)
    # Another evaluation of the same version replaces the first.
    write_evaluated(tmp_path / "moved", evaluated_with(GOOD))
    assert read_report(tmp_path / "moved").metrics == GOOD
    assert "Not measured." in (tmp_path / "moved" / "README.md").read_text()
    with pytest.raises(CheckpointError, match=r"found no evaluation.json\. Remedy: run"):
        read_report(tmp_path)


# ------------------------------------------------------------------------------------- promotion


def test_a_version_is_promoted_unless_a_figure_is_worse(tmp_path: Path) -> None:
    config = PromotionConfig()
    first = _version(tmp_path, "v-1", GOOD)
    is_latest, why = promote(tmp_path, first, config)
    assert is_latest
    assert why.startswith("the first version; t2m_activity relative to real is 0.8")
    assert promote(tmp_path, first, config) == (True, "it was the latest before")
    # Better joints do not make up for motions that no longer do what the text says.
    worse = {**GOOD, "t2m_activity": 0.5, "reconstruction_mpjpe_mm": 20.0}
    is_latest, why = promote(tmp_path, _version(tmp_path, "v-2", worse), config)
    assert not is_latest
    assert why == ("worse than v-1; t2m_activity relative to real is 0.5, was 0.8 (tolerance 10%)")
    assert (tmp_path / "latest").resolve() == first.resolve()
    # Harder items are harder for real motions too.
    harder = {**GOOD, "t2m_caption_shown": 0.33, "t2m_caption_shown_real": 0.4}
    third = _version(tmp_path, "v-3", harder, hashes={"test": "2"})
    is_latest, why = promote(tmp_path, third, config)
    assert is_latest
    assert "t2m_caption_shown relative to real is 0.825, was 0.8" in why
    assert why.endswith("mind that the test items differ")
    assert (tmp_path / "latest").resolve() == third.resolve()
    strict = PromotionConfig(
        criteria=(Criterion(figure="reconstruction_mpjpe_mm", higher_is_better=False, tolerance=0),)
    )
    near = {**GOOD, "reconstruction_mpjpe_mm": 30.1}
    assert not promote(tmp_path, _version(tmp_path, "v-4", near), strict)[0]


def test_a_figure_that_does_not_exist_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    config = PromotionConfig(criteria=(Criterion(figure="t2m_acitvity"),))
    with pytest.raises(ValueError, match=r"t2m_acitvity, found .* correct promotion\.criteria"):
        promote(tmp_path, _version(tmp_path, "v-1", GOOD), config)
    # Without captions in the test split there is no text-to-motion to compare.
    only = {"reconstruction_mpjpe_mm": 30.0}
    assert promote(tmp_path, _version(tmp_path, "v-2", only), PromotionConfig())[0]


def test_a_version_of_an_older_release_can_be_compared(tmp_path: Path) -> None:
    old = tmp_path / "v-old"
    old.mkdir()
    metrics = {"reconstruction_mpjpe_mm": 31.0, "t2m_class_accuracy": 0.4}
    (old / "evaluation.json").write_text(
        json.dumps({"metrics": metrics, "items": {"t2m": 6}, "examples": {}})
    )
    (tmp_path / "latest").symlink_to("v-old")
    is_latest, why = promote(tmp_path, _version(tmp_path, "v-1", GOOD), PromotionConfig())
    assert is_latest
    assert why.startswith("not worse than v-old; reconstruction_mpjpe_mm is 30, was 31; ")
    assert "not compared, because a version lacks it: t2m_activity relative to real" in why
    assert why.endswith("mind that it was measured by an older release")


def test_versions_are_compared_with_what_differs() -> None:
    one, other = evaluated_with(GOOD).report, evaluated_with(GOOD, model="v-0").report
    before = compared(one, other, "v-0").before
    assert before is not None
    assert (before.same, before.model) == (True, "v-0")
    changed = evaluated_with(GOOD, evaluator="matching-1", hashes={"test": "2"}).report
    before = compared(one, changed, "v-0").before
    assert before is not None
    assert before.why == "the test items differ; the evaluators differ (none, matching-1)"


# ----------------------------------------------------------------------------------- reproduction


@pytest.fixture
def model(measured: Measured, tmp_path: Path) -> Path:
    """A copy of the evaluated model."""
    folder = tmp_path / "model"
    shutil.copytree(measured.folder, folder)
    return folder


def _edit(model: Path, name: str, value: Any) -> None:
    file = model / "evaluation.json"
    found = json.loads(file.read_text())
    found[name] |= value
    file.write_text(json.dumps(found))


def test_figures_are_measured_again_and_drift_is_named(measured: Measured, model: Path) -> None:
    wrong = measured.evaluated.report.metrics["t2m_fid"] * 1.01
    _edit(model, "metrics", {"t2m_fid": wrong, "t2m_gone": 1.0})
    found = reproduce(model, measured.cache)
    assert [(one.name, one.was) for one in found.drifts] == [
        ("t2m_fid", wrong),
        ("t2m_gone", 1.0),
    ]
    assert found.drifts[0].found == pytest.approx(measured.evaluated.report.metrics["t2m_fid"])
    assert found.drifts[1].found is None
    assert found.figures > 100


def test_an_evaluation_without_the_rows_that_a_release_added_is_reproduced(
    measured: Measured, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def others(_: Material, asked: list[Instruction], seed: int) -> dict[int, Instruction]:
        del seed
        return dict(enumerate(asked[1:]))

    assert "t2m_fid_another" not in measured.evaluated.report.metrics
    monkeypatch.setattr(Material, "others", others)
    assert not reproduce(model, measured.cache).drifts
    # One that has them is compared with them.
    row = Row(name="another", items=5, values={"fid": Figure(value=1e9)})
    table = Table(name="t2m", rows=(row,)).model_dump(mode="json")
    found = json.loads((model / "evaluation.json").read_text())
    found["tables"].append(table)
    found["metrics"]["t2m_fid_another"] = 1e9
    (model / "evaluation.json").write_text(json.dumps(found))
    assert "t2m_fid_another" in {one.name for one in reproduce(model, measured.cache).drifts}


def test_other_data_and_evaluators_are_told_before_anything_is_measured(
    measured: Measured, model: Path, tmp_path: Path, vqvae_run: Any
) -> None:
    moved = tmp_path / "moved"
    with pytest.raises(ValueError, match=r"expected a dataset .* at .*moved, found none"):
        reproduce(model, measured.cache, dataset=moved)
    with pytest.raises(ValueError, match=r"expected the evaluator contrastive-\w+ at .*moved"):
        reproduce(model, measured.cache, evaluator=moved)
    with pytest.raises(CheckpointError, match="Remedy: "):
        reproduce(model, measured.cache, evaluator=vqvae_run.run)
    hashes = {"test": "0", "motions": "0"}
    report = measured.evaluated.report
    assert report.measured is not None
    _edit(model, "measured", {"hashes": {**report.measured.hashes, **hashes}})
    with pytest.raises(ValueError, match=r"found others \(changed: motions, test\)\. Remedy: "):
        reproduce(model, measured.cache)
    _edit(model, "measured", {"hashes": {}, "evaluator": "contrastive-0"})
    with pytest.raises(ValueError, match="expected the evaluator contrastive-0, found contr"):
        reproduce(model, measured.cache)
    _edit(model, "measured", {"config": {"item": 3}})
    with pytest.raises(ValueError, match="expected a configuration that this release knows"):
        reproduce(model, measured.cache)
    (model / "evaluation.json").write_text('{"metrics": {}, "items": {}, "examples": {}}')
    with pytest.raises(ValueError, match="found that of an older release"):
        reproduce(model, measured.cache)
