"""Videos from S3 and web servers into a dataset on S3, as with local files and a local dataset."""

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from werkzeug.wrappers import Request, Response

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.run import Run
from annotators.stages.downloads import hold_downloads
from annotators.stages.ingest import ingest_files
from annotators.stages.shards import annotate_dataset
from data.errors import Reason
from data.remote.addresses import S3Address
from data.remote.downloads import DownloadConfig
from data.remote.errors import RemoteError
from data.remote.links import link_folder
from data.remote.objects import upload_file
from data.store.check import check_dataset
from data.store.dataset import Dataset
from data.upkeep.comparison import compare_datasets
from data.workers.workers import WorkerConfig, Workers
from tests.support.s3_server import Fault, Faulty, certified, new_bucket, s3_server, serving


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Generator[Faulty]:
    monkeypatch.setattr("data.remote.transfers.FIRST_WAIT_S", 0.0)
    with s3_server(monkeypatch) as server:
        new_bucket("team")
        yield server


@pytest.fixture
def workers() -> Generator[Workers]:
    with Workers(WorkerConfig(num_workers=1)) as pool:
        yield pool


def test_addresses_give_the_rows_of_files(
    s3: Faulty,
    brief_clip: Path,
    portrait_clip: Path,
    pose_model_path: Path,
    detectors_path: Path,
    workers: Workers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @Request.application
    def site(request: Request) -> Response:
        if request.path == "/films/portrait.mp4":
            return Response(portrait_clip.read_bytes(), mimetype="video/mp4")
        if request.path == "/page.mp4":
            return Response("<html>Log in</html>", mimetype="text/html")
        return Response("no", 404)

    upload_file(brief_clip, S3Address("team", "films/deep/brief.mp4"))
    upload_file(brief_clip, S3Address("team", "films/text.txt"))
    context, certificate = certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    web = Faulty(site)
    with serving(web, context) as host:
        films = tmp_path / "films.txt"
        names = ("films/portrait.mp4?token=secret", "none.mp4", "page.mp4")
        lines = [f"https://{host}/{name}" for name in names]
        films.write_text("\n".join([*lines, "s3://team/films", "s3://team/none.mp4"]))

        def annotate(dataset: Path, work: str) -> None:
            config = AnnotateConfig(
                videos=(str(films),) if work else (str(tmp_path / "local"),),
                dataset=dataset,
                downloads=DownloadConfig(allow_private=True),
            )
            annotate_dataset(
                config,
                pose_model_path,
                workers,
                NO_MODELS,
                object_detectors=detectors_path,
                downloads=tmp_path / f"cache-{work}",
            )

        s3.faults += [Fault("cut", "GET", "brief.mp4"), Fault(503, "GET", "brief.mp4")]
        root = link_folder("s3://team/walks", tmp_path / "one")
        annotate(root, "one")
        assert s3.requests["GET", "/team/films/deep/brief.mp4"] == 3

        # Another machine knows what is annotated from the list of objects alone.
        other = link_folder("s3://team/walks", tmp_path / "two")
        annotate(other, "two")
        assert s3.requests["GET", "/team/films/deep/brief.mp4"] == 3

    local = tmp_path / "local"
    local.mkdir()
    shutil.copy(brief_clip, local / "brief.mp4")
    shutil.copy(portrait_clip, local / "portrait.mp4")
    annotate(tmp_path / "dataset", "")

    found = Dataset(other)
    paths = [row["path"] for row in found.rows("videos", ["path"])]
    assert sorted(paths) == [f"https://{host}/films/portrait.mp4", "s3://team/films/deep/brief.mp4"]
    rejected = {row["item"]: row["reason"] for row in found.rows("rejections", ["item", "reason"])}
    assert rejected == {
        f"https://{host}/none.mp4": Reason.NOT_FOUND,
        f"https://{host}/page.mp4": Reason.NOT_A_VIDEO,
        "s3://team/none.mp4": Reason.NOT_FOUND,
    }
    assert check_dataset(other) == []
    same = compare_datasets(Dataset(tmp_path / "dataset"), found, ignore=["path", "mtime_ns"])
    assert {name for name, table in same.tables.items() if not table.is_equal} == {"rejections"}


def test_videos_that_do_not_fit_into_the_cache_are_downloaded_again(
    s3: Faulty, brief_clip: Path, portrait_clip: Path, workers: Workers, tmp_path: Path
) -> None:
    for name, file in (("a.mp4", brief_clip), ("b.mp4", portrait_clip)):
        upload_file(file, S3Address("team", f"films/{name}"))
    config = AnnotateConfig(
        videos=("s3://team/films",),
        dataset=tmp_path / "dataset",
        downloads=DownloadConfig(cache_gb=1e-9),
    )
    run = Run(config, tmp_path / "work", workers, downloads=tmp_path / "cache")
    (shard,) = ingest_files(run, None)
    videos = shard.found.videos
    assert [video.name for video in videos] == ["s3://team/films/a.mp4", "s3://team/films/b.mp4"]
    assert not any(video.probe.path.exists() for video in videos)
    # A restart needs no file of what it has probed.
    before = s3.requests.copy()
    assert list(ingest_files(run, None)) == [shard]
    assert s3.requests["GET", "/team/films/a.mp4"] == before["GET", "/team/films/a.mp4"]
    with hold_downloads(run, videos):
        assert all(video.probe.path.exists() for video in videos)
    upload_file(portrait_clip, S3Address("team", "films/a.mp4"))
    with (
        pytest.raises(RemoteError, match=r"a\.mp4: expected the content that was probed"),
        hold_downloads(run, videos),
    ):
        pass
