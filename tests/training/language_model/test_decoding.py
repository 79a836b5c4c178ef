"""Stepping the decoder is the decoder, in all its kinds; and its parts learn as they did."""

import pytest
import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration

from training.instructions.vocabulary import TEXT_PAD
from training.language_model.decoding import FIRST_CODE_ID, START_ID, StepDecoder
from training.language_model.model import MotionLm, MotionLmConfig, T5Size, t5_config

K, C, PIECES = 12, 8, 40
SIZE = T5Size(width=32, ff_width=48, layers=2, heads=4, dropout=0.0, num_pieces=128)
PROMPTS = torch.tensor([[5, 6, 7, 8, 9, 1], [9, 8, 1, 0, 0, 0], [3, 1, 0, 0, 0, 0]])
MASK = (PROMPTS != 0).long()


def _model(lora_rank: int = 0, feed: str = "gated-gelu") -> MotionLm:
    torch.manual_seed(0)
    settings = t5_config(SIZE, PIECES)
    settings.feed_forward_proj = feed
    settings.is_gated_act = feed.startswith("gated")
    settings.dense_act_fn = "gelu_new" if settings.is_gated_act else feed
    config = MotionLmConfig(lora_rank=lora_rank)
    model = MotionLm(config, T5ForConditionalGeneration(settings), torch.randn(K, C)).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # is nothing at first
            torch.nn.init.normal_(weight, std=0.3)
    return model


def _whole(model: MotionLm, ids_BL: Tensor) -> Tensor:
    return model.t5.decoder(
        input_ids=ids_BL,
        encoder_hidden_states=model.encode(PROMPTS, MASK)[0],
        encoder_attention_mask=MASK,
    )[0]


@pytest.mark.parametrize(("lora_rank", "feed"), [(0, "gated-gelu"), (0, "relu"), (4, "gated-gelu")])
@torch.no_grad()
def test_steps_say_what_the_decoder_says(lora_rank: int, feed: str) -> None:
    model = _model(lora_rank, feed)
    words = model.vocabulary
    motion_B = torch.tensor([True, False, True])
    # Rows 0 and 2 answer with motion: start, then codes 3, 0, 11, 5. Row 1 with text.
    codes = torch.tensor([3, 0, 11, 5])
    text = torch.tensor([TEXT_PAD, 7, 9, 11, 4])
    whole_motion = torch.cat([torch.tensor([words.motion_start]), words.num_text + codes])
    hidden_BLD = _whole(model, torch.stack([whole_motion, text, whole_motion]))
    encoded_BSD = model.encode(PROMPTS, MASK)[0]
    stepped = torch.cat([torch.tensor([START_ID]), FIRST_CODE_ID + codes])
    answers = StepDecoder(model).begin(motion_B, 5)
    for place, ids_B in enumerate(torch.stack([stepped, text, stepped]).T):
        logits_BW = answers.logits(ids_B, encoded_BSD, MASK)
        assert answers.get_seq_length() == place + 1
        for row in (0, 2):
            own = model.heads.motion_logits(hidden_BLD[row, place])
            found = logits_BW[row, FIRST_CODE_ID : FIRST_CODE_ID + K]
            torch.testing.assert_close(found, own[:K], rtol=1e-4, atol=1e-4)
            # Pad, end and start come first, as text has pad and end.
            specials = own[[K + 2, K + 1, K]]
            torch.testing.assert_close(logits_BW[row, :3], specials, rtol=1e-4, atol=1e-4)
            assert (logits_BW[row, FIRST_CODE_ID + K :] == -torch.inf).all()
        own = model.heads.text_logits(hidden_BLD[1, place])
        torch.testing.assert_close(logits_BW[1, :PIECES], own, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_rows_of_motion_alone_have_no_text() -> None:
    model = _model()
    answers = StepDecoder(model).begin(torch.ones(3, dtype=torch.bool), 4)
    logits_BW = answers.logits(torch.full((3,), START_ID), model.encode(PROMPTS, MASK)[0], MASK)
    assert logits_BW.shape == (3, FIRST_CODE_ID + K)


@torch.no_grad()
def test_beams_go_on_from_others() -> None:
    model = _model()
    decoder = StepDecoder(model)
    encoded_BSD = model.encode(PROMPTS[:1], MASK[:1])[0].expand(2, -1, -1)
    ids = torch.tensor([[START_ID, 4, 8], [START_ID, 6, 9]])
    motion = torch.tensor([True])
    taken = decoder.begin(motion, 5)
    for place in range(3):
        taken.logits(ids[:, place], encoded_BSD, None)
    taken.reorder_cache(torch.tensor([1, 1]))
    found = taken.logits(torch.tensor([5, 7]), encoded_BSD, None)
    alone = decoder.begin(motion, 5)
    for place in range(3):
        alone.logits(ids[[1, 1], place], encoded_BSD, None)
    expected = alone.logits(torch.tensor([5, 7]), encoded_BSD, None)
    torch.testing.assert_close(found, expected)


def test_weights_stay_the_modules_own() -> None:
    model = _model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    decoder = StepDecoder(model)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    # What a module learns later is what steps are made with.
    key = model.t5.decoder.block[0].layer[0].SelfAttention.k
    with torch.no_grad():
        key.weight.fill_(3.0)
    inner = len(key.weight)
    assert (decoder.layers[0].self_qkv[inner : 2 * inner] == 3.0).all()
