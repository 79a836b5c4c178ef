"""The command line: help, what it prints for people and for programs, what it refuses."""

import io
import json
import logging
import sys
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from annotators.stages.staged import (
    SourceVideo,
    StagedPoses,
    StagedScan,
    poses_path,
    video_path,
    write_staged,
)
from data.errors import Reason, Stage
from data.exporters import write_humanml3d
from data.importers.run import MotionImportConfig
from data.motion.features import joints_to_features
from data.records import Clip, Rejection, VideoProbe
from data.schemas import SCHEMAS, Row, rejection_row
from data.store.dataset import Dataset
from data.store.writer import open_writer, rows_table
from data.synthetic.activities import generate_motion
from flows.commands.main import app, main
from flows.commands.running import ALIASES, FLOWS, FlowCommand, evaluator_flow
from flows.runtime.console import ConsoleHandler
from flows.runtime.progress import StageProgress
from flows.runtime.progress_bars import ProgressBars, progress_bars

RECIPE = {
    "captions": {"captioner": "openai", "service": {"model": "some-vlm"}},
    "annotations": {"annotator": "rules", "service": None},
}

NAMED_TO_COLOR = "a\x1b[31mb.mp4"
"""A file's name that makes a terminal write in red."""


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _printed(*arguments: str | Path) -> str:
    result = _run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def _source_video(folder: Path) -> SourceVideo:
    path = folder / "a.mp4"
    probe = VideoProbe(
        *(path, 9, "mov", "h264", 64, 48, 0, Fraction(30), 0.0, 3.0, 90),
        constant_rate=True,
        issues=(),
    )
    return SourceVideo("v0", 1, probe)


def _row(table: str, **values: Any) -> Row:
    return dict.fromkeys(SCHEMAS[table].names) | values


