"""Commands and the notebook on datasets on S3."""

from collections.abc import Generator
from pathlib import Path

import pytest
from prefect import flow
from typer.testing import CliRunner, Result

import avatargpt
from annotators.config import PRESETS, AnnotateConfig
from data.errors import Stage
from data.remote.addresses import parse_s3
from data.remote.folders import send
from data.remote.links import link_folder
from data.remote.objects import write_object
from data.schemas import SCHEMAS
from data.store.dataset import Dataset
from data.store.writer import open_writer, rows_table
from flows.commands.main import app
from flows.configuration import resolve_config
from flows.settings import folder_of
from flows.train_all import motions_and_plans
from flows.train_all_config import TrainAllConfig
from tests.support.s3_server import Faulty, new_bucket, s3_server

DATASET = "s3://team/sets/walks"


@pytest.fixture(autouse=True)
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Faulty]:
    monkeypatch.setenv("AVATARGPT_HOME", str(tmp_path / "home"))
    with s3_server(monkeypatch) as server:
        new_bucket("team")
        yield server


def _publish(*video_ids: str) -> None:
    rejections = [
        {field.name: None for field in SCHEMAS["rejections"]}
        | {"item_id": one, "video_id": one, "stage": Stage.POSES, "reason": "no_person"}
        for one in video_ids
    ]
    videos = [
        {field.name: None for field in SCHEMAS["videos"]} | {"video_id": one} for one in video_ids
    ]
    with open_writer(folder_of(DATASET), {}) as writer:
        writer.publish(
            {
                "videos": rows_table("videos", videos),
                "rejections": rows_table("rejections", rejections),
            }
        )


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_commands_read_and_keep_a_dataset_on_s3(tmp_path: Path) -> None:
    _publish("v1")
    _publish("v2")
    for command, told in {
        "status": "Publications: 2",
        "rejections": "2 x no_person",
        "check": "",
        "versions": "version 1 to 2, which only added rows",
        "compact": "version 3",
        "collect": "versions up to 2 collected",
    }.items():
        result = _run(command, DATASET)
        assert result.exit_code == 0 and told in result.output, (command, result.output)
    merged = str(tmp_path / "merged")
    assert _run("merge", DATASET, "--dataset", merged).exit_code == 0
    same = _run("diff", merged, DATASET)
    assert same.exit_code == 0 and "equal: 4 rows" in same.output

    frame = avatargpt.open_dataset(DATASET, cache=tmp_path / "notebook").frame("videos")
    assert frame["video_id"].tolist() == ["v1", "v2"]


def test_what_is_not_there_is_named() -> None:
    for address, told in {
        "s3://team/none": "expected a dataset",
        "s3://nowhere/none": "expected the bucket nowhere",
        "s3://x": "expected s3://BUCKET/PREFIX",
    }.items():
        result = _run("status", address)
        assert result.exit_code and told in str(result.exception)


def test_the_first_run_of_another_machine_is_no_model() -> None:
    write_object(parse_s3(f"{DATASET}/.leases/0123.json"), b"{}")
    assert list(folder_of(DATASET).iterdir()) == []


def test_a_deployment_gets_folders_for_addresses(tmp_path: Path) -> None:
    values = {"videos": ["s3://team/films", "https://host/a.mp4"], "dataset": DATASET}
    config = resolve_config(AnnotateConfig, PRESETS, "", values)
    assert config.dataset == link_folder(DATASET, tmp_path / "home")
    assert config.videos == ("s3://team/films", "https://host/a.mp4")


def test_a_model_is_downloaded_by_its_name(tmp_path: Path) -> None:
    root = link_folder("s3://team/runs/first", tmp_path / "trainer")
    (root / "models" / "v-1").mkdir(parents=True)
    (root / "models" / "v-1" / "model.json").write_text("weights")
    (root / "models" / "latest").symlink_to("v-1")
    send(root)
    model = folder_of("s3://team/runs/first/models/latest")
    assert (model / "model.json").read_text() == "weights"


def test_another_machine_goes_on_with_the_motions_of_train_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "s3://team/runs/first"
    config = TrainAllConfig(sources=("procedural:2",), root=folder_of(address))
    made, _ = flow(motions_and_plans)(config)
    monkeypatch.setenv("AVATARGPT_HOME", str(tmp_path / "another"))
    found = folder_of(address) / "motions"
    assert found != made
    # Runs are named by these.
    assert Dataset(made).manifest["tables"] == Dataset(found).manifest["tables"]


def test_deployments_do_not_train_into_a_folder_of_this_machine() -> None:
    address = "s3://team/runs/first"
    result = _run(
        *("train-all", "procedural:4", "--root", address, "--set", "as_deployments=small")
    )
    assert result.exit_code
    told = str(result.exception)
    assert f"root: expected a shared folder with as_deployments, found {address}" in told
    assert "Remedy: name a folder that this machine and the workers share" in told
    # A folder below an address is none either.
    values = {"sources": ["procedural:4"], "as_deployments": "small"}
    with pytest.raises(ValueError, match=f"found {address}/below"):
        TrainAllConfig.model_validate({**values, "root": folder_of(address) / "below"})
    assert TrainAllConfig.model_validate({**values, "as_deployments": "", "root": address})
