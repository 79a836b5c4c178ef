"""The figures of a dataset, from rows that are known one by one."""

import tracemalloc
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data.errors import Reason, Stage
from data.motion_records import ImportedMotion, MotionText
from data.records import Rejection
from data.schemas import SCHEMAS, Row, motion_row, rejection_row
from data.store.dataset import Dataset
from data.store.manifest import DatasetError
from data.store.writer import open_writer, rows_table
from evaluation.dataset_report.figures import Count, DatasetFigures
from evaluation.dataset_report.page import dataset_page
from evaluation.dataset_report.reading import DatasetReportConfig, read_figures
from evaluation.dataset_report.texts import TextCounter
from evaluation.pages.content import Table
from evaluation.pages.writing import render_page

MANY = 10_000


def _row(table: str, **values: Any) -> Row:
    return dict.fromkeys(SCHEMAS[table].names) | {"schema_version": 5, "code_version": "1"} | values


def _save(root: Path, **rows: Sequence[Row]) -> Path:
    with open_writer(root, {"captions": {"captioner": "openai"}}) as writer:
        writer.publish({name: rows_table(name, listed) for name, listed in rows.items()})
    return root


def _verdict(verdict: str | None, measurement: str = "") -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {"verdict": verdict, "measurement": measurement, "start_s": None, "end_s": None}


def _annotation(clip: str, score: float | None, *steps: tuple[str, str | None]) -> Row:
    fine = [
        {"text": text, "start_s": 0.0, "end_s": 1.0, "grounding": _verdict(verdict, "legs stand")}
        for text, verdict in steps
    ]
    event = {name.name: None for name in SCHEMAS["annotations"].field("events").type.value_type}
    return _row(
        "annotations",
        clip_id=clip,
        track_id=1,
        coarse="A yard.",
        medium=["A person jumps."],
        medium_grounding=[_verdict("supported")],
        fine=fine,
        activity="jump",
        events=[{**event, "kind": "jump"}, {**event, "kind": "raise"}],
        annotator="openai",
        model="some-llm",
        outcome="success",
        tokens_in=100,
        tokens_out=10,
        cost_usd=0.25,
        grounding_score=score,
    )


def _motion(number: int, split: str, **values: Any) -> Row:
    texts = (MotionText("a person waves", 0.0, 2.0, "medium", values.pop("by", "rules")),)
    motion = ImportedMotion(
        f"{number:016x}", "joints", "a.npz", str(number), Fraction(20), texts=texts, **values
    )
    features = np.full((40, 263), number % 7, np.float32)
    return motion_row(
        motion, features, split=split, foot_skate_m_s=0.1, jitter_m_s3=None, credible_TJ=None
    )


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> DatasetFigures:
    """Two videos with three clips, texts of a model, motions of two sources, rejections."""
    ball = {"name": "ball", "start_s": 0.0, "end_s": 1.0, "score": 0.9, "near": ""}
    rejections = [
        Rejection(f"i{n}", f"{n}.mp4", Stage.INGEST, reason, "found none.", "Mend it.")
        for n, reason in enumerate((Reason.NOT_FOUND, Reason.NOT_FOUND, Reason.TRUNCATED))
    ]
    root = _save(
        tmp_path_factory.mktemp("report") / "dataset",
        videos=[
            _row("videos", video_id="v0", duration_s=10.0, width_px=640, height_px=480),
            _row("videos", video_id="v1", duration_s=30.0, issues=["odd time stamps"]),
        ],
        clips=[
            _row("clips", clip_id="c0", start_s=0.0, end_s=4.0, num_tracks=1, camera="static"),
            _row("clips", clip_id="c1", start_s=4.0, end_s=10.0, num_tracks=2, objects=[ball] * 2),
            _row("clips", clip_id="c2", num_tracks=2, camera="static", quality=0.5),
        ],
        poses=[_row("poses", clip_id="c0", quality=0.75)],
        captions=[
            _row("captions", captioner="openai", model="some-vlm", text="A person jumps."),
            _row("captions", captioner="openai", model="some-vlm", text="", outcome="refused"),
        ],
        annotations=[
            _annotation("c0", 1.0, ("bends", "supported"), ("jumps", None)),
            _annotation("c1", 0.25, ("Jumps!", "contradicted"), ("waves", "contradicted")),
            _annotation("c2", 0.5, ("sits <b>", "contradicted"), ("waits", "not_measurable")),
        ],
        motions=[
            _motion(1, "train", group="cmu/07", labels=("wave",), license="free"),
            _motion(2, "train", group="cmu/07", by="kit-ml", license="free"),
            _motion(8, "test", group="cmu/09"),
            _motion(9, "test", mirrored_of=f"{8:016x}", group="cmu/09"),
            _motion(3, "train"),
        ],
        motion_tokens=[
            _row("motion_tokens", tokenizer_id="t", num_tokens=n, num_quantizers=1, num_codes=512)
            for n in (10, 11)
        ],
        rejections=[rejection_row(one, None) for one in rejections],
    )
    return read_figures(root)