def _rejection(number: int, reason: Reason, stage: Stage = Stage.INGEST) -> Row:
    item = f"/videos/{number}\x1b[31m.mp4"
    rejection = Rejection(f"path-{number}", item, stage, reason, "expected a, found b.", "Mend it.")
    return rejection_row(rejection, None)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two videos with one clip each, a text that no service wrote, three rejections."""
    root = tmp_path / "dataset"
    rows = {
        "videos": [_row("videos", video_id=v) for v in ("v0", "v1")],
        "clips": [_row("clips", clip_id=f"c-{v}", video_id=v) for v in ("v0", "v1")],
        "captions": [
            _row("captions", clip_id="c-v0", video_id="v0", outcome="success"),
            _row("captions", clip_id="c-v1", video_id="v1", outcome="unavailable"),
        ],
        "annotations": [_row("annotations", clip_id="c-v0", video_id="v0", outcome="success")],
        "rejections": [
            _rejection(0, Reason.NOT_A_VIDEO),
            _rejection(1, Reason.NOT_A_VIDEO),
            _rejection(2, Reason.NO_PERSON, Stage.POSES),
        ],
    }
    with open_writer(root, RECIPE) as writer:
        writer.publish({name: rows_table(name, listed) for name, listed in rows.items()})
    return root


# ------------------------------------------------------------------------------------------ help


def test_help_is_grouped_and_h_is_help() -> None:
    told = _printed("-h")
    assert told == _printed("--help")
    order = (
        "Datasets",
        "annotate",
        "status",
        "Training",
        "train-motion-lm",
        "evaluate",
        "Model",
        "t2m",
        "Server",
    )
    positions = [told.index(f" {name} ") for name in order]
    assert positions == sorted(positions)
    assert "--install-completion" in told
    assert "Usage: " in _printed("annotate", "-h")


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_the_same_command_and_hidden(alias: str) -> None:
    assert f" {alias} " not in _printed("--help")
    named, aliased = (_printed(name, "--help").split() for name in (ALIASES[alias], alias))
    assert aliased == [alias if word == ALIASES[alias] else word for word in named]


COMPLETED: dict[str, FlowCommand] = {
    **{name: flow for name, flow in FLOWS.items() if not name.endswith("-evaluator")},
    **{alias: FLOWS[name] for alias, name in ALIASES.items()},
    "train-evaluator": evaluator_flow("contrastive"),
    "train-evaluator --kind matching": evaluator_flow("matching"),
}


@pytest.mark.parametrize("command", COMPLETED)
def test_a_shell_completes_presets(command: str) -> None:
    def completed(typed: str) -> list[str]:
        asked = f"avatargpt {command} --preset {typed}"
        env = {"_AVATARGPT_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        env["_TYPER_COMPLETE_ARGS"] = asked
        return CliRunner().invoke(app, prog_name="avatargpt", env=env).stdout.split()

    names = sorted(COMPLETED[command].presets)
    assert names
    assert completed("") == names
    assert completed(names[0]) == [name for name in names if name.startswith(names[0])]
    assert completed("none-such") == []


def test_version_is_shown() -> None:
    assert _printed("--version") == f"avatargpt {version('avatargpt')}\n"


# -------------------------------------------------------------------------------------- versions


def test_versions_are_listed_and_collected(dataset: Path) -> None:
    with open_writer(dataset, RECIPE) as writer:
        writer.publish({}, replace_videos=["v1"])
    told = _printed("versions", dataset)
    assert "version 1: 20" in told
    assert "  2 videos, 2 clips, 2 captions, 1 annotations, 3 rejections" in told
    assert "version 2: 20" in told
    assert "current" in told
    (older, current) = json.loads(_printed("versions", dataset, "--json"))["versions"]
    assert (older["number"], current["number"], current["held_bytes"]) == (1, 2, 0)
    assert f"avatargpt versions {dataset}" in _printed("status", dataset)
    assert "no version to collect" in _printed("collect", dataset, "--keep", "1")
    assert "versions up to 1 collected" in _printed("collect", dataset)
    assert "collect" not in _printed("status", dataset)
    assert json.loads(_printed("collect", dataset, "--json")) == {"versions": [], "freed_bytes": 0}


# ---------------------------------------------------------------------------------------- status


def test_status_tells_what_is_there_what_failed_and_what_to_run(dataset: Path) -> None:
    told = _printed("status", dataset)
    assert f"{dataset}: annotated videos" in told
    assert "Captioner: openai (some-vlm)." in told
    assert "Publications: 1, the last 20" in told
    lines = [line.split() for line in told.splitlines()]
    assert ["ingest", "not_a_video", "2"] in lines
    assert ["captions", "unavailable", "1"] in lines
    assert f"annotate VIDEOS… --dataset {dataset} --retry-rejected" in told
    assert f"avatargpt rejections {dataset}" in told
    assert "Staged" not in told
    assert "\N{REPLACEMENT CHARACTER}" not in told


def test_status_is_one_json_document(dataset: Path) -> None:
    told = json.loads(_printed("status", dataset, "--json"))
    assert told["rows"]["videos"] == 2
    assert told["rejected"][0] == {"stage": "ingest", "reason": "not_a_video", "count": 2}
    files = [file for file in dataset.rglob("*") if file.is_file()]
    assert told["size_bytes"] == sum(file.stat().st_size for file in files)
    assert {name: size for name, size in told["bytes_by_table"].items() if size} == {
        name: sum(file.stat().st_size for file in files if file.parent.name == name)
        for name in ("videos", "clips", "captions", "annotations", "rejections")
    }


def test_status_tells_staged_work_that_no_publication_holds(tmp_path: Path) -> None:
    clips = tuple(
        Clip(f"c{i}", "v0", 0, 30 * i, 30 * i + 30, i, i + 1.0, 0.5, "static", 0.0)
        for i in range(3)
    )
    short = Rejection("c9", "a.mp4 3-4 s", Stage.CLIPS, Reason.TOO_SHORT, "d", "r")
    nobody = Rejection("c1", "a.mp4 1-2 s", Stage.POSES, Reason.NO_PERSON, "d", "r")
    with open_writer(tmp_path, RECIPE) as writer:
        scan = StagedScan(_source_video(tmp_path), None, clips, (short,))
        write_staged(video_path(writer.work, "scans", "v0"), scan)
        for clip, rejection in ((clips[0], None), (clips[1], nobody)):
            staged = StagedPoses(clip, 1, 1, "decord", 0.9, (), rejection)
            write_staged(poses_path(writer.work, clip), staged)
        running = json.loads(_printed("status", tmp_path, "--json"))
    assert running["writer"].startswith("process ")
    told = json.loads(_printed("status", tmp_path, "--json"))
    assert told["kind"] == "nothing published"
    assert told["writer"] == ""
    staged = told["staged"]
    assert (staged["videos"], staged["clips"], staged["poses"]) == (1, 3, 2)
    assert {one["reason"] for one in staged["rejected"]} == {"too_short", "no_person"}
    assert "go on" in told["next_steps"][0][1]
    lines = [line.strip() for line in _printed("status", tmp_path).splitlines()]
    assert "poses         2 of 3 clips" in lines


def test_status_of_imported_motions_tells_how_to_import_again(tmp_path: Path) -> None:
    root = tmp_path / "motions"
    recipe = MotionImportConfig(sources=("unused",), dataset=root).recipe()
    crashed = _rejection(0, Reason.WORKER_CRASHED, Stage.IMPORT)
    rows = {"motions": [_row("motions", motion_id="m0")], "rejections": [crashed]}
    with open_writer(root, recipe) as writer:
        writer.publish({name: rows_table(name, listed) for name, listed in rows.items()})
    told = _printed("status", root)
    assert f"avatargpt import-motions SOURCES… --dataset {root} --retry-rejected" in told
    assert "avatargpt annotate" not in told


def test_status_and_rejections_hold_no_whole_table(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Dataset, table: str, *_args: object, **_options: object) -> None:
        pytest.fail(f"all of {table} is read at once")

    monkeypatch.setattr(Dataset, "read", refuse)
    assert "not_a_video" in _printed("status", dataset)
    for options in ((), ("--list",), ("--json",), ("--list", "--json")):
        assert "not_a_video" in _printed("rejections", dataset, *options)


def test_status_of_no_dataset_is_refused(tmp_path: Path) -> None:
    result = _run("status", tmp_path)
    assert f"{tmp_path}: expected a dataset, found no" in str(result.exception)


# ------------------------------------------------------------------------------------ rejections


def test_rejections_are_grouped_with_a_remedy(dataset: Path) -> None:
    told = _printed("rejections", dataset)
    assert "3 rejections" in told
    assert told.index("2 x not_a_video (ingest)") < told.index("1 x no_person (poses)")
    assert "Remedy: Mend it." in told
    assert "\x1b" not in told  # a file's name sends nothing to the terminal
    groups = json.loads(_printed("rejections", dataset, "--json"))["groups"]
    assert [(g["stage"], g["reason"], g["count"]) for g in groups] == [
        ("ingest", "not_a_video", 2),
        ("poses", "no_person", 1),
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--reason", "no_person"), {"path-2"}),
        (("--reason", "no_person", "--reason", "not_a_video"), {"path-0", "path-1", "path-2"}),
        (("--stage", "ingest"), {"path-0", "path-1"}),
        (("--item", "videos/1"), {"path-1"}),
        (("--stage", "ingest", "--item", "path-2"), set[str]()),
    ],
)
def test_rejections_are_filtered(
    dataset: Path, options: tuple[str, ...], expected: set[str]
) -> None:
    told = json.loads(_printed("rejections", dataset, "--list", "--json", *options))
    assert {row["item_id"] for row in told["rows"]} == expected
    assert told["total"] == len(expected)


def test_a_reason_that_does_not_exist_is_refused(dataset: Path) -> None:
    result = _run("rejections", dataset, "--reason", "nobody")
    assert result.exit_code == 2
    assert "no_person" in result.output  # what could have been meant


# ------------------------------------------------------------------------------------------ report


def test_report_is_a_page_with_its_figures_beside_it(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "some" / "report"
    assert _printed("report", dataset, "--out", out) == f"{out}/report.html: report on {dataset}\n"
    page = (out / "report.html").read_text()
    assert "not_a_video" in page
    assert "\x1b" not in page
    figures = json.loads((out / "report.json").read_text())
    assert {one["reason"]: one["count"] for one in figures["rejections"]} == {
        "not_a_video": 2,
        "no_person": 1,
    }
    assert json.loads(_printed("report", dataset, "--out", out, "--json")) == figures


def test_a_report_on_nothing_or_over_a_file_is_refused(dataset: Path, tmp_path: Path) -> None:
    result = _run("report", tmp_path / "nowhere", "--out", tmp_path / "report")
    assert "expected a dataset, found no dataset.json" in str(result.exception)
    assert not (tmp_path / "report").exists()
    (tmp_path / "file").write_text("mine")
    result = _run("report", dataset, "--out", tmp_path / "file")
    assert "expected a folder, found a file" in str(result.exception)
    assert (tmp_path / "file").read_text() == "mine"


# ------------------------------------------------------------- options without effect, and results


@pytest.mark.parametrize(
    ("options", "option", "needed"),
    [
        (("--model", "gpt-4.1-mini"), "--model", "openai"),
        (("--base-url", "http://127.0.0.1:1/v1"), "--base-url", "openai"),
        (("--budget-usd", "5"), "--budget-usd", "openai"),
        (("--dry-run",), "--dry-run", "a model that writes texts"),
        (("--local-model", "/models/vlm"), "--local-model", "captioner transformers"),
        (
            ("--captioner", "transformers", "--local-model", "/models/vlm", "--model", "gpt-5"),
            "--model",
            "openai",
        ),
        (("--ray-address", "10.0.0.1:6379"), "--ray-address", "the executor ray"),
    ],
)
def test_an_option_without_effect_is_refused(
    tmp_path: Path, options: tuple[str, ...], option: str, needed: str
) -> None:
    result = _run("annotate", tmp_path, "--dataset", tmp_path / "dataset", *options)
    told = str(result.exception)
    assert told.startswith(f"{option} has no effect: expected")
    assert needed in told
    assert "Remedy: " in told
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("t2m", "a person waves", "--temperature", "0"),
        ("inbetween", "a.npy", "b.npy", "--temperature", "0"),
        ("plan", "a kitchen", "--temperature", "0"),
    ],
)
def test_a_seed_without_anything_drawn_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = _run(*command, "--seed", "3", "--model", tmp_path)
    assert "--seed has no effect" in str(result.exception)


@pytest.mark.usefixtures("tests_server")
def test_a_result_is_one_json_document(tmp_path: Path) -> None:
    root = tmp_path / "motions"
    told = json.loads(
        _printed("import-motions", "procedural:2", "--dataset", root, "--json", "--quiet")
    )
    assert told["dataset"] == str(root)
    assert told["rows"]["motions"] == told["added"]["motions"] == 4  # with their mirror images
    status = json.loads(_printed("status", root, "--json"))
    assert (status["kind"], status["rows"]["motions"]) == ("motions", 4)


def test_texts_and_their_folders_are_json_documents(tmp_path: Path) -> None:
    release = tmp_path / "release.json"
    caption = {"detail": "Walk.", "executable": "1. stand up\n2. walk", "simplified": ["Walk."]}
    span = {"start_time": 0, "end_time": 10, "start_frame": 0, "end_frame": 250}
    video = {"video_name": "v.mp4", "video_fps": 25, "description": ["A person in a park."]}
    release.write_text(json.dumps({**video, "caption_list": [{**span, "captions": [caption]}]}))
    root, folder = tmp_path / "dataset", tmp_path / "out"
    told = json.loads(_printed("import-avatargpt", release, "--dataset", root, "--json"))
    assert (told["dataset"], told["num_videos"]) == (str(root), 1)
    assert told["added"]["annotations"] == 1
    told = json.loads(_printed("export-avatargpt", root, folder, "--json"))
    assert [Path(file).parent for file in told["files"]] == [folder]
    told = json.loads(_printed("card", root, "--license", "mit", "--json"))
    assert told == {"file": str(root / "README.md"), "license": "mit"}


def test_assets_are_a_json_document() -> None:
    told = json.loads(_printed("assets", "--json"))
    assert told.keys() == {"pose_model", "object_detectors", "sample_clip", "three"}
    assert all(Path(path).is_file() for path in told.values())


# ----------------------------------------------------------------------------------------- progress


def _drawn(width: int, *told: StageProgress) -> list[str]:
    """Lines of the bars on a terminal of that width, at the end."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    bars = ProgressBars(console)
    for progress in told:
        bars.show(progress)
    console.print(bars.bars.get_renderable())
    return screen.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_bars_of_all_stages_and_shards_fit_a_terminal(width: int) -> None:
    lines = _drawn(
        width,
        StageProgress("ingest", 3, 3, "files"),
        StageProgress("clips", 2, 4, "1/3", 3, "12.5 x real time"),
        StageProgress("clips", 1, 2, "2/3", 3, "12.5 x real time"),
        StageProgress("motions", 256, None, note="4 known, 2 rejected"),
        StageProgress("annotations", 90, 12345, "1/1", 1, "13 rejected, 12.3456 USD"),
    )
    assert [line.split()[0] for line in lines] == ["ingest", "clips", "motions", "annotations"]
    assert " 3/3 " in lines[0]
    # Two of three shards have begun: nine clips are expected of all.
    assert " 3/~9 " in lines[1]
    assert "12.5 x real time" in lines[1]
    assert " 256 " in lines[2]
    assert "12.3456 USD" in lines[3]
    assert all(len(line) <= width for line in lines)


