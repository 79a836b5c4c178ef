"""annotate-videos with models behind a real HTTP service: rows, cost, budget, keys, limits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.sorting import FlowRunSort
from pydantic import SecretStr

from annotators.config import AnnotateConfig
from annotators.stages import publish
from benchmarks.support.chat_server import Asked, ChatServer
from data.store.dataset import Dataset
from flows import annotate
from flows.annotate import annotate_videos
from flows.runtime.failures import StageError
from tests.support import corruption
from tests.support.answers import SCENE, answer

KEY = "sk-very-secret-key-of-the-test"
TWO_CLIPS = {"max_clip_s": 2.5, "min_clip_s": 0.5}
"""Of the portrait clip, which lasts 4 s."""
PRICES = {"small": {"input_usd": 1.0, "output_usd": 2.0}}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key of its own, and a cache of replies that no other test fills."""
    monkeypatch.setenv("TEST_API_KEY", KEY)
    monkeypatch.setattr(annotate, "replies_dir", lambda: tmp_path / "replies")


def _service(server: ChatServer, **more: Any) -> dict[str, Any]:
    return {
        "model": "small",
        "base_url": server.base_url,
        "api_key_name": "TEST_API_KEY",
        "min_backoff_s": 0.01,
        "max_backoff_s": 0.05,
        "timeout_s": 5.0,
        **more,
    }


def _config(server: ChatServer, videos: list[Path], root: Path, **more: Any) -> AnnotateConfig:
    captions = more.pop("captions", {})
    annotations = more.pop("annotations", {})
    service = more.pop("service", _service(server))
    values: dict[str, Any] = {
        "videos": [str(video) for video in videos],
        "dataset": root,
        "clips": {"max_clip_s": 2.0, "min_clip_s": 0.5},
        "captions": {
            "captioner": "openai",
            "service": service,
            "frames_per_clip": 3,
            "frames_per_video": 4,
            "max_side_px": 128,
            **captions,
        },
        "annotations": {"annotator": "openai", "service": service, **annotations},
        "prices": PRICES,
        **more,
    }
    return AnnotateConfig.model_validate(values)


