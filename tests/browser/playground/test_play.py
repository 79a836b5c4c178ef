"""Sentences, scenes and in-betweens on a tiny trained model: what the page is answered."""

import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from starlette.testclient import TestClient

from browser.playground.app import PlayConfig, create_play_app
from browser.playground.studio import MAX_WAITING, BusyError, TextRequest, check_model_folder
from browser.playground.studio import Studio as Queue
from browser.safety import Access
from tests.browser.conftest import ADDRESS
from tests.browser.playground.conftest import Studio
from training.checkpoints import CheckpointError
from training.inference.motion_model import MotionModel, load_motion_model


def test_motions_of_a_sentence_are_measured_and_can_be_downloaded(studio: Studio) -> None:
    asked = {"text": "a person walks forward and waves", "count": 2, "seconds": 2}
    events = studio.events("/api/play/text", **asked)
    assert [event["event"] for event in events] == ["queued", "begin", "motion", "motion", "end"]
    motions = events[2:4]
    assert [motion["label"] for motion in motions] == ["seed 0", "seed 1"]
    for motion in motions:
        assert motion["seconds"] == pytest.approx(2.0)
        assert len(motion["joints"]) == 40 * 22 * 3
        found = motion["grounding"]
        assert found["verdict"] in {"supported", "contradicted", "not_measurable"}
        assert [claim["word"] for claim in found["claims"]] == ["walks", "waves"]
        assert all(claim["measurement"] for claim in found["claims"])
    # The same seed makes the same motion.
    again = studio.events("/api/play/text", **asked | {"count": 1, "seed": 1})[2]
    assert again["joints"] == motions[1]["joints"]
    assert again["description"] == motions[1]["description"]
    link = f"/api/motions/{motions[0]['id']}/file"
    files = {
        kind: studio.client.get(link, params={"kind": kind})
        for kind in ("npy", "joints.npy", "bvh", "gif", "mp4")
    }
    for kind, file in files.items():
        assert file.headers["content-disposition"].endswith(f'.{kind}"')
    assert np.load(BytesIO(files["npy"].content)).shape == (40, 263)
    joints = np.load(BytesIO(files["joints.npy"].content))
    np.testing.assert_allclose(joints.ravel(), motions[0]["joints"], atol=6e-4)
    assert b"Frames: 40" in files["bvh"].content
    assert getattr(PIL.Image.open(BytesIO(files["gif"].content)), "n_frames", 0) > 1
    assert b"ftyp" in files["mp4"].content[:16]


def test_a_scene_streams_with_its_plan(studio: Studio) -> None:
    events = studio.events("/api/play/scene", scene="a kitchen", seconds=12)
    pieces = [event for event in events if event["event"] == "piece"]
    (whole,) = [event for event in events if event["event"] == "whole"]
    plan = [span for piece in pieces for span in piece["plan"]]
    joints = sum(len(piece["joints"]) for piece in pieces) / 66
    assert whole["seconds"] == pytest.approx(joints / 20)
    assert whole["seconds"] >= 12
    assert plan[-1]["end_s"] == pytest.approx(whole["seconds"])
    assert [span["kind"] for span in plan[:3]] == ["step", "between", "step"]
    # Each step has a verdict, and what joins two has none.
    assert [bool(found) for found in whole["groundings"]] == [bool(s["step"]) for s in plan]
    assert studio.client.get(f"/api/motions/{whole['id']}/file?kind=npy").status_code == 200


def test_a_scene_without_a_plan_says_so(studio: Studio) -> None:
    (failed,) = [
        event
        for event in studio.events("/api/play/scene", scene="a void")
        if event["event"] == "failed"
    ]
    assert "'a void': expected steps with a motion" in failed["message"]
    assert "Remedy" in failed["message"]


def test_what_lies_between_two_motions(studio: Studio) -> None:
    asked = {"text": "a person jumps", "count": 2, "seconds": 2}
    head, tail = studio.events("/api/play/text", **asked)[2:4]
    ends = {"head": head["id"], "tail": tail["id"]}
    motion = studio.events("/api/play/between", **ends, seconds=1)[2]
    assert motion["seconds"] == pytest.approx(5.0)
    assert motion["grounding"] is None
    gone = studio.post("/api/play/between", ends | {"tail": "m999"})
    assert gone.status_code == 404
    assert "generate it again" in gone.json()["detail"]
    (long,) = studio.events("/api/play/text", text="a person walks", seconds=20)[2:3]
    longer = studio.events("/api/play/between", head=long["id"], tail=tail["id"], seconds=1)[2]
    refused = studio.post("/api/play/between", ends | {"head": longer["id"]})
    assert refused.status_code == 422
    assert "expected at most 20 s" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"text": "  "}, "text"),
        ({"text": "a", "count": 5}, "count"),
        ({"text": "a", "seconds": 21}, "seconds"),
        ({"text": "a", "seed": -1}, "seed"),
        ({}, "text"),
    ],
)
def test_an_unfit_request_is_named(studio: Studio, body: dict[str, object], names: str) -> None:
    answer = studio.post("/api/play/text", body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{names}: ")


def test_generation_needs_the_write_token(studio: Studio) -> None:
    body = {"text": "a person walks"}
    for headers in ({}, {"Origin": ADDRESS}, {"Origin": ADDRESS, "X-Avatargpt": "wrong"}):
        for path in ("text", "scene", "between"):
            answer = studio.client.post(f"/api/play/{path}", json=body, headers=headers)
            assert answer.status_code == 403
    evil = {"Host": "evil.example"}
    assert studio.client.get("/api/model", headers=evil).status_code == 421
    assert studio.client.get("/").headers["content-security-policy"].startswith("default-src")


def test_one_at_a_time_and_a_canceled_one_ends(motion_model: MotionModel) -> None:
    ready = threading.Event()

    def load() -> MotionModel:
        ready.wait()
        return motion_model

    with Queue(load) as queue:
        asked = TextRequest(text="a person walks", count=4, seconds=1)
        jobs = [queue.motions_of(asked) for _ in range(MAX_WAITING)]
        assert [job.events[0]["ahead"] for job in jobs] == list(range(MAX_WAITING))
        with pytest.raises(BusyError, match="Remedy: wait"):
            queue.motions_of(asked)
        for job in jobs[1:]:
            job.cancel()
        ready.set()
        while not jobs[-1].ended:
            pass
        kinds = [[event["event"] for event in job.events] for job in jobs]
        assert kinds[0] == ["queued", "begin", *["motion"] * 4, "end"]
        assert kinds[1:] == [["queued", "end"]] * (MAX_WAITING - 1)


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "models"
    with pytest.raises(CheckpointError, match=r"found none\. Remedy: .*make demo-train"):
        check_model_folder(missing)
    missing.mkdir()
    with pytest.raises(CheckpointError, match=r"found no model\.json in it"):
        check_model_folder(missing)
    (missing / "dataset.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"found a dataset.*avatargpt browse"):
        check_model_folder(missing)


def test_a_damaged_model_is_told_on_the_page(tmp_path: Path, three: Path) -> None:
    (tmp_path / "model.json").write_text('{"format": "other/1"}')
    config = PlayConfig(tmp_path, three, Access("127.0.0.1", 8765))
    with TestClient(create_play_app(config, load_motion_model), base_url=ADDRESS) as client:
        studio = Studio(client)
        assert studio.about["state"] == "failed"
        assert "found other/1" in studio.about["problem"]
        events = studio.events("/api/play/text", text="a person walks")
        assert [event["event"] for event in events] == ["queued", "failed", "end"]
        assert events[1]["message"] == studio.about["problem"]