def test_a_bar_tells_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    bars = ProgressBars(Console(file=io.StringIO(), force_terminal=True, width=120))
    monkeypatch.setattr(bars.bars, "get_time", lambda: now_s)
    for done in range(5):
        now_s = 30.0 * done
        bars.show(StageProgress("poses", done, 10))
    screen = Console(file=io.StringIO(), width=120, record=True)
    screen.print(bars.bars.get_renderable())
    told = screen.export_text()
    assert "4/10" in told
    assert "2.0/min" in told
    assert "3:00 left" in told


def test_bars_beside_no_flow_start_no_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "prefect")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress_bars(quiet=False):
        pass
    assert "prefect" not in sys.modules


# ---------------------------------------------------------------------------------- check and card


def test_check_tells_a_damaged_part_and_ends_with_1(dataset: Path) -> None:
    assert "no errors" in _printed("check", dataset)
    (part,) = (dataset / "clips").glob("*.parquet")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 0xFF
    part.write_bytes(content)
    result = _run("check", dataset)
    assert result.exit_code == 1
    assert f"error: clips/{part.name}: expected" in result.stdout
    told = json.loads(_run("check", dataset, "--json").stdout)
    assert told["ok"] is False
    assert told["findings"][0]["remedy"]


def test_card_sets_the_license(dataset: Path) -> None:
    _printed("card", dataset, "--license", "cc-by-4.0")
    assert "\nlicense: cc-by-4.0\n" in (dataset / "README.md").read_text()
    refused = _run("card", dataset, "--license", "free")
    assert "expected one of" in str(refused.exception)


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_what_a_terminal_obeys_is_not_in_log_lines(level: int) -> None:
    shown = io.StringIO()
    handler = ConsoleHandler(stream=shown)  # pyright: ignore[reportArgumentType]
    logger = logging.Logger("prefect.flow_runs")
    logger.addHandler(handler)
    logger.log(level, "%s: read\nnext line", NAMED_TO_COLOR)
    logger.log(level, f"100 % of {NAMED_TO_COLOR}")
    lines = shown.getvalue().splitlines()
    assert [line.split()[-1] for line in lines] == ["read", "line", "ab.mp4"]
    assert "ab.mp4: read" in lines[0]
    assert "\x1b" not in shown.getvalue()