def _rows(root: Path, table: str) -> list[dict[str, Any]]:
    frame: Any = pd.read_parquet(root / table)
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def test_every_clip_gets_a_caption_and_three_levels(portrait_clip: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    with ChatServer(answer=answer) as server:
        config = _config(
            server,
            [portrait_clip],
            root,
            clips=TWO_CLIPS,
            captions={"samples": 2, "use_motion": True},
            annotations={"use_motion": True},
        )
        summary = annotate_videos(config=config)
        calls = list(server.calls)
        again = annotate_videos(config=config)
    clips = _rows(root, "clips")
    captions = _rows(root, "captions")
    annotations = _rows(root, "annotations")
    assert len(clips) == 2
    whole = [row for row in captions if row["clip_id"] is None]
    assert [row["text"] for row in whole] == [SCENE]
    assert sorted((row["clip_id"], row["sample"]) for row in captions if row["clip_id"]) == sorted(
        (clip["clip_id"], sample) for clip in clips for sample in (0, 1)
    )
    for row in captions:
        assert (row["captioner"], row["model"], row["outcome"]) == ("openai", "small", "success")
        assert row["request_id"].startswith("req-")
        assert row["uses_motion"] == (row["clip_id"] is not None)
        assert len(row["frame_times_s"]) == (3 if row["clip_id"] else 4)
        assert row["tokens_in"] > 100
        assert row["cost_usd"] == pytest.approx(
            (row["tokens_in"] * 1.0 + row["tokens_out"] * 2.0) / 1e6
        )
    assert sorted(row["clip_id"] for row in annotations) == sorted(c["clip_id"] for c in clips)
    spans = {clip["clip_id"]: (clip["start_s"], clip["end_s"]) for clip in clips}
    for row in annotations:
        assert (row["annotator"], row["outcome"]) == ("openai", "success")
        assert len(row["medium"]) == len(row["medium_grounding"]) == 2
        start_s, end_s = spans[row["clip_id"]]
        assert all(start_s <= s["start_s"] < s["end_s"] <= end_s for s in row["fine"])
        # A man who sits in a car does not walk; only his upper body is seen.
        assert row["fine"][0]["grounding"]["verdict"] == "not_measurable"
    # One scene per video, though the model would tell another one for each clip.
    assert len({row["coarse"] for row in annotations}) == 1
    assert _rows(root, "videos")[0]["coarse"] == annotations[0]["coarse"]
    shown = [call for call in calls if call.num_pictures == 3]
    assert all("Measured, with times" in call.text and SCENE in call.text for call in shown)
    # 1 video, 2 clips of 2 samples, 2 annotations; a second run asks nothing.
    assert len(calls) == summary.spend.calls == 7
    assert (again.spend.calls, again.num_known) == (0, 1)
    total_usd = sum(row["cost_usd"] for row in (*captions, *annotations))
    assert summary.spend.usd == pytest.approx(total_usd)


def test_the_api_key_is_in_no_row_and_no_log(
    brief_clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "dataset"
    with ChatServer(answer=answer, fault=lambda _: "echo_key") as server:
        annotate_videos(config=_config(server, [brief_clip], root))
    annotations = _rows(root, "annotations")
    assert [row["outcome"] for row in annotations] == ["skipped"]
    assert "you sent" in _rows(root, "captions")[0]["reason"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    # Parquet compresses: look at the values as well.
    for table in ("captions", "annotations"):
        assert KEY not in json.dumps(_rows(root, table), default=str)
    assert KEY not in caplog.text
    with get_client(sync_client=True) as client:
        assert KEY not in "".join(str(a.data) for a in client.read_artifacts())
        runs = client.read_flow_runs()
        assert KEY not in "".join(run.model_dump_json() for run in runs)


def test_a_budget_publishes_what_it_paid_for(
    brief_clip: Path, portrait_clip: Path, tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    videos = [brief_clip, portrait_clip]
    with ChatServer(answer=answer) as server:
        one_at_a_time = _service(server, max_concurrency=1, max_output_tokens=64)
        dry = annotate_videos(
            config=_config(
                server, videos, root, service=one_at_a_time, clips=TWO_CLIPS, dry_run=True
            )
        )
        assert not server.calls
        assert dry.remaining is not None
        assert dry.remaining.calls == 8
        assert dry.remaining.usd is not None
        # One video a shard, and money for the first one's calls only.
        limited = _config(
            server,
            videos,
            root,
            service=one_at_a_time,
            clips=TWO_CLIPS,
            budget_usd=0.6 * dry.remaining.usd,
            shard_clips=1,
        )
        first = annotate_videos(config=limited)
        paid = dict(server.paid)
        assert first.remaining is not None
        assert first.remaining.usd is not None
        assert first.spend.usd <= 0.6 * dry.remaining.usd
        assert 0 < first.remaining.calls < 8
        assert 0 < first.remaining.usd < dry.remaining.usd
        assert first.rows["videos"] < 2
        rest = annotate_videos(config=limited.model_copy(update={"budget_usd": None}))
    assert rest.remaining is None
    assert rest.rows["videos"] == 2
    # What the first run paid for was not asked again. Clips whose captions are alike share an
    # answer, which no estimate can know before there are captions.
    left = first.remaining
    known = sum(part.cached for part in (left.captions, left.annotations) if part)
    assert rest.spend.calls + rest.spend.cache_hits == left.calls + known
    assert set(server.paid.values()) == {1}
    assert len(server.paid) == len(paid) + rest.spend.calls
    outcomes = [row["outcome"] for t in ("captions", "annotations") for row in _rows(root, t)]
    assert set(outcomes) == {"success"}


def test_a_service_that_refuses_stops_the_run_and_it_can_go_on(
    brief_clip: Path, tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    video = brief_clip

    def quota_after_captions(asked: Asked) -> str | None:
        return "quota" if "<descriptions>" in asked.text else None

    with ChatServer(answer=answer, fault=quota_after_captions) as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
        config = _config(server, [video], root)
        with pytest.raises(RuntimeError, match=r"no credit.*Remedy: check the key"):
            annotate_videos(config=config)
    assert not _has_rows(root, "annotations")
    with ChatServer(answer=answer, port=port) as server:
        summary = annotate_videos(config=config)
    assert summary.outcomes == {"captions": {"success": 2}, "annotations": {"success": 1}}
    # The captions had been paid for.
    assert len(server.calls) == 1


def _has_rows(root: Path, table: str) -> bool:
    if not (root / "dataset.json").exists():
        return False
    return Dataset(root).read(table).num_rows > 0


def test_an_unavailable_service_is_data_and_is_tried_again_on_demand(
    brief_clip: Path, multishot_clip: Path, tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    videos = [brief_clip, multishot_clip]
    down = True
    with ChatServer(answer=answer, fault=lambda _: "503" if down else None) as server:
        config = _config(
            server, videos[:1], root, service=_service(server, max_attempts=2), clips={}
        )
        with pytest.raises(StageError, match="are missing: "):
            annotate_videos(config=config)
        assert {row["outcome"] for row in _rows(root, "captions")} == {"unavailable"}
        (row,) = _rows(root, "annotations")
        assert (row["outcome"], len(row["medium"])) == ("skipped", 0)
        assert "unavailable" in row["reason"]
        # A second video, with a shot that is too short for a clip.
        config = config.model_copy(update={"videos": tuple(map(str, videos))})
        with pytest.raises(StageError, match="are missing: "):
            annotate_videos(config=config)
        num_calls = len(server.calls)
        annotate_videos(config=config)
        assert len(server.calls) == num_calls
        before = {table: _rows(root, table) for table in ("clips", "poses", "rejections", "videos")}
        down = False
        again = config.model_copy(
            update={"retry_rejected": True, "pose_model": _no_model(tmp_path)}
        )
        with pytest.MonkeyPatch.context() as patch:
            # Poses that were found are not looked for again: the model could not even be loaded.
            patch.setattr(publish, "file_sha256", lambda _: _recipe_model(root))
            annotate_videos(config=again)
    # The person of one clip is tracked for half a second: nothing is asked about this clip.
    unasked = {r["item_id"] for r in before["rejections"] if r["reason"] == "poorly_seen"}
    captions = [r for r in _rows(root, "captions") if r["clip_id"] not in unasked]
    assert {row["outcome"] for row in captions} == {"success"}
    assert {row["outcome"] for row in _rows(root, "annotations")} == {"success"}
    for table, rows in before.items():
        assert _plain(rows, table) == _plain(_rows(root, table), table)


def test_an_endpoint_that_is_down_ends_in_what_is_missing_and_how_to_ask_again(
    brief_clip: Path, tmp_path: Path
) -> None:
    root = tmp_path / "dataset"
    with ChatServer(answer=answer) as server:
        config = _config(server, [brief_clip], root, service=_service(server, max_attempts=2))
        url = server.base_url
    # Nobody listens any more.
    with pytest.raises(StageError) as failed:
        annotate_videos(config=config)
    told = str(failed.value)
    assert f"{url} did not answer 2 requests to small, the last one with: APIConnectionErr" in told
    assert "--retry-rejected" in told
    # It is published what came of it, and it does not look green.
    assert {row["outcome"] for row in _rows(root, "captions")} == {"unavailable"}
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    state = runs[0].state
    assert state is not None
    assert state.is_failed()
    assert "did not answer 2 requests" in str(state.message)


def test_a_refused_key_is_the_first_failure_that_is_told(
    brief_clip: Path, sample_clip: Path, tmp_path: Path
) -> None:
    other = corruption.filmed_again(
        sample_clip, tmp_path / "other.mp4", frames=range(0, 25, 5), rate=5
    )
    with ChatServer(answer=answer, fault=lambda _: "401") as server:
        config = _config(server, [brief_clip, other], tmp_path / "dataset", shard_clips=1)
        with pytest.raises(StageError) as failed:
            annotate_videos(config=config)
    told = str(failed.value)
    assert told.startswith("captions of shard ")
    assert f"({brief_clip})" in told or f"({other})" in told
    assert "HTTP 401" in told
    assert "Remedy: check the key (TEST_API_KEY)" in told
    assert "2 of 2 shards failed" in told
    assert "PENDING" not in told
    assert KEY not in told


def _no_model(folder: Path) -> Path:
    """A file that is no pose model."""
    path = folder / "no_model.task"
    path.write_bytes(b"no model")
    return path


def _recipe_model(root: Path) -> str:
    return str(Dataset(root).manifest["recipe"]["pose_model"])


def _plain(rows: list[dict[str, Any]], table: str) -> list[str]:
    """Rows to compare; a video's scene is written anew."""
    if table == "videos":
        rows = [{name: value for name, value in row.items() if name != "coarse"} for row in rows]
    return sorted(str({name: _value(value) for name, value in row.items()}) for row in rows)


def _value(value: Any) -> Any:
    return [float(v) for v in value] if hasattr(value, "tolist") and len(value) > 3 else str(value)


def test_a_global_concurrency_limit_is_honoured(portrait_clip: Path, tmp_path: Path) -> None:
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name="gpt", limit=1, active=True)
        )
    video = portrait_clip
    with ChatServer(answer=answer, delay_s=0.2) as server:
        config = _config(server, [video], tmp_path / "limited", captions={"samples": 2})
        annotate_videos(config=config.model_copy(update={"concurrency_limit": "gpt"}))
        assert server.most_at_once == 1
        with pytest.raises(ValueError, match="global-concurrency-limit create nobody"):
            annotate_videos(config=config.model_copy(update={"concurrency_limit": "nobody"}))


def test_a_missing_key_is_told_before_any_work(tmp_path: Path, portrait_clip: Path) -> None:
    config = AnnotateConfig.model_validate(
        {
            "videos": [str(portrait_clip)],
            "dataset": tmp_path / "dataset",
            "captions": {
                "captioner": "openai",
                "service": {"model": "gpt-4.1-mini", "api_key_name": "NOT_THERE"},
            },
        }
    )
    with pytest.raises(ValueError, match=r"NOT_THERE_FILE.*not-there"):
        annotate_videos(config=config)
    assert not (tmp_path / "dataset").exists()


def test_the_key_may_lie_in_a_secret_block(
    brief_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.blocks.system import Secret

    monkeypatch.delenv("TEST_API_KEY")
    Secret(value=SecretStr(KEY)).save("test-api-key", overwrite=True)
    with ChatServer(answer=answer, fault=lambda _: "echo_key") as server:
        annotate_videos(config=_config(server, [brief_clip], tmp_path / "dataset"))
    # The service echoed what it was sent, and the client took the key out of it.
    assert "you sent Bearer [key]" in _rows(tmp_path / "dataset", "captions")[0]["reason"]


def test_the_command_takes_models(brief_clip: Path, tmp_path: Path) -> None:
    avatargpt = str(Path(sys.executable).with_name("avatargpt"))
    with ChatServer(answer=answer) as server:
        done = subprocess.run(
            [
                *(avatargpt, "annotate", str(brief_clip)),
                *("--dataset", str(tmp_path / "dataset"), "--captioner", "openai"),
                *("--annotator", "openai", "--model", "small", "--base-url", server.base_url),
                "--dry-run",
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "AVATARGPT_CACHE_DIR": str(_cache_with_assets(tmp_path))},
        )
    assert done.returncode == 0, done.stderr
    assert "1 clips of 1 videos: 3 calls" in done.stdout
    assert "price not known" in done.stdout
    assert not server.calls


def _cache_with_assets(folder: Path) -> Path:
    """A cache folder of this test's own, with the fetched assets in it."""
    from flows.settings import Settings

    cache = folder / "cache"
    cache.mkdir()
    for asset in Settings().cache_dir.expanduser().iterdir():
        if asset.is_file():
            (cache / asset.name).symlink_to(asset)
    return cache
