import re
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from annotators.motion.framing import by_prominence, framing, people_at_a_time
from annotators.texts.config import CaptionConfig, PeopleConfig
from annotators.texts.kinematic_captions import caption_from_motion
from annotators.texts.people import people_of
from benchmarks.support.corpus import mocap
from data.motion.skeleton import JOINT
from data.records import ClipScene, ObjectSpan, Outcome, PoseTrack
from tests.support.motions import (
    FRAME_SIZE_PX,
    as_clip,
    as_track,
    raising_left_arm,
    standing,
    waving_right_hand,
)

APPEARANCE = re.compile(
    r"\b(man|woman|boy|girl|he|she|his|her|shirt|dress|trousers|hair|young|old|"
    r"room|street|park|floor tiles|nan|none)\b",
    re.IGNORECASE,
)


def _captions(
    *tracks: PoseTrack, camera: str = "static", count: int | None = None
) -> dict[int | None, str]:
    clip = as_clip(tracks[0], camera=camera)
    people = people_of(tracks, FRAME_SIZE_PX, PeopleConfig())
    captions = caption_from_motion(clip, people.seen, ClipScene("clip", count))
    for caption in captions:
        assert caption.outcome is Outcome.SUCCESS
        assert (caption.clip_id, caption.captioner) == ("clip", "kinematic")
        assert caption.prompt_id.startswith("kinematic-")
    return {caption.track_id: caption.text for caption in captions}


def _caption(track: PoseTrack, camera: str = "static", count: int | None = None) -> str:
    (text,) = _captions(track, camera=camera, count=count).values()
    return text


def _upper_body_only(track: PoseTrack) -> PoseTrack:
    confidence = track.confidence.copy()
    lower = ("hip", "knee", "ankle", "foot", "pelvis")
    confidence[:, [i for name, i in JOINT.items() if name.split("_")[-1] in lower]] = 0.1
    return PoseTrack(
        track.track_id,
        track.pts_s,
        track.joints_3d,
        track.root_trajectory,
        track.joints_2d,
        confidence,
        track.valid,
        track.quality,
    )


def _shifted(track: PoseTrack, x_px: float, scale: float = 1.0, track_id: int = 1) -> PoseTrack:
    joints_2d = track.joints_2d * np.float32(scale)
    joints_2d = joints_2d + np.array([x_px, 0.0], dtype=np.float32)
    return PoseTrack(
        track_id,
        track.pts_s,
        track.joints_3d,
        # Far from the others, so that nobody has to do with anybody else.
        track.root_trajectory - np.array([5.0, 0.0, 9.0], dtype=np.float32) * track_id,
        joints_2d,
        track.confidence,
        track.valid,
        track.quality,
    )


def test_prose_tells_side_count_and_place() -> None:
    text = _caption(as_track(waving_right_hand(4), start_s=30.0))
    assert "in the center of the frame" in text
    assert "their right hand" in text
    assert "four times" in text
    assert "left hand" not in text
    # Times in captions are relative to the start of the clip, not of the video.
    assert not re.search(r"\b3\d(\.\d)? seconds", text)


@pytest.mark.corpus
def test_every_caption_is_clean_prose() -> None:
    for _, label, motion in mocap("cmu_joints22_20fps.npz", "label")[::5]:
        text = _caption(as_track(motion[:200]))
        assert not APPEARANCE.search(text), (label, text)
        sentences = re.split(r"(?<=\.) (?=[A-Z])", text)
        assert 1 <= len(sentences) <= 6, (label, text)
        assert all(s[0].isupper() and s.endswith(".") for s in sentences), (label, text)
        assert "  " not in text and " ," not in text and "{" not in text and "<" not in text


def test_a_person_who_stands_is_said_to_stand() -> None:
    assert "the person stands still" in _caption(as_track(standing()))


def test_unseen_legs_are_named_as_unseen_and_not_told() -> None:
    text = _caption(_upper_body_only(as_track(raising_left_arm())))
    assert "Only the upper body is seen." in text
    assert "left arm" in text
    assert not re.search(r"\b(leg|knee|foot|walk|stand|sit|hip)", text)


def test_people_are_ordered_by_prominence() -> None:
    near = _shifted(as_track(raising_left_arm()), 0.0, track_id=0)
    far = _shifted(as_track(standing(4.0)), -100.0, 0.4, track_id=1)
    assert [t.track_id for t in by_prominence([far, near], FRAME_SIZE_PX)] == [0, 1]
    assert people_at_a_time([near, far]) == 2
    texts = _captions(far, near)
    assert texts[0].startswith("The person on the right is seen from head to foot. At")
    assert "the person on the right raises their left arm" in texts[0]
    assert texts[1].startswith("The person on the left is seen from head to foot, far from")
    assert "the person on the left stands still" in texts[1]
    assert "people" not in texts[0] + texts[1]


def test_the_number_of_people_is_told_as_far_as_it_is_counted() -> None:
    near, far = as_track(standing()), _shifted(as_track(standing()), -100.0, 0.4)
    assert _captions(near, far, count=2)[0].startswith("Two people are in the picture. The person")
    # A detector that counts fewer people than are tracked is not believed.
    assert _captions(near, far, count=1)[0].startswith("The person on the right")
    assert _caption(near).startswith("One person is seen")
    assert _caption(near, count=3).startswith("One of three people is seen")


def test_objects_near_the_person_are_told() -> None:
    spans = ObjectSpan("ball", 1.0, 3.5, 0.8, "right_ankle"), ObjectSpan("skis", 0.0, 4.0, 0.8, "")
    text = _caption(replace(as_track(standing()), objects=spans))
    assert "From 1 to 3.5 seconds, a ball is near their right foot." in text
    assert "Throughout the clip, skis is near" not in text


def test_tracks_at_other_times_are_not_counted_together() -> None:
    first = as_track(standing(2.0), start_s=0.0)
    second = as_track(raising_left_arm(), start_s=4.0, track_id=1)
    assert people_at_a_time([first, second]) == 1


def test_framing_of_parts() -> None:
    track = as_track(standing())
    assert framing(track, FRAME_SIZE_PX).extent == "full"
    # Feet below the lower edge of the image are not visible, whatever their confidence.
    assert framing(track, (1280, 600)).extent == "knees_up"
    assert framing(_upper_body_only(track), FRAME_SIZE_PX).extent == "upper_body"


@pytest.mark.corpus
def test_a_moving_camera_hides_the_way() -> None:
    walk = next(m for _, label, m in mocap("cmu_joints22_20fps.npz", "label") if label == "walk")
    assert "meters per second" in _caption(as_track(walk))
    assert "meters" not in _caption(as_track(walk), camera="moving")


def test_config_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError):
        CaptionConfig.model_validate({"captioner": "oracle"})
    with pytest.raises(ValidationError):
        CaptionConfig.model_validate({"captoiner": "kinematic"})
