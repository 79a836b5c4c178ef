"""What generate sees is the decoder with its heads, for rows of all kinds."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import T5ForConditionalGeneration

from training.instructions.vocabulary import TEXT_PAD
from training.language_model.config import MotionLmConfig, T5Size
from training.language_model.decoding import (
    FIRST_CODE_ID,
    START_ID,
    AnsweringT5,
    AnswerKinds,
    BothPrompts,
)
from training.language_model.model import MotionLm, t5_config

K, C, PIECES = 12, 8, 40
SIZE = T5Size(width=32, ff_width=48, layers=2, heads=4, dropout=0.0, num_pieces=128)
PROMPTS = torch.tensor([[5, 6, 7, 8, 9, 1], [9, 8, 1, 0, 0, 0], [3, 1, 0, 0, 0, 0]])
MASK = (PROMPTS != 0).long()


def _model(lora_rank: int = 0) -> MotionLm:
    torch.manual_seed(0)
    config = MotionLmConfig(lora_rank=lora_rank)
    t5 = T5ForConditionalGeneration(t5_config(SIZE, PIECES))
    model = MotionLm(config, t5, torch.randn(K, C)).eval()
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


@pytest.mark.parametrize("lora_rank", [0, 4])
@torch.no_grad()
def test_steps_say_what_the_decoder_says(lora_rank: int) -> None:
    model = _model(lora_rank)
    words = model.vocabulary
    motion_B = torch.tensor([True, False, True])
    # Rows 0 and 2 answer with motion: start, then codes 3, 0, 11, 5. Row 1 with text.
    codes = torch.tensor([3, 0, 11, 5])
    text = torch.tensor([TEXT_PAD, 7, 9, 11, 4])
    whole_motion = torch.cat([torch.tensor([words.motion_start]), words.num_text + codes])
    hidden_BLD = _whole(model, torch.stack([whole_motion, text, whole_motion]))
    stepped = torch.cat([torch.tensor([START_ID]), FIRST_CODE_ID + codes])
    t5, kinds = AnsweringT5(model).eval(), AnswerKinds(model, motion_B)
    encoded, cache = model.encode(PROMPTS, MASK), None
    for place, ids_B in enumerate(torch.stack([stepped, text, stepped]).T):
        said = t5(
            decoder_input_ids=ids_B[:, None],
            decoder_kinds=kinds,
            encoder_outputs=encoded,
            attention_mask=MASK,
            past_key_values=cache,
            use_cache=True,
        )
        logits_BW, cache = said.logits[:, -1], said.past_key_values
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
    said = AnsweringT5(model).eval()(
        decoder_input_ids=torch.full((3, 1), START_ID),
        decoder_kinds=AnswerKinds(model, torch.ones(3, dtype=torch.bool)),
        encoder_outputs=model.encode(PROMPTS, MASK),
    )
    assert said.logits.shape == (3, 1, FIRST_CODE_ID + K)


def test_beams_are_of_the_kind_of_their_prompt() -> None:
    motion_B = torch.tensor([True, False])
    kinds = AnswerKinds(_model(), motion_B)
    assert kinds.motion_rows(6).tolist() == [True, True, True, False, False, False]


def test_weights_stay_the_model_s_own() -> None:
    model = _model()
    before = set(model.state_dict())
    t5 = AnsweringT5(model)
    assert set(model.state_dict()) == before
    own = {id(weight) for weight in model.parameters()}
    assert all(id(weight) in own for weight in t5.parameters())


@torch.no_grad()
def test_other_prompts_multiply_what_they_say() -> None:
    model = _model()
    kinds = AnswerKinds(model, torch.tensor([True, False, True]))
    t5, weight = AnsweringT5(model).eval(), 0.3
    own, other = model.encode(PROMPTS, MASK), model.encode(PROMPTS[:, :3].flip(0), MASK[:, :3])
    padded = [functional.pad(other[0], (0, 0, 0, 3)), functional.pad(MASK[:, :3], (0, 3))]
    prompts = BothPrompts(torch.cat([own[0], padded[0]]), torch.cat([MASK, padded[1]]), weight)
    caches: dict[str, Any] = {}
    for ids_B in torch.tensor([[START_ID, TEXT_PAD, START_ID], [4, 7, 9], [6, 8, 3]]):

        def said(name: str, encoded: Any, mask: Tensor, with_: BothPrompts | None = None) -> Tensor:
            found = t5(
                decoder_input_ids=ids_B[:, None],  # noqa: B023 - called in this turn
                decoder_kinds=kinds,
                encoder_outputs=encoded,
                attention_mask=mask,
                decoder_both=with_,
                past_key_values=caches.get(name),
                use_cache=True,
            )
            caches[name] = found.past_key_values
            return found.logits[:, 0].softmax(-1)

        both = said("both", own, MASK, prompts)
        wanted = (
            said("own", own, MASK) ** (1 - weight) * said("other", other, MASK[:, :3]) ** weight
        )
        torch.testing.assert_close(both, wanted / wanted.sum(-1, keepdim=True))
