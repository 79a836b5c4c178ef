"""A visual language model in this process, tested with a tiny model with random weights."""

from pathlib import Path

import numpy as np
import pytest

from annotators.chat.config import LocalVlmConfig
from annotators.chat.local import LocalVlm, VlmRequest
from data.records import Outcome
from data.video.probe import probe_video
from data.video.reader import open_frames
from tests.support.tiny_vlm import TOKENS_PER_IMAGE, save_tiny_smolvlm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_smolvlm(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def requests(videos_dir: Path) -> list[VlmRequest]:
    """Requests of different lengths, with different numbers of real frames."""
    path = videos_dir / "worker_walk.mp4"
    with open_frames(path, probe_video(path), sample_fps=1.0, max_side_px=128) as reader:
        images = [frame.image for frame in reader]
    return [
        VlmRequest("You describe.", ("First:", images[0], "What is done?")),
        VlmRequest("You describe.", ("0.0 s:", images[0], "1.0 s:", images[1], "What?" * 9)),
        VlmRequest("", ("Say something.",)),
        VlmRequest("You describe.", (images[2], images[3], images[2], "And now?")),
    ]


def test_answers_do_not_depend_on_the_batch(folder: Path, requests: list[VlmRequest]) -> None:
    by_one, by_three = (
        LocalVlm(
            LocalVlmConfig(model=str(folder), device="cpu", batch_size=size, max_new_tokens=12)
        ).ask_many(requests)
        for size in (1, 3)
    )
    assert [reply.text for reply in by_one] == [reply.text for reply in by_three]
    assert [reply.tokens_in for reply in by_one] == [reply.tokens_in for reply in by_three]
    for reply in by_one:
        cut_off = reply.tokens_out == 12
        assert reply.outcome is (Outcome.TRUNCATED if cut_off else Outcome.SUCCESS)
    # Each request has an equal share of the time of its batch.
    assert len({reply.latency_s for reply in by_three[:3]}) == 1
    # An additional image adds its tokens, and the content of an image changes the reply.
    assert by_one[1].tokens_in > by_one[0].tokens_in + TOKENS_PER_IMAGE
    black = VlmRequest("You describe.", ("First:", np.zeros((72, 128, 3), np.uint8), "What?"))
    model = LocalVlm(LocalVlmConfig(model=str(folder), device="cpu", max_new_tokens=12))
    told = VlmRequest("You describe.", ("First:", requests[0].parts[1], "What?"))
    assert model.ask_many([black])[0].text != model.ask_many([told])[0].text


def test_a_reply_without_an_end_is_truncated(folder: Path, requests: list[VlmRequest]) -> None:
    model = LocalVlm(LocalVlmConfig(model=str(folder), device="cpu", max_new_tokens=1))
    reply = model.ask_many(requests[:1])[0]
    assert (reply.outcome, reply.tokens_out) == (Outcome.TRUNCATED, 1)
    assert "1 tokens" in reply.reason


def test_what_cannot_be_shown_fails_alone(folder: Path, requests: list[VlmRequest]) -> None:
    model = LocalVlm(LocalVlmConfig(model=str(folder), device="cpu", max_new_tokens=4))
    bad = VlmRequest("", ("A caption with <image> in it.",))
    replies = model.ask_many([requests[0], bad, requests[1]])
    assert replies[1].outcome is Outcome.ERROR
    assert replies[1].reason
    assert all(replies[n].outcome is not Outcome.ERROR for n in (0, 2))


def test_sampling_is_repeatable_and_differs_by_sample(
    folder: Path, requests: list[VlmRequest]
) -> None:
    config = LocalVlmConfig(model=str(folder), device="cpu", max_new_tokens=16, temperature=1.0)
    model = LocalVlm(config)
    asked = requests[0]
    first, again = model.ask_many([asked])[0], model.ask_many([asked])[0]
    other = model.ask_many([VlmRequest(asked.system, asked.parts, sample=1)])[0]
    assert first.text == again.text
    assert first.text != other.text


def test_what_is_no_such_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"local_model\.model.*Remedy"):
        LocalVlm(LocalVlmConfig(model=str(tmp_path)))
