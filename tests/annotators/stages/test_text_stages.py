"""Text stages whose service fails and whose process is killed: nothing is lost or paid twice."""

import json
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from pathlib import Path

from annotators.models import open_models
from annotators.run import Run
from annotators.stages.staged import StagedAnnotations, StagedCaptions, read_staged, video_path
from annotators.stages.texts import annotate_videos, caption_videos
from benchmarks.support.chat_server import PAID, Asked, ChatServer
from data.store.dataset import Dataset
from data.workers.workers import Workers
from tests.support.answers import answer
from tests.support.replies import kept_ids
from tests.support.text_run import make_config, put_in_place
from tests.support.tiny_vlm import save_tiny_smolvlm

NUM_VIDEOS, CLIPS_EACH = 6, 26
LIMIT_S = 300.0
PASSING = ("429", "429_date", "500", "503", "reset", "bad_body", "slow", "mid_body", "length")
"""Faults that a repeated request may not meet again."""
LASTING = ("refusal", "filter", "filter_400", "400", "empty_choices", "no_content")
WRONG_FORM = ("not json", "[]", '{"coarse": 3}', '{"coarse": "x", "medium": [], "fine": []}')


def _share(asked: Asked, salt: int) -> float:
    return int(asked.key[salt : salt + 6], 16) / 16**6


def _answer(asked: Asked) -> str:
    """Now and then in a wrong form, which a repair mends for half of them."""
    if "<descriptions>" not in asked.text:
        return f"{answer(asked)} Seen as number {asked.key[:8]}."
    if _share(asked, 10) > 0.2:
        return answer(asked)
    repaired = "cannot be used" in asked.text and _share(asked, 16) < 0.5
    return answer(asked) if repaired else WRONG_FORM[int(asked.key[12:16], 16) % len(WRONG_FORM)]


class _FaultyService:
    """Fails a third of the requests, and holds calls so that their client can be killed amid them.

    Which fault a request gets depends on its content, so that it gets the same in every run.
    """

    def __init__(self) -> None:
        self._lasting: dict[str, str] = {}
        self.held = 0
        self._lock = threading.Lock()
        self._calls = 0
        self._closes_at: int | None = None
        self._reached = threading.Event()
        self._opened = threading.Event()

    def close_at(self, number: int) -> None:
        """Hold the call of this number, counted over all runs, and those after it."""
        self._reached.clear()
        self._opened.clear()
        self._closes_at = number

    def open(self) -> None:
        """Let go of the calls that are held."""
        self._closes_at = None
        self._opened.set()

    def wait(self) -> bool:
        """Wait for the first call that is held; false where none comes."""
        return self._reached.wait(LIMIT_S)

    def fault(self, asked: Asked) -> str | None:
        with self._lock:
            self._calls += 1
            holds = self._closes_at is not None and self._calls >= self._closes_at
            self.held += holds
        if holds:
            self._reached.set()
            self._opened.wait(LIMIT_S)
        return self._fault(asked)

    def _fault(self, asked: Asked) -> str | None:
        """Most faulty requests fail once, some for good, and some only after all repeats."""
        draw, kind = _share(asked, 0), int(asked.key[6:10], 16)
        # Slow replies are rare, because each of them takes a second.
        if draw < 0.02:
            return ("slow", "mid_body")[kind % 2] if asked.number == 1 else None
        if draw < 0.24:
            return PASSING[kind % 6] if asked.number == 1 else None
        if draw < 0.26:
            return "length"
        if draw < 0.31:
            # In turns, so that a few requests are enough to see every kind.
            with self._lock:
                turn = LASTING[len(self._lasting) % len(LASTING)]
                return self._lasting.setdefault(asked.key, turn)
        return "503" if draw < 0.33 else None


