"""What the page is told of a clip, a motion and a rejection; its pictures and its video."""

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest
from starlette.testclient import TestClient

from browser.clips import deciding_joints
from browser.media import Media, Span
from data.errors import ItemError, Reason
from data.motion.features import features_to_joints
from data.motion.skeleton import JOINT
from data.schemas import load_features, load_motion, load_pose_2d
from data.store.dataset import Dataset
from data.video.probe import probe_video
from data.video.reader import open_frames
from tests.browser.conftest import ATTACK, Browse


@pytest.mark.parametrize(
    ("measurement", "joints"),
    [
        ("left_wrist rises 0.42 m against left_shoulder", {"left_wrist", "left_shoulder"}),
        ("left knee bends 80 deg", {"left_knee"}),
        ("ankles move 0.69 m apart", {"left_ankle", "right_ankle"}),
        ("pelvis travels 1.9 m in 0.8 s", {"pelvis"}),
        ("no claim on movement that can be measured", set()),
    ],
)
def test_measurements_name_joints(measurement: str, joints: set[str]) -> None:
    assert set(deciding_joints(measurement)) == {JOINT[name] for name in joints}


def test_a_clip_has_its_people_and_texts(client: TestClient, annotated: Path) -> None:
    dataset = Dataset(annotated)
    poses = list(dataset.rows("poses"))
    clip_id = poses[0]["clip_id"]
    shown = client.get(f"/api/clips/{clip_id}").json()
    assert shown["video"]["width_px"] == 480
    assert len(shown["people"]) == len(poses)
    for person, row in zip(shown["people"], poses, strict=True):
        world = np.reshape(person["joints_3d"], (-1, 22, 3))
        np.testing.assert_allclose(world, load_motion(row), atol=6e-4)
        image = np.reshape(person["joints_2d"], (-1, 22, 2))
        np.testing.assert_allclose(image, load_pose_2d(row), atol=0.06)
    annotation = shown["annotations"][0]
    # Texts travel as they are; the page never takes them for markup.
    assert ATTACK in annotation["medium"][-1]
    assert annotation["fine"][0]["joints"] == [JOINT["left_wrist"]]


def test_the_video_has_the_times_of_the_reader(client: TestClient, annotated: Path) -> None:
    clip = next(row for row in Dataset(annotated).rows("clips") if row["num_tracks"])
    answer = client.get("/api/video", params={"kind": "person", "id": clip["clip_id"]})
    assert answer.headers["content-type"] == "video/mp4"
    videos = {row["video_id"]: Path(row["path"]) for row in Dataset(annotated).rows("videos")}
    path = videos[clip["video_id"]]
    with open_frames(path, probe_video(path), start_s=clip["start_s"], end_s=clip["end_s"]) as read:
        expected = [frame.pts_s - clip["start_s"] for frame in read]
    with av.open(io.BytesIO(answer.content), "r") as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        times = [float(frame.time or 0) for frame in container.decode(stream)]
    np.testing.assert_allclose(times, expected, atol=1e-3)
    # A browser jumps about in it.
    part = client.get(
        "/api/video",
        params={"kind": "person", "id": clip["clip_id"]},
        headers={"Range": "bytes=10-19"},
    )
    assert part.status_code == 206
    assert part.content == answer.content[10:20]


def test_a_rejection_opens_at_its_place(client: TestClient, annotated: Path) -> None:
    rows = {row["reason"]: row for row in Dataset(annotated).rows("rejections")}
    shown = client.get(f"/api/rejections/{rows['no_person']['item_id']}").json()
    assert shown["end_s"] > shown["start_s"] >= 0
    assert shown["rejections"][0]["remedy"] == rows["no_person"]["remedy"]
    asked = {"kind": "rejection", "id": rows["no_person"]["item_id"]}
    assert client.get("/api/video", params=asked).status_code == 200
    # A file that is no video says why, and is not sent.
    asked["id"] = rows["not_a_video"]["item_id"]
    refused = client.get("/api/video", params=asked)
    assert refused.status_code == 404
    assert "Remedy" in refused.json()["detail"]


def test_a_motion_without_video_is_sketched(browse: Browse, motions_root: Path) -> None:
    client = browse(motions_root)
    row = next(Dataset(motions_root).rows("motions"))
    shown = client.get(f"/api/motions/{row['motion_id']}").json()
    joints = np.reshape(shown["people"][0]["joints_3d"], (-1, 22, 3))
    np.testing.assert_allclose(joints, features_to_joints(load_features(row)), atol=6e-4)
    assert "features" not in shown["motion"]
    asked = {"kind": "motion", "id": row["motion_id"]}
    picture = client.get("/api/thumbnail", params=asked)
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.text.count("<path") == 3
    assert client.get("/api/video", params=asked).status_code == 404


def test_thumbnails_show_the_person(client: TestClient, annotated: Path) -> None:
    row = next(Dataset(annotated).rows("annotations"))
    asked = {"kind": "person", "id": row["clip_id"], "track": row["track_id"]}
    answer = client.get("/api/thumbnail", params=asked)
    assert answer.headers["content-type"] == "image/jpeg"
    picture = np.asarray(PIL.Image.open(io.BytesIO(answer.content)).convert("L"))
    assert picture.shape == (216, 384)
    # The white lines of the skeleton.
    assert (picture > 240).sum() > 200


def test_unknown_items_are_not_found(client: TestClient) -> None:
    for path in ("clips/none", "motions/none", "rejections/none", "clips/..%2F..%2Fetc"):
        assert client.get(f"/api/{path}").status_code == 404
    assert client.get("/api/thumbnail", params={"kind": "person", "id": "x"}).status_code == 404


def test_another_content_is_not_shown(sample_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    shutil.copy(sample_clip, path)
    with Media(tmp_path / "cache") as media:
        with pytest.raises(ItemError, match="another content") as caught:
            media.video(Span(path, "0" * 16, 0.0, 0.2))
        assert caught.value.reason is Reason.NOT_FOUND
        with pytest.raises(ItemError, match="found none"):
            media.video(Span(tmp_path / "gone.mp4", "", 0.0, 0.2))
        # A killed server leaves nothing behind that would be taken for a video.
        assert not any((tmp_path / "cache").iterdir())


def test_what_a_reviewer_writes_is_measured(client: TestClient, annotated: Path) -> None:
    rows = list(Dataset(annotated).rows("annotations"))

    def measured(row: Mapping[str, Any], **asked: Any) -> Any:
        given = {"track_id": row["track_id"], "start_s": 0.0, "end_s": 4.0}
        return client.get(f"/api/clips/{row['clip_id']}/measure", params=given | asked)

    # The texts of the annotator get the verdicts that they have.
    for row in rows:
        for step in row["fine"]:
            if step["grounding"]["measurement"] == "left_wrist falls 0.30 m":
                continue  # put there by the fixture
            found = measured(row, **{name: step[name] for name in ("text", "start_s", "end_s")})
            assert found.json()["grounding"]["verdict"] == step["grounding"]["verdict"], step
    walker = next(row for row in rows if row["activity"] == "walk")
    walks = measured(walker, text="walk forward").json()
    assert walks["grounding"]["verdict"] == "supported"
    assert "pelvis travels" in walks["grounding"]["measurement"]
    assert JOINT["pelvis"] in walks["joints"]
    assert measured(walker, text="walk backward").json()["grounding"]["verdict"] == "contradicted"
    assert measured(walker, text="walk", track_id=99).status_code == 404
    assert measured(walker, text="").status_code == 422
    assert measured(walker, text="x" * 2001).status_code == 422