def _counts(counts: Sequence[Count]) -> dict[str, int]:
    return {one.name: one.count for one in counts}


def test_videos_and_clips_are_counted(figures: DatasetFigures) -> None:
    assert figures.video_s is not None
    assert (figures.video_s.total, figures.video_s.median) == (40, 20)
    assert figures.clip_s is not None
    assert (figures.clip_s.count, figures.clip_s.total) == (2, 10)
    assert _counts(figures.people) == {"2": 2, "1": 1}
    assert _counts(figures.cameras) == {"static": 2}
    assert _counts(figures.objects) == {"ball": 1}
    assert _counts(figures.resolutions) == {"640 \N{MULTIPLICATION SIGN} 480": 1}
    assert _counts(figures.issues) == {"odd time stamps": 1}
    assert figures.pose_quality is not None
    assert figures.pose_quality.mean == 0.75


def test_texts_are_counted_by_kind(figures: DatasetFigures) -> None:
    texts = {one.kind: one for one in figures.texts}
    assert (texts["captions"].texts, texts["captions"].words) == (1, 3)
    fine = texts["fine steps"]
    # "jumps" and "Jumps!" are one text.
    assert (fine.texts, fine.distinct, fine.words, fine.longest) == (6, 5, 6, 2)
    assert fine.frequent[0] == Count(name="jumps", count=2)
    assert texts["motion texts by kit-ml"].texts == 1
    assert figures.steps is not None
    assert figures.steps.counts[2] == 3
    assert _counts(figures.activities) == {"jump": 3}
    assert _counts(figures.events) == {"jump": 3, "raise": 3}


def test_grounding_is_counted_and_the_worst_is_shown_first(figures: DatasetFigures) -> None:
    (fine, medium) = figures.verdicts
    assert (fine.level, fine.annotator) == ("fine", "openai")
    assert (fine.supported, fine.contradicted) == (1, 3)
    assert (fine.not_measurable, fine.not_checked) == (1, 1)
    assert (medium.supported, medium.contradicted) == (3, 0)
    shown = [(one.clip_id, one.text, one.measurement) for one in figures.contradictions]
    assert shown == [("c1", "Jumps!", "legs stand"), ("c2", "sits <b>", "legs stand")]


def test_motions_are_split_by_source(figures: DatasetFigures) -> None:
    rows = [
        (one.source, one.split, one.motions, one.mirrored, one.groups, one.described)
        for one in figures.splits
    ]
    assert rows == [
        ("cmu", "train", 2, 0, 1, 1),
        ("cmu", "test", 1, 1, 1, 0),
        ("joints", "train", 1, 0, 1, 0),
    ]
    assert figures.motion_s is not None
    assert figures.motion_s.total == 4 * 2.0
    assert _counts(figures.labels) == {"wave": 1}
    assert [(one.source, one.license, one.motions) for one in figures.licenses] == [
        ("cmu", "", 1),
        ("cmu", "free", 2),
        ("joints", "", 1),
    ]
    (tokens,) = figures.tokens
    assert (tokens.motions, tokens.tokens, tokens.num_codes) == (2, 21, 512)


def test_test_motions_are_compared_with_training(figures: DatasetFigures) -> None:
    found = figures.duplicates
    assert (found.test, found.train, found.compared_test, found.compared_train) == (1, 3, 1, 3)
    # Motion 8 has the features of motion 1.
    assert found.sources["cmu"].near == 1
    assert found.sources["cmu"].examples[0].train == f"{1:016x}"


