"""Every table of a real tiny model: its rows are of the same items, and figures are recomputed."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from annotators.chat.config import ChatConfig
from annotators.chat.service import ChatService
from annotators.motion.describe import describe_motion
from benchmarks.support.chat_server import ChatServer
from data.motion.features import features_to_joints
from data.motion.quality import jitter
from evaluation.chooser import Chooser
from evaluation.duplicates import motion_descriptor, nearest_texts
from evaluation.evaluators.loading import load_evaluator
from evaluation.metrics.distribution import fid
from evaluation.metrics.protocol import ProtocolConfig
from evaluation.model_report import say, text_to_motion
from evaluation.model_report.complete import complete
from evaluation.model_report.config import (
    CoherenceConfig,
    CompletionConfig,
    EvaluationConfig,
    EvaluatorConfig,
)
from evaluation.model_report.evaluate import evaluate_model, load_judges
from evaluation.model_report.findings import findings
from evaluation.model_report.material import Material
from evaluation.model_report.tables import Figure, Row, Table
from tests.evaluation.model_report.conftest import ITEMS, Measured
from training.inference.motion_model import MotionModel
from training.instructions.tasks import Codes, Task
from training.language_model.config import Sampling
from training.language_model.generation import Request
from training.tokenizer.reconstruction import reconstruction


def test_text_to_motion_stands_beside_baselines_of_the_same_items(
    measured: Measured, motion_model: MotionModel
) -> None:
    report, material = measured.evaluated.report, measured.material
    table = report.table("t2m")
    assert table is not None
    assert [row.name for row in table.rows] == [
        "real",
        "round_trip",
        "retrieval",
        "model",
        "chance",
    ]
    assert {row.items for row in table.rows} == {ITEMS}
    asked = material.captioned(ITEMS, measured.config.seed)
    assert len({one.source_id for one in asked}) == ITEMS
    real = [features_to_joints(material.real(one)) for one in asked]
    wanted = [describe_motion(joints).activity for joints in real]
    metrics = report.metrics
    assert metrics["t2m_jitter_m_s3_real"] == pytest.approx(
        np.mean([jitter(one) or 0 for one in real])
    )
    assert metrics["t2m_activity_real"] == 1
    assert metrics["t2m_activity_chance"] == Counter(wanted).most_common(1)[0][1] / ITEMS
    rebuilt = [features_to_joints(motion_model.decode(_codes(one.answer))) for one in asked]
    right = [describe_motion(a).activity == b for a, b in zip(rebuilt, wanted, strict=True)]
    assert metrics["t2m_activity_round_trip"] == np.mean(right)
    low, high = report.intervals["t2m_activity_round_trip"]
    assert low <= metrics["t2m_activity_round_trip"] <= high
    # A copied motion is one of training, whose text is the nearest.
    copied = material.nearest_by_text(Task.T2M, asked, measured.config.seed)
    trained = [one.caption for one in material.train.all_of(Task.T2M)]
    for one, near in zip(asked, copied, strict=True):
        assert near.caption == nearest_texts([one.caption], trained)[0].train
    copies = [features_to_joints(material.real(near, "train")) for near in copied]
    right = [describe_motion(a).activity == b for a, b in zip(copies, wanted, strict=True)]
    assert metrics["t2m_activity_retrieval"] == np.mean(right)
    assert [one["expected"] for one in report.examples["t2m"]] == wanted


def test_the_evaluator_is_named_and_judges_every_row(
    measured: Measured, motion_model: MotionModel, evaluator_run: Path
) -> None:
    report, material = measured.evaluated.report, measured.material
    table = report.table("t2m")
    evaluator = load_evaluator(evaluator_run)
    assert table is not None
    assert report.measured is not None
    assert table.evaluator == report.measured.evaluator == evaluator.name
    asked = material.captioned(ITEMS, measured.config.seed)
    real_NE = evaluator.embed_motions([material.real(one) for one in asked])
    made_NE = evaluator.embed_motions([motion_model.decode(_codes(one.answer)) for one in asked])
    metrics = report.metrics
    assert metrics["t2m_fid_round_trip"] == pytest.approx(fid(made_NE, real_NE), rel=1e-4)
    assert metrics["t2m_fid_real"] == pytest.approx(0, abs=1e-6)
    for row in ("", "_real", "_round_trip", "_retrieval"):
        assert 0 <= metrics[f"t2m_r_precision_1{row}"] <= metrics[f"t2m_r_precision_3{row}"] <= 1
        assert f"t2m_mm_dist{row}" in report.intervals
    assert metrics["t2m_multimodality"] > 0
    assert "t2m_multimodality_real" not in metrics
    assert report.measured.seeds["protocol"] == 0
    # Six items are few: what cannot be compared is said.
    assert any("Diversity is of 6 pairs instead of 300" in note for note in table.notes)
    few = measured.config.model_copy(update={"evaluator": EvaluatorConfig(run=evaluator_run)})
    found = text_to_motion.text_to_motion(motion_model, material, few, evaluator)
    assert found is not None
    assert "t2m_fid" not in found.table.figures()
    assert any("groups of 32 items, and there are 6" in note for note in found.table.notes)


def test_another_real_motion_of_a_caption_shows_what_can_be_reached(
    same_captions: Material, motion_model: MotionModel, evaluator_run: Path
) -> None:
    material = same_captions
    asked = material.captioned(100, 0)
    assert Counter(one.caption for one in asked) == {"wave": 9, "jump": 4, "bow": 1}
    others = material.others(asked, 0)
    # All are asked for, so that half of them are the others; each motion is used once.
    assert Counter(asked[place].caption for place in others) == {"wave": 4, "jump": 2}
    assert all(asked[place].caption == other.caption for place, other in others.items())
    used = [asked[place].source_id for place in others]
    used += [other.source_id for other in others.values()]
    assert len(used) == len(set(used))
    assert others == material.others(asked, 0) != material.others(asked, 1)
    # Those that are not asked for come first.
    few = [one for one in asked if one.caption == "wave"][:4]
    ids = {one.source_id for one in few}
    assert len(material.others(few, 0)) == 4
    assert not ids & {other.source_id for other in material.others(few, 0).values()}

    protocol = ProtocolConfig(group_size=6, repeats=2)
    judge = EvaluatorConfig(run=evaluator_run, protocol=protocol)
    config = EvaluationConfig(items=100, motion=Sampling(), evaluator=judge, pictures=0)
    evaluator = load_evaluator(evaluator_run)
    found = text_to_motion.text_to_motion(motion_model, material, config, evaluator)
    assert found is not None
    rows = {row.name: row for row in found.table.rows if not row.source}
    another, same = rows["another"], rows["model_same"]
    assert another.items == same.items == 6
    assert another.values.keys() >= {"activity", "caption_shown", "fid", "r_precision_3"}
    assert same.values.keys() >= {"activity", "caption_shown"}
    real = [material.real(asked[place]) for place in others]
    motions = [material.real(other) for other in others.values()]
    expected = fid(evaluator.embed_motions(motions), evaluator.embed_motions(real))
    assert another.values["fid"].value == pytest.approx(expected, rel=1e-4)
    assert another.values["fid"].value > 0
    of_each = [
        [describe_motion(features_to_joints(motion)).activity for motion in of_row]
        for of_row in (real, motions)
    ]
    right = [one == other for one, other in zip(*of_each, strict=True)]
    assert another.values["activity"].value == np.mean(right)
    assert any("6 of 14 items have one that stands for no other" in n for n in found.table.notes)
    alone = EvaluationConfig(items=100, motion=Sampling(), pictures=0)
    found = text_to_motion.text_to_motion(motion_model, material, alone)
    assert found is not None
    assert "another" not in {row.name for row in found.table.rows}
    assert any("motion of the caption is left out: 6 of 14" in n for n in found.table.notes)


def test_answers_that_fail_are_counted_and_not_replaced(
    measured: Measured, motion_model: MotionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []

    def answer(requests: list[Request], sampling: Sampling, judge: object) -> list[Codes]:
        del sampling, judge
        asked.extend(requests)
        # Every other answer is empty, and the others never end.
        return [() if index % 2 else (1,) * one.longest for index, one in enumerate(requests)]

    monkeypatch.setattr(motion_model.lm, "answer", answer)
    config = EvaluationConfig(items=ITEMS, pictures=ITEMS)
    found = text_to_motion.text_to_motion(motion_model, measured.material, config)
    assert found is not None
    assert len(asked) == ITEMS
    figures = found.table.figures()
    assert figures["t2m_empty"].value == 0.5
    assert figures["t2m_unended"].value == 0.5
    assert [one.motions["model"] is None for one in found.shown] == [False, True] * (ITEMS // 2)
    assert figures["t2m_activity"].value <= 0.5
    told = findings([found.table], {})
    assert "50.0 % of the answers to captions have no motion." in told
    assert all(one.min_length == 1 != one.max_length for one in asked)
    asked.clear()
    text_to_motion.text_to_motion(
        motion_model, measured.material, config.model_copy(update={"ground_truth_length": True})
    )
    assert all(one.min_length == one.max_length > 1 for one in asked)


def test_the_tokenizer_is_measured_on_the_whole_test_split(
    measured: Measured, motion_model: MotionModel
) -> None:
    report, tokenizer = measured.evaluated.report, motion_model.tokenizer
    whole = reconstruction(
        tokenizer.model, measured.material.motions, tokenizer.stats, tokenizer.device
    )
    assert report.metrics["reconstruction_mpjpe_mm"] == whole["mpjpe_mm"]
    assert report.metrics["reconstruction_perplexity"] == whole["perplexity"]
    assert len(measured.evaluated.rebuilt) == ITEMS
    assert "reconstruction_foot_skate_m_s_real" in report.metrics


@pytest.mark.parametrize("task", [Task.M2M, Task.PREDICT])
def test_completions_stand_beside_straight_lines(
    task: Task, measured: Measured, motion_model: MotionModel
) -> None:
    metrics = measured.evaluated.report.metrics
    for metric in ("ade_mm", "fde_mm", "pose_ade_mm"):
        assert metrics[f"{task}_{metric}_real"] == pytest.approx(0, abs=1e-3)
    assert metrics[f"{task}_speed_kept_real"] == pytest.approx(1)
    assert metrics[f"{task}_best_ade_mm"] <= metrics[f"{task}_ade_mm"]
    (one, *_) = measured.material.asked(task, ITEMS)
    given = [part for part in one.prompt if not isinstance(part, str)]
    real_TJ3 = features_to_joints(measured.material.real(one))
    begin = 4 * len(given[0])
    end = begin + 4 * len(one.answer)
    before = real_TJ3[begin - 1]
    after = before if task is Task.PREDICT else real_TJ3[end]
    share = np.arange(1, end - begin + 1)[:, None, None] / (end - begin + 1)
    apart = np.linalg.norm(before + (after - before) * share - real_TJ3[begin:end], axis=-1)
    update = {"items": 1, "evaluator": None, "completion": CompletionConfig(samples=1, gaps_s=())}
    only = measured.config.model_copy(update=update)
    table = complete(task, motion_model, measured.material, only)
    assert table is not None
    figures = table.figures()
    assert figures[f"{task}_ade_mm_lines"].value == pytest.approx(1000 * apart.mean(), rel=1e-4)
    assert figures[f"{task}_fde_mm_lines"].value == pytest.approx(1000 * apart[-1].mean(), rel=1e-3)


def test_gaps_of_several_lengths_lie_in_the_middle_of_motions(measured: Measured) -> None:
    table = measured.evaluated.report.table("m2m")
    assert table is not None
    lengths = {row.source: row.items for row in table.rows if row.name == "model"}
    assert list(lengths) == ["", "gap of 0.5 s", "gap of 1 s"]
    motions = [len(one) for one in measured.material.motions.motions()]
    # A second is left on either side.
    assert lengths["gap of 1 s"] == min(ITEMS, sum(frames // 4 >= 15 for frames in motions))
    metrics = measured.evaluated.report.metrics
    assert metrics["m2m_ade_mm_lines_gap_of_0_5_s"] < metrics["m2m_ade_mm_lines_gap_of_1_s"]


def test_junctions_stand_beside_motions_that_were_never_cut(measured: Measured) -> None:
    table = measured.evaluated.report.table("joins")
    assert table is not None
    assert [row.name for row in table.rows][:3] == ["uncut", "round_trip", "joined"]
    metrics = measured.evaluated.report.metrics
    assert metrics["joins_peak_jerk_joined"] > 0
    assert metrics["joins_area_under_jerk_uncut"] >= 0


def test_captions_and_plans_stand_beside_copies(measured: Measured) -> None:
    report, material = measured.evaluated.report, measured.material
    questions = material.questions(Task.M2T, ITEMS)
    asked = [one for one, _ in questions]
    everything = material.test.all_of(Task.M2T)
    for one, known in questions:
        assert set(known) == {
            str(other.answer) for other in everything if other.prompt == one.prompt
        }
    near = material.nearest_by_motion(asked)
    own = motion_descriptor(material.real(asked[0]))
    apart = {
        other.source_id: float(
            np.linalg.norm(motion_descriptor(material.real(other, "train")) - own)
        )
        for other in material.train.all_of(Task.M2T)
    }
    assert near[0].source_id == min(apart, key=lambda source: apart[source])
    metrics = report.metrics
    assert {"m2t_bleu4", "m2t_cider_retrieval", "t2s_step_f1", "t2s_looping_references"} <= set(
        metrics
    )
    assert "m2t_bert_f1" not in metrics
    # What the model learned in a few steps is worse than copies, and the report says so.
    assert metrics["t2s_rouge_l"] < metrics["t2s_rouge_l_retrieval"]
    (told,) = [line for line in report.findings if line.startswith("Copying the nearest")]
    assert "task to steps (" in told
    assert metrics["cycle_rouge_l_references"] >= 0
    assert {"ct2t_loss", "m2m_accuracy"} <= set(metrics)
    assert "t2c_loss" not in metrics


def test_plans_are_judged_by_a_model_that_is_named(
    measured: Measured, motion_model: MotionModel, tmp_path: Path
) -> None:
    asked = CoherenceConfig(service=ChatConfig(model="judge"), items=2)
    config = measured.config.model_copy(update={"coherence": asked})
    said = say.say(Task.T2S, motion_model, measured.material, config)
    assert said is not None
    with ChatServer(answer=lambda _: '{"fault": "none", "score": 4}') as server:
        chat = ChatConfig(model="judge", base_url=server.base_url)
        with ChatService(chat, None, tmp_path) as service:
            table, judge = say.coherence(service, config, said)
        # Two copied and two reference plans; those of the model may have no steps.
        assert 4 <= len(server.calls) <= 6
    figures = table.figures()
    assert figures["coherence_coherence_references"].value == 4
    assert figures["coherence_judged_retrieval"].value == 2
    assert judge.startswith("judge, plan_coherence-")


def test_figures_of_sources_stand_apart(measured: Measured, motion_model: MotionModel) -> None:
    material = measured.material
    asked = material.captioned(ITEMS, 0)
    sources = {one.source_id: f"Data Base {index % 2}" for index, one in enumerate(asked)}
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr(material, "_sources", sources)
        config = EvaluationConfig(items=ITEMS, pictures=0)
        found = text_to_motion.text_to_motion(motion_model, material, config)
    assert found is not None
    figures = found.table.figures()
    halves = [figures[f"t2m_activity_retrieval_data_base_{index}"].value for index in (0, 1)]
    assert np.mean(halves) == pytest.approx(figures["t2m_activity_retrieval"].value)


def test_captions_of_sources_stand_apart(measured: Measured, motion_model: MotionModel) -> None:
    material = measured.material
    asked = [one for one, _ in material.questions(Task.M2T, ITEMS)]
    sources = {one.source_id: f"Data Base {index % 2}" for index, one in enumerate(asked)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(material, "_sources", sources)
        said = say.say(Task.M2T, motion_model, material, EvaluationConfig(items=ITEMS))
    assert said is not None
    rows = {(row.name, row.source): row for row in said.table.rows}
    assert [rows["model", f"Data Base {half}"].items for half in (0, 1)] == [3, 3]
    halves = [rows["retrieval", f"Data Base {half}"].values["rouge_l"].value for half in (0, 1)]
    whole = rows["retrieval", ""].values["rouge_l"].value
    assert np.mean(halves) == pytest.approx(whole)
    # All motions of this dataset are of one source.
    own = measured.evaluated.report.table("m2t")
    assert own is not None
    assert {row.source for row in own.rows} == {""}


def test_a_baseline_that_is_better_is_told() -> None:
    def row(name: str, value: float) -> Row:
        return Row.model_validate(
            {"name": name, "items": 9, "values": {"rouge_l": {"value": value}}}
        )

    table = Table(name="t2s", rows=(row("model", 40.0), row("retrieval", 45.5)))
    assert findings([table], {}) == (
        "Copying the nearest training example is better than the model on task to steps (ROUGE-L "
        "45.5 against 40.0).",
    )
    assert (
        findings([Table(name="t2s", rows=(row("model", 50.0), row("retrieval", 45.5)))], {}) == ()
    )
    lines = {"ade_mm": Figure(value=3.0)}
    tables = [
        Table(
            name="m2m",
            rows=(
                replace_values(row("model", 0.0), {"ade_mm": Figure(value=5.0)}),
                replace_values(row("lines", 0.0), lines),
            ),
        )
    ]
    assert "in-between (ADE 3.0 against 5.0)" in findings(tables, {})[0]


def replace_values(row: Row, values: dict[str, Figure]) -> Row:
    return row.model_copy(update={"values": values})


def _codes(answer: str | Codes) -> Codes:
    assert not isinstance(answer, str)
    return answer


def test_a_network_does_not_judge_what_it_chose(tmp_path: Path) -> None:
    values = {"evaluator": {"run": tmp_path}, "chooser": {"run": tmp_path}}
    with pytest.raises(ValueError, match="expected another network than"):
        EvaluationConfig.model_validate(values)
    values["chooser"] = {"run": tmp_path / "other"}
    chooser = EvaluationConfig.model_validate(values).chooser
    assert chooser is not None
    assert chooser.run == tmp_path / "other"


def test_a_network_does_not_judge_what_its_copy_chose(
    evaluator_run: Path, motion_model: MotionModel, measured: Measured, tmp_path: Path
) -> None:
    copy = shutil.copytree(evaluator_run, tmp_path / "copy")
    values = {"evaluator": {"run": evaluator_run}, "chooser": {"run": copy}}
    config = EvaluationConfig.model_validate(values)
    told = rf"expected another network .* found contrastive-.*; {copy} is a copy .* loop\.seed=1"
    with pytest.raises(ValueError, match=told):
        load_judges(config)
    with pytest.raises(ValueError, match=told):
        evaluate_model(motion_model, measured.training, config, measured.cache)
    # Where nothing else judges, the network may choose.
    evaluator, chooser = load_judges(config.model_copy(update={"evaluator": None}))
    assert evaluator is None
    assert isinstance(chooser, Chooser)