def test_what_a_terminal_obeys_is_not_in_results_and_errors(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    printed = _printed("card", dataset.rename(tmp_path / NAMED_TO_COLOR), "--license", "mit")
    assert "/ab.mp4/README.md: license mit" in printed
    assert "\x1b" not in printed
    monkeypatch.setattr(sys, "argv", ["avatargpt", "status", str(tmp_path / "no" / NAMED_TO_COLOR)])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert "/no/ab.mp4" in told
    assert "\x1b" not in told


# ------------------------------------------------------------------------------------------- audit


def test_an_audit_exits_with_1_for_errors_and_writes_a_copy(tmp_path: Path) -> None:
    root, out, copy = tmp_path / "data", tmp_path / "report", tmp_path / "copy"
    joints_TJ3, captions = generate_motion("wave_hand", 1, 3.0)
    features_TD = np.asarray(joints_to_features(joints_TJ3), np.float32)
    write_humanml3d(root, "good", features_TD, captions, "train")
    write_humanml3d(root, "still", np.repeat(features_TD[:1] * 0.0, 50, axis=0), captions, "test")
    result = _run("audit", root, "--out", out, "--fix", copy, "--json", *ONE_WORKER)
    assert result.exit_code == 1
    figures = json.loads(result.stdout)
    assert figures["layout"] == "humanml3d"
    assert figures["severities"]["error"] >= 1
    assert Path(figures["report"]).is_file()
    assert [path.stem for path in (copy / "new_joint_vecs").iterdir()] == ["good"]
    assert (copy / "fixes.parquet").is_file()
    result = _run("audit", copy, "--out", tmp_path / "again", "--quiet", *ONE_WORKER)
    assert (result.exit_code, "error" in result.stdout) == (0, False)


ONE_WORKER = ("--set", "workers.num_workers=1")


def test_an_audit_refuses_what_cannot_work(dataset: Path, tmp_path: Path) -> None:
    for options, told in (
        (("--out", dataset / "audit"), "outside of the dataset"),
        (("--fix", dataset), "expected a new or empty folder"),
        (("--fix", tmp_path / "new", "--limit", "3"), "expected an audit of all motions"),
        (("--set", "motions.skating=1"), "skating"),
    ):
        result = _run("audit", dataset, "--out", tmp_path / "audit", *options)
        assert told in str(result.exception)
    assert not (tmp_path / "audit").exists()
    result = _run("audit", dataset, "--out", tmp_path / "audit")
    assert "expected rows in the table motions, found none" in str(result.exception)