def test_models_rejections_and_versions_are_counted(figures: DatasetFigures) -> None:
    uses = [
        (one.table, one.model, one.rows, _counts(one.failed), one.tokens_in, one.cost_usd)
        for one in figures.models
    ]
    assert uses == [
        ("captions", "some-vlm", 2, {"refused": 1}, 0, 0.0),
        ("annotations", "some-llm", 3, {}, 300, 0.75),
    ]
    groups = [(one.stage, one.reason, one.count, one.remedy) for one in figures.rejections]
    assert groups == [
        ("ingest", "not_found", 2, "Mend it."),
        ("ingest", "truncated", 1, "Mend it."),
    ]
    assert [(one.code_version, one.rows) for one in figures.versions if one.table == "clips"] == [
        ("1", 3)
    ]


def test_the_page_shows_the_figures_as_text(figures: DatasetFigures) -> None:
    html = render_page(dataset_page(figures))
    assert "sits &lt;b&gt;" in html
    for shown in ("some-vlm", "1 refused", "Mend it.", "legs stand", "3 (50%)", "$0.75"):
        assert shown in html
    assert "All 1 test motions were compared with all 3 training motions" in html


def test_what_a_dataset_lacks_is_said(tmp_path: Path) -> None:
    rejected = Rejection("i", "a.mp4", Stage.INGEST, Reason.NOT_FOUND, "found none.", "Mend it.")
    root = _save(tmp_path / "dataset", rejections=[rejection_row(rejected, None)])
    page = dataset_page(read_figures(root))
    empty = {section.title for section in page.sections if not section.parts}
    assert empty == {
        *("Videos and clips", "Activities, events and objects", "Motions", "Texts"),
        *("Near-duplicates between splits", "Grounding", "Quality", "Models and cost"),
    }
    assert render_page(page).count(">none<") == len(empty)


def test_motions_without_a_test_split_are_not_compared(tmp_path: Path) -> None:
    root = _save(tmp_path / "dataset", motions=[_motion(1, "train")])
    found = read_figures(root).duplicates
    assert (found.compared_test, found.sources) == (0, {})
    assert found.missing == "expected test and training motions, found 0 and 1"


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected a dataset, found no dataset\.json"):
        read_figures(tmp_path)


def test_a_large_dataset_is_sampled_and_its_arrays_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    motion = _motion(0, "train")
    annotation = _annotation("c", 0.5, ("jumps up", "supported"), ("waves", "contradicted"))
    root = _save(
        tmp_path / "dataset",
        motions=[
            {**motion, "motion_id": f"{n:016x}", "split": ("train", "test")[n % 2]}
            for n in range(MANY // 20)
        ],
        annotations=[{**annotation, "clip_id": f"c{n}"} for n in range(MANY)],
    )
    read: list[tuple[str, set[str], int | None]] = []
    batches = Dataset.batches

    def recorded(self: Dataset, table: str, *args: Any, **more: Any) -> Iterator[pa.Table]:
        columns, where = (*args, None, None)[:2]
        wanted = None if where is None else len(where.get("motion_id", ()))
        read.append((table, set(columns or SCHEMAS[table].names), wanted))
        return batches(self, table, *args, **more)

    monkeypatch.setattr(Dataset, "batches", recorded)
    tracemalloc.start()
    found = read_figures(root, DatasetReportConfig(max_test=20, max_train=30))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.texts[1].texts == MANY
    assert len(found.contradictions) == 12
    # A batch of annotations takes a few megabytes as Python objects, all of them ten times as much.
    assert peak < 40e6
    arrays = {"joints_3d", "joints_2d", "root_trajectory", "confidence", "features", "codes"}
    large = [(table, wanted) for table, columns, wanted in read if columns & arrays]
    assert large == [("motions", 50)]
    (table,) = [
        part
        for section in dataset_page(found).sections
        if section.title.startswith("Near-duplicates")
        for part in section.parts
        if isinstance(part, Table) and not part.folded
    ]
    assert table.lines[0].cells[1] == 20


def test_texts_are_counted_in_bounded_memory() -> None:
    counter = TextCounter(kept=3)
    counter.add(["a", "b", "c", "d e", "A", None, ""])
    found = counter.figures("texts")
    assert (found.texts, found.distinct, found.words, found.is_complete) == (5, 3, 3, False)
    assert found.frequent[0] == Count(name="a", count=2)