def test_faults_and_kills(videos_dir: Path, tmp_path: Path) -> None:
    root, cache = tmp_path / "dataset", tmp_path / "replies"
    service = _FaultyService()
    kept: set[str] = set()
    # While most captions, and while most annotations, are still to be written.
    kills = (60, 240)
    with ChatServer(answer=_answer, fault=service.fault, delay_s=0.02) as server:
        command = [
            *(sys.executable, "-m", "tests.support.text_run", str(root)),
            *(str(videos_dir / "worker_walk.mp4"), server.base_url, str(cache)),
            *(str(NUM_VIDEOS), str(CLIPS_EACH)),
        ]
        for num_calls in kills:
            service.close_at(num_calls)
            process = subprocess.Popen(command)
            assert service.wait()
            process.kill()
            assert process.wait() == -signal.SIGKILL
            kept |= kept_ids(cache)
            service.open()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        calls = list(server.calls)

    _assert_each_clip_once(root)
    repeated = _assert_nothing_paid_twice(calls, kept | kept_ids(cache))
    # Under way when it was killed: what was held, and at most what else was allowed at a time.
    assert repeated <= service.held + 16 * len(kills)
    faults = sum(call.fault is not None for call in calls)
    assert 0.2 < faults / len(calls) < 0.5, f"{faults} of {len(calls)} calls failed"


def _assert_each_clip_once(root: Path) -> None:
    dataset = Dataset(root)
    clip_ids = sorted(row["clip_id"] for row in dataset.read("clips").to_pylist())
    assert len(clip_ids) == NUM_VIDEOS * CLIPS_EACH
    captions = dataset.read("captions").to_pylist()
    annotations = dataset.read("annotations").to_pylist()
    assert sorted(row["clip_id"] for row in captions if row["clip_id"]) == clip_ids
    assert sorted(row["clip_id"] for row in annotations) == clip_ids
    outcomes = Counter(row["outcome"] for row in annotations)
    assert outcomes["success"] > 0.6 * len(clip_ids)
    # Every kind of failure is in the data.
    seen = set(outcomes) | {row["outcome"] for row in captions}
    assert {"refused", "filtered", "truncated", "invalid", "unavailable", "error"} <= seen
    for row in (*captions, *annotations):
        assert bool(row["reason"]) or row["outcome"] == "success", row
    for row in annotations:
        assert bool(row["medium"]) == bool(row["fine"]) == (row["outcome"] == "success")
    by_video: defaultdict[str, set[str]] = defaultdict(set)
    for row in annotations:
        by_video[row["video_id"]].add(row["coarse"])
    assert all(len(scenes) == 1 for scenes in by_video.values())


def _assert_nothing_paid_twice(calls: list[Asked], kept: set[str]) -> int:
    """One call for each request, one more for each that failed or whose reply nobody wrote down.

    Args:
        calls: of all runs.
        kept: ids of those whose replies were ever kept.

    Returns:
        How many good replies were given again.
    """

    def lost(call: Asked) -> bool:
        return call.request_id not in kept

    by_key: defaultdict[str, list[Asked]] = defaultdict(list)
    for call in calls:
        by_key[call.key].append(call)
    repeated = 0
    for listed in by_key.values():
        excused = sum(call.fault is not None or lost(call) for call in listed)
        assert len(listed) <= 1 + excused, [(c.fault, c.paid, c.request_id) for c in listed]
        good = [call for call in listed if call.paid and call.fault not in PAID]
        assert sum(not lost(call) for call in good) <= 1
        repeated += max(len(good) - 1, 0)
    return repeated


