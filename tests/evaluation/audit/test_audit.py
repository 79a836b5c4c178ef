"""The audit finds what was damaged, and says nothing on what was not."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import avatargpt
from benchmarks.support.seeding import KINDS, write_plain
from data.importers.run import MotionImportConfig, import_motions
from evaluation.audit import run
from evaluation.audit.findings import FINDINGS, Kind
from evaluation.audit.findings import KINDS as FACTS
from evaluation.audit.page import audit_figures, audit_page
from evaluation.audit.run import AuditConfig, run_audit
from evaluation.audit.sources import ItemText, open_source, parse_line
from evaluation.pages.writing import render_page
from tests.evaluation.audit.conftest import Damaged, made_motions


@pytest.mark.parametrize("way", ["mismatched_files", "static", "leak", "skating", "times"])
def test_every_damaged_motion_is_found(damaged: Damaged, way: str) -> None:
    found = {name for kind in KINDS[way] for name in damaged.found(kind)}
    assert set(damaged.seeded[way]) <= found


def test_swapped_sides_are_found_with_what_was_measured(damaged: Damaged) -> None:
    found = damaged.found("side_swap")
    swapped = set(damaged.seeded["side_swap"])
    assert len(swapped & set(found)) >= 3
    for name in swapped & set(found):
        assert found[name]["severity"] == "error"
        assert "; fits '" in str(found[name]["measurement"])
        assert found[name]["fix"] == "swap_sides"


def test_what_is_certain_is_said_of_damaged_motions_only(damaged: Damaged) -> None:
    hurt = {name for way in KINDS for name in damaged.seeded[way]}
    of_pairs = {"joints_disagree", "same_motion_other_text", "static", "skating", "side_swap"}
    others = {
        (kind, name)
        for kind in of_pairs
        for name in damaged.found(kind)
        if name not in hurt and not name.startswith("M")
    }
    assert not others


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("non_finite", "nan", "1 of 79 feature vectors"),
        ("wrong_shape", "narrow", "expected (T, 263) with T of 1 or more, found (79, 251)"),
        ("unreadable", "pickled", "expected"),
        ("text_missing", "text", "no file of texts"),
        ("motion_missing", "lonely", "texts/lonely.txt has no motion"),
        ("motion_missing", "joints", "new_joints/joints.npy is not"),
        ("bad_line", "lines", "line 4: expected 0 <= start <= end, found 3 and 1"),
        ("repeated_text", "lines", "equal to text 1"),
        ("empty_text", "lines", "no words"),
        ("not_english", "lines", "0% of 3 words"),
        ("sides_exchanged", "exchanged", "backward"),
        ("name_without_files", "nobody", "val.txt lists it"),
        ("in_two_splits", "0000", "train.txt and val.txt"),
    ],
)
def test_damaged_files_are_found(damaged: Damaged, kind: str, name: str, told: str) -> None:
    assert told in str(damaged.found(kind)[name]["measurement"])


def test_mirrored_copies_are_compared_with_their_originals(damaged: Damaged) -> None:
    (unturned,) = damaged.found("mirrored_motion")
    assert unturned.startswith("M")
    named = {*damaged.found("mirrored_text"), *damaged.found("side_swap")}
    assert any(name.startswith("M") and name != unturned for name in named)


def test_the_file_of_findings_has_the_documented_columns(damaged: Damaged) -> None:
    table = pq.read_table(damaged.out / "findings.parquet")
    assert table.schema.names == FINDINGS.names
    assert table.num_rows == damaged.audit.findings.num_rows
    assert set(table["kind"].to_pylist()) <= {kind.value for kind in FACTS}
    assert not (damaged.out / "work").exists()
    assert all(table["measurement"].to_pylist())


def test_the_page_shows_every_kind_and_runs_only_our_script(damaged: Damaged) -> None:
    page = render_page(audit_page(damaged.audit, examples=1))
    for kind in damaged.audit.kinds:
        assert FACTS[kind].title in page
    assert page.count("<script>") == 1
    assert "script-src 'sha256-" in page
    assert "data:image/png;base64," in page
    assert 'class="sortable"' in page
    figures = audit_figures(damaged.audit)
    assert sum(figures.kinds.values()) == damaged.audit.findings.num_rows
    assert json.loads(figures.model_dump_json())["layout"] == "humanml3d"


# ---------------------------------------------------------------------------------------- sources


def test_ours_is_audited_and_links_into_the_browser(tmp_path: Path) -> None:
    root = tmp_path / "motions"
    import_motions(
        MotionImportConfig.model_validate(
            {"sources": ["procedural:6"], "dataset": root, "workers": {"num_workers": 1}}
        )
    )
    found = avatargpt.audit(root, tmp_path / "out")
    assert list(found.columns) == FINDINGS.names
    assert not (found.severity == "error").any()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "a dataset of avatargpt" in page
    linked = audit_page(
        run_audit(AuditConfig(dataset=root, out=tmp_path / "again")),
        browser_url="http://127.0.0.1:9/",
    )
    assert (len(found) == 0) or "http://127.0.0.1:9/#/motion/" in render_page(linked)


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("a man walks#a/DET#0.0#0.0", ItemText("a man walks", 0.0, np.inf, 3)),
        ("a man walks#a/DET#nan#nan", ItemText("a man walks", 0.0, np.inf, 3)),
        ("a man walks#a/DET#1.5#2", ItemText("a man walks", 1.5, 2.0, 3)),
        ("a man walks", ItemText("a man walks", 0.0, np.inf, 3)),
        ("a man#walks", "expected caption#tagged words#start#end, found 2 parts"),
        ("a#b#x#2", "expected times in seconds, found 'x' and '2'"),
        ("a#b#inf#inf", "expected 0 <= start <= end, found inf and inf"),
    ],
)
def test_lines_of_texts(line: str, read: ItemText | str) -> None:
    assert parse_line(line, 3) == read


def test_folders_that_are_no_dataset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the folder of a dataset, found nothing"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="found none of them"):
        open_source(tmp_path)
    (tmp_path / "new_joint_vecs").mkdir()
    with pytest.raises(ValueError, match=r"expected \.npy files"):
        open_source(tmp_path)
    (tmp_path / "new_joint_vecs" / "a.npy").touch()
    with pytest.raises(ValueError, match="outside of the dataset"):
        run_audit(AuditConfig(dataset=tmp_path, out=tmp_path / "new_joint_vecs" / "report"))
    (tmp_path / "train.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"train.txt: expected a list of names in UTF-8"):
        open_source(tmp_path)


def test_an_interrupted_audit_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plain(tmp_path / "data", made_motions(4))
    config = AuditConfig.model_validate(
        {"dataset": tmp_path / "data", "out": tmp_path / "out", "workers": {"num_workers": 1}}
    )

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "between_findings", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_audit(config)
    # All shards are done: a second run that checked one again would fail.
    monkeypatch.setattr(run, "_check_shard", None)
    assert run_audit(config).motions == 4
    # A motion that changed is checked again.
    monkeypatch.undo()
    np.save(tmp_path / "data" / "new_joint_vecs" / "0000.npy", np.zeros((20, 7)))
    assert Kind.WRONG_SHAPE in run_audit(config).kinds
