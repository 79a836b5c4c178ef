"""With the Batch API, the texts of all shards of a run are asked for together."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from annotators.config import AnnotateConfig
from annotators.models import open_models
from annotators.run import Run
from annotators.stages.ingest import Ingested, Shard
from annotators.stages.shards import STAGES, Finished, items_of, work_through
from annotators.stages.staged import StagedScan
from benchmarks.support.chat_server import ChatServer
from data.workers.workers import Workers
from tests.support.answers import answer
from tests.support.text_run import make_config, put_in_place

NUM_VIDEOS, CLIPS_EACH = 6, 4


def _batched(dataset: Path, base_url: str) -> AnnotateConfig:
    config = make_config(dataset, base_url).model_dump()
    for stage in ("captions", "annotations"):
        config[stage]["service"] |= {"batch": True, "batch_poll_s": 0.05, "timeout_s": 60.0}
    return AnnotateConfig.model_validate({**config, "publish_clips": 2 * CLIPS_EACH})


def test_shards_share_their_batches(sample_clip: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    scans = put_in_place(work, sample_clip, NUM_VIDEOS, CLIPS_EACH)
    published: list[list[str]] = []

    def ingest(give: Callable[[Shard], bool]) -> None:
        # One video each; more than may be under way at a time.
        for number, scan in enumerate(scans, 1):
            assert give(Shard(f"{number}/{len(scans)}", Ingested(videos=(scan.video,))))

    def submit(stage: str, shard: str, given: Any) -> Finished:
        assert shard == "1/1" or stage in ("clips", "poses")
        return Finished(STAGES[stage](run, items_of(given)))

    def publish(found: Ingested, done: Sequence[StagedScan]) -> Mapping[str, int]:
        assert not found.videos
        published.append([scan.video.video_id for scan in done])
        return {"videos": len(done)}

    with ChatServer(answer=answer) as server:
        config = _batched(tmp_path / "dataset", server.base_url)
        with (
            Workers(config.workers) as workers,
            open_models(config, lambda _: None, tmp_path / "replies") as models,
            ThreadPoolExecutor(1) as thread,
        ):
            run = Run(config, work, workers, models=models)
            worked = work_through(run, lambda give: thread.submit(ingest, give), submit, publish)
        # Whole videos, clips, the first clip of each video, and the others.
        assert len(server.batches) == 4
        # Equal requests are sent once.
        assert len(server.calls) > NUM_VIDEOS * CLIPS_EACH
    assert worked.failures == []
    assert worked.num_shards == worked.added["videos"] == NUM_VIDEOS
    ids = [scan.video.video_id for scan in scans]
    assert published == [ids[:2], ids[2:4], ids[4:]]