def test_batches_make_the_same_rows(videos_dir: Path, tmp_path: Path) -> None:
    """Both stages through the Batch API, some requests of which fail."""
    with ChatServer(
        answer=answer, fault=lambda a: "500" if a.number == 1 and _share(a, 0) < 0.3 else None
    ) as server:
        config = make_config(tmp_path / "dataset", server.base_url)
        assert config.captions.service is not None
        batched = config.captions.service.model_copy(update={"batch": True, "batch_poll_s": 0.05})
        config = config.model_copy(
            update={
                "captions": config.captions.model_copy(update={"service": batched}),
                "annotations": config.annotations.model_copy(update={"service": batched}),
            }
        )
        work = tmp_path / "work"
        with (
            Workers(config.workers) as workers,
            open_models(config, lambda _: None, tmp_path / "replies") as models,
        ):
            scans = put_in_place(work, videos_dir / "worker_walk.mp4", 2, 5)
            captioned = caption_videos(Run(config, work, workers, models=models), scans)
            done = annotate_videos(Run(config, work, workers, models=models), captioned)
    assert len(done) == 2
    # A batch each for videos, clips, first clips and the rest, and for what failed in them.
    assert 4 <= len(server.batches) <= 12
    for scan in scans:
        video_id = scan.video.video_id
        captions = read_staged(StagedCaptions, video_path(work, "captions", video_id)).captions
        texts = read_staged(StagedAnnotations, video_path(work, "annotations", video_id))
        assert [c.outcome for c in captions] == ["success"] * 6
        assert [a.outcome for a in texts.annotations] == ["success"] * 5
    # All of it through batches: none of the calls came one by one.
    listed = sum(len(data.splitlines()) for data in _batch_inputs(server))
    assert listed == len(server.calls)


def _batch_inputs(server: ChatServer) -> list[bytes]:
    return [server.files[batch["input_file_id"]] for batch in server.batches.values()]


def test_a_model_in_this_process(videos_dir: Path, tmp_path: Path) -> None:
    """The stages with ``transformers``: the real code on a tiny model with random weights."""
    folder = save_tiny_smolvlm(tmp_path / "tiny-vlm")
    config = make_config(tmp_path / "dataset", "http://127.0.0.1:1/v1")
    local = {"model": str(folder), "max_new_tokens": 4, "device": "cpu", "batch_size": 3}
    values = json.loads(config.model_dump_json())
    values["captions"] |= {"captioner": "transformers", "local_model": local, "samples": 2}
    values["annotations"] = {"annotator": "rules"}
    config = type(config).model_validate(values)
    work = tmp_path / "work"
    with (
        Workers(config.workers) as workers,
        open_models(config, lambda _: None, tmp_path / "replies") as models,
    ):
        scans = put_in_place(work, videos_dir / "worker_walk.mp4", 1, 2)
        captioned = caption_videos(Run(config, work, workers, models=models), scans)
        (scan,) = annotate_videos(Run(config, work, workers, models=models), captioned)
    staged = read_staged(StagedCaptions, video_path(work, "captions", scan.video.video_id))
    assert [(c.clip_id, c.sample) for c in staged.captions] == [
        (None, 0),
        *((clip.clip_id, sample) for clip in scan.clips for sample in (0, 1)),
    ]
    for caption in staged.captions:
        assert (caption.captioner, caption.model) == ("transformers", "tiny-vlm")
        # Random weights rarely end a sentence: what they said in four tokens is kept.
        assert caption.outcome in ("truncated", "success", "invalid")
        assert caption.tokens_in > 50
        assert 0 <= caption.tokens_out <= 4
    assert not list((tmp_path / "replies").rglob("*.json"))


def test_a_scene_that_was_cut_off_is_not_told(videos_dir: Path, tmp_path: Path) -> None:
    """It stays in its row; clips and annotations are asked for without it."""
    with ChatServer(
        answer=answer, fault=lambda a: "length" if "whole videos" in a.text else None
    ) as server:
        config = make_config(tmp_path / "dataset", server.base_url)
        work = tmp_path / "work"
        with (
            Workers(config.workers) as workers,
            open_models(config, lambda _: None, tmp_path / "replies") as models,
        ):
            scans = put_in_place(work, videos_dir / "worker_walk.mp4", 1, 2)
            captioned = caption_videos(Run(config, work, workers, models=models), scans)
            annotate_videos(Run(config, work, workers, models=models), captioned)
    video_id = scans[0].video.video_id
    staged = read_staged(StagedCaptions, video_path(work, "captions", video_id))
    whole = next(c for c in staged.captions if c.clip_id is None)
    assert whole.outcome == "truncated"
    assert whole.text
    others = [call for call in server.calls if "whole videos" not in call.text]
    assert len(others) == 4
    assert not any("The whole video:" in call.text for call in others)
