"""What a failed command or flow says: what failed first, on what, the remedy, and the exit code."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed
from pydantic import ValidationError

from annotators.config import AnnotateConfig
from data.video.sources import shortened
from flows.annotate import AnnotateSummary, annotate_videos
from flows.commands.datasets import summary_lines
from flows.commands.main import main
from flows.configuration import loggable, resolve_config
from flows.runtime.failures import (
    StageError,
    describe,
    describe_validation,
    exit_code,
    is_usage,
    report,
    stage,
)
from flows.runtime.reporting import describe_state
from flows.runtime.training_process import describe_end
from flows.server.process import LocalServer, free_port, wait_until_ready
from flows.train import tokenize_motions
from flows.train_all_config import PRESETS, TrainAllConfig
from training.tokenizer.tokenize import TokenizeConfig


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """Run a command in this process: its exit code, and what it says on standard error."""
    monkeypatch.setattr(sys, "argv", ["avatargpt", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return int(ended.value.code or 0), told


@pytest.mark.parametrize(
    ("content", "place", "complaint"),
    [
        (None, "", "No such file"),
        ('{"clips": {\n  "max_clip_s": 5,\n}}', " line 3 column 1", "expected JSON"),
        ("[1, 2]", " line 1", "expected a JSON object, found list"),
        (b"\xff\xfe{}", " line 1 column 1", "expected JSON in UTF-8"),
        ("[" * 100_000, " line 1 column 202", "recursion limit"),
        ("9" * 5000, " line 1 column 4302", "number out of range"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("annotate", "x.mp4", "--dataset", "d"),
        ("import-motions", "x.bvh", "--dataset", "d"),
        ("train-motion-vqvae", "d", "--run", "r"),
        ("train-all", "d", "--root", "r"),
        ("evaluate", "m"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_named_with_its_line(
    command: tuple[str, ...],
    content: str | bytes | None,
    place: str,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.json"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    code, told = run(monkeypatch, capsys, *command, "--config", str(file))
    assert code == 2
    assert f"error: {file}{place}: " in told
    assert complaint in told
    assert "Remedy: " in told
    assert not (tmp_path / "d").exists()


def test_each_wrong_field_is_told_with_what_was_expected_and_found() -> None:
    values = {
        "videos": ["a.mp4"],
        "dataset": "d",
        "clips": {"max_clip": 5},
        "publish_clips": "many",
        "workers": {"num_workers": -1},
    }
    with pytest.raises(ValidationError) as refused:
        AnnotateConfig.model_validate(values)
    told = describe_validation(refused.value, "annotate.json")
    assert told.splitlines()[0] == "annotate.json: 3 fields cannot be used:"
    assert "clips.max_clip: expected no such field. Remedy: correct its name" in told
    assert "publish_clips: expected a valid integer" in told
    assert "found 'many'" in told
    assert "workers.num_workers: expected greater than or equal to 0, found -1" in told
    assert "pydantic" not in told
    assert exit_code(refused.value) == 2


@pytest.mark.parametrize(
    ("number", "expected", "remedy"),
    [
        (errno.ENOSPC, "room on the disk", "free space"),
        (errno.EDQUOT, "room on the disk", "free space"),
        (errno.EROFS, "the right to read or write here", "choose another path"),
        (errno.EACCES, "the right to read or write here", "choose another path"),
        (errno.ENOTDIR, "a folder", "move away the file"),
    ],
)
def test_what_a_machine_refuses_has_a_remedy(number: int, expected: str, remedy: str) -> None:
    error = OSError(number, os.strerror(number), "/data/x/part.parquet")
    with pytest.raises(StageError) as failed, stage("poses", "shard 2/5"):
        raise error
    told = str(failed.value)
    assert told.startswith("poses of shard 2/5 failed: /data/x/part.parquet: ")
    assert f"expected {expected}, found: {os.strerror(number)}. Remedy: " in told
    assert remedy in told
    assert exit_code(failed.value) == 1


def test_a_stage_keeps_the_first_name_and_the_users_own_mistakes() -> None:
    with pytest.raises(StageError, match=r"^inner of a failed: KeyError: 'x'"), stage("outer"):  # noqa: SIM117
        with stage("inner", "a"):
            raise KeyError("x")
    with pytest.raises(ValueError, match="expected 1"), stage("outer"):
        raise ValueError("expected 1, found 2. Remedy: give 1.")
    # Not the user's mistake, though Python calls it a ValueError.
    with pytest.raises(StageError, match="codec can't decode"), stage("outer"):
        b"\xff".decode()


def test_an_error_that_nobody_foresaw_leaves_its_traceback_in_a_log(tmp_path: Path) -> None:
    log = tmp_path / "run" / "errors.log"
    foreseen = report(RuntimeError("x: expected 1, found 2. Remedy: give 1."), log)
    assert foreseen == "x: expected 1, found 2. Remedy: give 1."
    assert not log.exists()
    with pytest.raises(KeyError) as failed:
        os.environ["A_NAME_THAT_IS_NOT_SET"]  # pyright: ignore[reportUnusedExpression]
    told = report(failed.value, log)
    # Where no log can be written, nothing is lost.
    (tmp_path / "file").write_text("")
    beside = report(failed.value, tmp_path / "file" / "errors.log")
    assert told.startswith("KeyError: 'A_NAME_THAT_IS_NOT_SET' Remedy: see the traceback in ")
    assert str(log) in told
    assert "test_an_error_that_nobody_foresaw" in log.read_text()
    assert beside.startswith("Traceback")
    assert beside.splitlines()[-1].startswith("KeyError: 'A_NAME_THAT_IS_NOT_SET'")


def test_many_names_are_told_shortly() -> None:
    assert shortened(["a", "b"]) == "a, b"
    told = shortened([f"video{n}.mp4" for n in range(10_000)])
    assert told == "video0.mp4, video1.mp4, video2.mp4 … (10000 in all)"


def test_an_error_without_words_is_named() -> None:
    assert describe(MemoryError()) == "MemoryError"
    assert describe(RuntimeError("")) == "RuntimeError"


def test_a_folder_that_is_filled_loses_its_rejection(brief_clip: Path, tmp_path: Path) -> None:
    folder, root = tmp_path / "videos", tmp_path / "dataset"
    config = AnnotateConfig(videos=(str(folder), str(brief_clip)), dataset=root)
    assert annotate_videos(config=config).rejections == {"not_found": 1}
    folder.mkdir()
    assert annotate_videos(config=config).rejections == {"not_found": 1}
    shutil.copy(brief_clip, folder / "copy.mp4")
    assert annotate_videos(config=config).rejections == {"duplicate": 1}


def test_a_file_that_is_back_loses_its_rejection(brief_clip: Path, tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    shutil.copy2(brief_clip, video)
    config = AnnotateConfig(videos=(str(video),), dataset=tmp_path / "dataset")
    assert annotate_videos(config=config).rejections == {}
    video.rename(tmp_path / "away.mp4")
    assert annotate_videos(config=config).rejections == {"not_found": 1}
    (tmp_path / "away.mp4").rename(video)
    assert annotate_videos(config=config).rejections == {}


def test_a_full_disk_ends_in_a_remedy_and_the_run_goes_on(brief_clip: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    # No file may grow: what a full disk does, for any user.
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from flows.commands.main import main; main()"
    )
    command = [sys.executable, "-P", "-c", limited, "annotate", str(brief_clip)]
    done = subprocess.run(
        [*command, "--dataset", str(root)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: poses of shard 1/1 (")
    assert str(brief_clip) in last
    assert "expected room on the disk" in last
    assert "Remedy: free space" in last
    # It is the machine's fault, not the clip's.
    assert not (root / "dataset.json").exists()
    summary = annotate_videos(config=AnnotateConfig(videos=(str(brief_clip),), dataset=root))
    assert summary.rows["annotations"] == 1
    assert summary.rejections == {}


def test_the_folder_of_a_file_to_write_is_made_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The work itself fails at once: there is no model, and no dataset.
    for command in (
        ("t2m", "a person waves", "--model", str(tmp_path / "none"), "--out"),
        ("picture", str(tmp_path / "none")),
        ("render", str(tmp_path / "none")),
    ):
        folder = tmp_path / command[0] / "new"
        run(monkeypatch, capsys, *command, str(folder / "file.gif"))
        assert folder.is_dir()
        code, told = run(monkeypatch, capsys, *command, str(folder))
        assert (code, "expected a file name, found a folder" in told) == (2, True)
        (folder / "file").write_text("")
        code, told = run(monkeypatch, capsys, *command, str(folder / "file" / "x.gif"))
        assert (code, "move away the file that stands in the path" in told) == (1, True)


def test_ten_thousand_paths_are_parameters_of_one_run(tmp_path: Path) -> None:
    videos = tuple(str(tmp_path / f"{'long name of a video ' * 3}{n}.mp4") for n in range(10_000))
    with pytest.raises(StageError) as failed:
        annotate_videos(config=AnnotateConfig(videos=videos, dataset=tmp_path / "dataset"))
    told = str(failed.value)
    assert "rejected: 10000 x not_found" in told
    assert "… and 9995 more" in told
    assert len(told) < 5_000


def test_a_run_of_another_process_tells_its_own_failure() -> None:
    told = describe_state("run fast-fox of train/gpu", Crashed(message="Its process died."))
    assert told.startswith(
        "run fast-fox of train/gpu failed: Its process died. Remedy: see its log"
    )
    assert "found the state Crashed. Remedy: " in describe_state("run x", Crashed())


@pytest.mark.parametrize(
    ("log", "told", "remedy"),
    [
        ("step 1\nerror: step 2: diverges. Remedy: x.\n", "step 2: diverges.", "x."),
        (
            "[rank1]: Traceback (most recent call last):\n[rank1]:   File\n"
            "[rank1]: KeyError: 'pelvis'\n"
            "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n",
            "KeyError: 'pelvis' ",
            "see the log ",
        ),
        (
            "  exitcode  : -9 (pid: 7)\n  traceback : Signal 9 (SIGKILL) received by PID 7\n",
            "a training process was killed",
            "lower loop.batch_size",
        ),
        ("", "it ended with exit code 3.", "see the log "),
    ],
)
def test_a_training_process_that_failed_is_told_in_a_line(
    log: str, told: str, remedy: str, tmp_path: Path
) -> None:
    file = tmp_path / "training.log"
    earlier = b"error: of an earlier start\n"
    file.write_bytes(earlier + log.encode())
    message = describe_end(file, len(earlier), 3)
    assert message.startswith(told)
    assert f"Remedy: {remedy}" in message
    assert "Traceback" not in message
    assert "\n" not in message


def test_a_stage_of_training_names_its_dataset(tmp_path: Path) -> None:
    config = TokenizeConfig(dataset=tmp_path / "dataset", tokenizer=tmp_path / "tokenizer")
    with pytest.raises(StageError) as failed:
        tokenize_motions(config=config)
    told = str(failed.value)
    assert told.startswith(f"tokenize-motions of {config.dataset} failed: {config.tokenizer}: ")
    assert "Remedy: " in told


def test_a_configuration_of_ten_thousand_paths_is_logged_shortly() -> None:
    videos = tuple(f"/videos/{n}.mp4" for n in range(10_000))
    told = loggable(AnnotateConfig(videos=videos, dataset=Path("/d")))
    assert '"/videos/2.mp4","… (10000 in all)"]' in told
    assert "/videos/3.mp4" not in told
    few = loggable(AnnotateConfig(videos=videos[:10], dataset=Path("/d")))
    assert '"/videos/9.mp4"]' in few


@pytest.mark.parametrize("outcome", ["unavailable", "rate_limited"])
def test_texts_that_are_still_missing_are_told_by_every_later_run(outcome: str) -> None:
    summary = AnnotateSummary(
        dataset=Path("/d"),
        rows={"annotations": 3},
        added={},
        rejections={},
        num_known=3,
        video_s=0.0,
        elapsed_s=1.0,
        outcomes={"captions": {"success": 1, outcome: 2}, "annotations": {outcome: 1}},
    )
    (told,) = [line for line in summary_lines(summary) if "missing" in line]
    assert "3 texts are missing" in told
    assert "--retry-rejected" in told
    whole = summary.model_copy(update={"outcomes": {"captions": {"success": 3}}})
    assert not [line for line in summary_lines(whole) if "missing" in line]


def test_a_server_that_does_not_start_is_a_failure_and_no_wrong_usage(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    server, log = LocalServer(free_port(), "user:token"), tmp_path / "server.log"
    with pytest.raises(
        RuntimeError, match=r"found that it ended\. Remedy: see the end of"
    ) as failed:
        wait_until_ready(server, ended.pid, log)
    assert str(log) in str(failed.value)
    assert "PREFECT_HOME" in str(failed.value)
    assert exit_code(failed.value) == 1


def test_a_run_tells_wrong_fields_in_our_words() -> None:
    """Users of deployments read them in the run's state and log."""
    changes = {"lm": {"pretraining": {"steps": 20}}, "sources": ["a"], "root": "/r"}
    with pytest.raises(ValueError, match="2 fields cannot be used") as refused:
        resolve_config(TrainAllConfig, PRESETS, "tiny", changes)
    assert "lm.pretraining.batch_size: expected a value, found none" in str(refused.value)
    assert "pydantic" not in str(refused.value)
    assert is_usage(refused.value)
