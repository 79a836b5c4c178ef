"""Captions by a model: the frames and their order in requests, and the handling of replies."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from annotators.chat.config import ChatConfig
from annotators.chat.service import ChatService
from annotators.texts.config import CaptionConfig
from annotators.texts.frames import TimedFrame, read_clip_frames, read_video_frames, sample_times
from annotators.texts.visual_captions import (
    ClipView,
    ShownPerson,
    VideoView,
    caption_clips,
    caption_whole_videos,
)
from benchmarks.support.chat_server import Asked, ChatServer
from data.records import Clip, Outcome
from data.video.probe import probe_video
from data.video.reader import ReaderConfig
from tests.support.clips import clip_params

NOTE = "The left arm goes up."


@pytest.fixture
def server() -> Generator[ChatServer]:
    with ChatServer(answer=lambda asked: NOTE if asked.num_pictures == 2 else "A walk.") as server:
        yield server


@pytest.fixture
def service(server: ChatServer, tmp_path: Path) -> Generator[ChatService]:
    chat = ChatConfig(model="m", base_url=server.base_url, min_backoff_s=0.01, max_attempts=2)
    with ChatService(chat, None, tmp_path / "replies") as service:
        yield service


def _config(**more: Any) -> CaptionConfig:
    service = ChatConfig(model="m", base_url="http://127.0.0.1:1/v1")
    return CaptionConfig(captioner="openai", service=service, max_side_px=96, **more)


def _clip(path: Path, start_s: float, end_s: float, name: str = "c") -> Clip:
    fps = float(probe_video(path).fps)
    return Clip(
        name, "v", 0, round(start_s * fps), round(end_s * fps), start_s, end_s, 0.5, "static", 0.0
    )


def _view(walk_clip: Path, config: CaptionConfig, name: str = "c", **more: Any) -> ClipView:
    path = walk_clip
    clip = _clip(path, 0.2, 4.2, name)
    frames = read_clip_frames(path, probe_video(path), clip, config, ReaderConfig())
    return ClipView(clip, frames, **more)


def _luma(frame: TimedFrame) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(frame.picture.data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image.astype(np.float64)


def test_times_are_spread_evenly() -> None:
    assert sample_times(2.0, 6.0, 4) == [2.5, 3.5, 4.5, 5.5]


@pytest.mark.parametrize(
    "name", clip_params(["bikes_multishot.mp4", "portrait.mp4", "sign_book.mkv"])
)
def test_frames_are_of_their_times(real_clip: Callable[[str], Path], name: str) -> None:
    path = real_clip(name)
    probe = probe_video(path)
    clip = _clip(path, 0.5, 2.9)
    config = _config(frames_per_clip=6)
    frames = read_clip_frames(path, probe, clip, config, ReaderConfig())
    assert len(frames) == 6
    wanted = sample_times(0.5, 2.9, 6)
    step_s = float(1 / probe.fps)
    for frame, time_s in zip(frames, wanted, strict=True):
        assert abs(frame.time_s - time_s) <= step_s + 1e-6
        assert max(frame.picture.width_px, frame.picture.height_px) == 96
    # The images are equal to those that OpenCV reads at these times.
    capture = cv2.VideoCapture(str(path))
    for frame in frames:
        capture.set(cv2.CAP_PROP_POS_FRAMES, round(frame.time_s / step_s))
        ok, image = capture.read()
        assert ok
        size = (frame.picture.width_px, frame.picture.height_px)
        gray = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), 6)
        assert np.abs(_luma(frame) - gray).mean() < 6.0


def test_frames_of_a_whole_video(multishot_clip: Path) -> None:
    path = multishot_clip
    probe = probe_video(path)
    frames = read_video_frames(
        path, probe, probe.duration_s, _config(frames_per_video=8), ReaderConfig()
    )
    assert len(frames) == 8
    for frame, time_s in zip(frames, sample_times(0.0, probe.duration_s, 8), strict=True):
        assert abs(frame.time_s - time_s) <= 2 / float(probe.fps)


def test_all_frames_in_one_request(
    walk_clip: Path, server: ChatServer, service: ChatService
) -> None:
    config = _config(frames_per_clip=4, samples=3, use_motion=True)
    view = _view(walk_clip, config, motion="The pelvis moves 3 m.", scene="A yard.")
    captions = list(caption_clips([view], service, config))
    assert sorted(c.sample for c in captions) == [0, 1, 2]
    assert {c.outcome for c in captions} == {Outcome.SUCCESS}
    assert len(server.calls) == 3
    asked = server.calls[0]
    assert asked.num_pictures == 4
    assert "The clip lasts 4.0 s. Its 4 frames:" in asked.text
    # Times are relative to the clip, in order, each before its image.
    times = [line for line in asked.text.splitlines() if line.endswith(" s:")]
    assert times == ["0.5 s:", "1.5 s:", "2.5 s:", "3.5 s:"]
    assert "The whole video: A yard." in asked.text
    assert "Measured, with times from the clip's start: The pelvis moves 3 m." in asked.text
    for caption in captions:
        assert caption.text == "A walk."
        assert caption.uses_motion
        assert caption.prompt_id.startswith("clip_caption-")
        assert [round(t, 1) for t in caption.frame_times_s] == [0.7, 1.7, 2.7, 3.7]


def test_the_prompt_names_the_people_who_are_marked(
    walk_clip: Path, server: ChatServer, service: ChatService
) -> None:
    config = _config(frames_per_clip=3)
    people = ShownPerson(1, 4, "on the left"), ShownPerson(2, 0, "on the right")
    boxes = _view(walk_clip, config, people=people, mark="boxes")
    named = _view(walk_clip, config, people=people)
    crops = _view(walk_clip, config, people=people[1:], mark="crops")
    captions = list(caption_clips([boxes, named, crops], service, config))
    assert sorted(c.track_id if c.track_id is not None else -1 for c in captions) == [-1, -1, 0]
    texts = [call.text for call in server.calls]
    both = "Describe person 1 (on the left), person 2 (on the right)."
    (marked,) = [text for text in texts if f"{both} Each of them is in a box" in text]
    assert 'begin the sentences about a person with "Person" and the number' in marked
    assert sum(both in text and "box" not in text for text in texts) == 1
    assert sum("cropped to person 2 (on the right), who is in the box" in t for t in texts) == 1
    assert all("The clip lasts 4.0 s." in text for text in texts)


def test_changes_then_a_summary(walk_clip: Path, server: ChatServer, service: ChatService) -> None:
    config = _config(frames_per_clip=4, mode="differential")
    views = [_view(walk_clip, config, name) for name in ("a", "b")]
    captions = list(caption_clips(views, service, config))
    assert [c.clip_id for c in captions] == ["a", "b"]
    # Requests for equal clips are sent once: three changes and one summary.
    assert len(server.calls) == 4
    changes, summary = server.calls[:3], server.calls[3]
    assert all(call.num_pictures == 2 for call in changes)
    assert "between 0.5 s and 1.5 s" in changes[0].text
    assert "The change before" not in changes[0].text
    assert f"The change before: 0.5 s to 1.5 s: {NOTE}" in changes[1].text
    assert f"The change before: 1.5 s to 2.5 s: {NOTE}" in changes[2].text
    assert summary.num_pictures == 4
    assert summary.text.count(NOTE) == 3
    # The cost of a caption is that of all its calls.
    first = captions[0]
    assert first.prompt_id.startswith("clip_summary-")
    assert first.text == "A walk."
    assert first.tokens_in == service.spend.tokens_in


def test_a_failed_change_fails_its_caption_alone(
    walk_clip: Path, server: ChatServer, service: ChatService
) -> None:
    config = _config(frames_per_clip=3, mode="differential")
    views = [_view(walk_clip, config, "a"), _view(walk_clip, config, "b", scene="Other.")]

    def fault(asked: Asked) -> str | None:
        # Only the summary of "b", because only its prompt contains the scene.
        return "refusal" if "Other." in asked.text else None

    server.fault = fault
    good, bad = caption_clips(views, service, config)
    assert (good.outcome, good.text) == (Outcome.SUCCESS, "A walk.")
    assert (bad.outcome, bad.text) == (Outcome.REFUSED, "")
    assert "cannot help" in bad.reason


def test_failed_captions_are_rows_with_an_outcome(
    walk_clip: Path, server: ChatServer, service: ChatService
) -> None:
    config = _config(frames_per_clip=3)
    faults = {"a": "refusal", "b": "filter", "c": "length", "d": "503", "e": None, "f": "400"}
    views = [_view(walk_clip, config, name, scene=f"Scene {name}.") for name in faults]
    empty = ClipView(_clip(walk_clip, 0.0, 1.0, "g"), (), problem="unreadable")
    server.fault = lambda asked: next(
        fault for name, fault in faults.items() if f"Scene {name}." in asked.text
    )
    captions = {c.clip_id: c for c in caption_clips([*views, empty], service, config)}
    assert {name: c.outcome for name, c in captions.items()} == {
        "a": Outcome.REFUSED,
        "b": Outcome.FILTERED,
        "c": Outcome.TRUNCATED,
        "d": Outcome.UNAVAILABLE,
        "e": Outcome.SUCCESS,
        "f": Outcome.ERROR,
        "g": Outcome.SKIPPED,
    }
    assert captions["g"].reason == "unreadable"
    assert all(c.reason for c in captions.values() if c.outcome is not Outcome.SUCCESS)
    # A truncated reply is stored, because it was paid for, but it is not a caption.
    assert captions["c"].text == "A w"


def test_an_empty_reply_is_no_caption(
    walk_clip: Path, server: ChatServer, service: ChatService
) -> None:
    server.answer = lambda _: "  \n "
    config = _config(frames_per_clip=2)
    (caption,) = caption_clips([_view(walk_clip, config)], service, config)
    assert (caption.outcome, caption.reason) == (
        Outcome.INVALID,
        "expected prose, found an empty reply",
    )


def test_whole_videos_are_captioned_without_measured_motion(
    walk_clip: Path, server: ChatServer, service: ChatService
) -> None:
    config = _config(use_motion=True)
    view = _view(walk_clip, config)
    video = VideoView("v", 9.0, view.frames)
    (caption,) = caption_whole_videos([video], service, config)
    assert (caption.clip_id, caption.text, caption.uses_motion) == (None, "A walk.", False)
    assert "The video lasts 9.0 s. Its 8 frames:" in server.calls[0].text


def test_a_model_must_be_named() -> None:
    with pytest.raises(ValueError, match=r"captions\.service: expected"):
        CaptionConfig(captioner="openai")
    with pytest.raises(ValueError, match=r"captions\.local_model: expected"):
        CaptionConfig(captioner="transformers")
