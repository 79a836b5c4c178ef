"""Residual codes: prompts show them, answers get them, and tokens with one code are as before."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from training.instructions.corruption import corrupt
from training.instructions.tasks import Codes, Instruction, Task, prompt_of
from training.instructions.vocabulary import TextTokenizer, Vocabulary, train_text_tokenizer
from training.language_model.batches import InstructionEncoder, pad_prompts, pad_residual
from training.language_model.config import MotionLmConfig, ResidualConfig, Sampling, T5Size
from training.language_model.generation import MotionLanguageModel, Request
from training.language_model.model import Batch, MotionLm, build_t5
from training.language_model.residual import ResidualDecoder, summed_vectors

K, C, Q = 32, 16, 4
CAPTIONS = ("a person jumps", "bow and turn left", "the person sits down on a chair")
SIZE = T5Size(width=32, ff_width=64, layers=1, heads=2, dropout=0.0, num_pieces=200)


@pytest.fixture(scope="module")
def text() -> TextTokenizer:
    return train_text_tokenizer(CAPTIONS * 4, 200)


def _model(text: TextTokenizer, codebooks: int = Q, **config: object) -> MotionLm:
    torch.manual_seed(0)
    residual = {"layers": 2, "heads": 2, "dropout": 0.0}
    values = MotionLmConfig.model_validate(
        {"scratch": SIZE.model_dump(), "residual": residual, **config}
    )
    base_KC = torch.randn(K, C)
    later_RKC = torch.randn(codebooks - 1, K, C) / 2 if codebooks > 1 else None
    return MotionLm(values, build_t5(values, text.num_pieces), base_KC, later_RKC)


def _motions(num_quantizers: int = Q) -> list[Codes]:
    generator = torch.Generator().manual_seed(1)
    return [
        tuple(map(tuple, torch.randint(K, (n, num_quantizers), generator=generator).tolist()))
        for n in (10, 7, 12)
    ]


def _instructions() -> list[Instruction]:
    pairs = list(zip(CAPTIONS, _motions(), strict=True))
    return [
        *(Instruction(Task.T2M, prompt_of(Task.T2M, caption=c), m, "a", c) for c, m in pairs),
        *(Instruction(Task.M2T, prompt_of(Task.M2T, codes=m), c, "b") for c, m in pairs),
        *(
            Instruction(Task.M2M, prompt_of(Task.M2M, head=m[:2], tail=m[5:]), m[2:5], "c")
            for _, m in pairs
        ),
    ]


def _encoder(model: MotionLm, text: TextTokenizer) -> InstructionEncoder:
    return InstructionEncoder(text, model.vocabulary, 512, 512)


def _batch(model: MotionLm, text: TextTokenizer, instructions: Sequence[Instruction]) -> Batch:
    encoder = _encoder(model, text)
    return encoder.batch([[encoder.encode(one) for one in instructions]])


@pytest.fixture(scope="module")
def taught(text: TextTokenizer) -> MotionLm:
    """A model that knows a few instructions by heart."""
    model = _model(text).train()
    batch = _batch(model, text, _instructions())
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for step in range(160):
        torch.manual_seed(step)
        output = model(batch)
        assert output.residual is not None
        loss = output.losses_B.mean() + output.residual.losses_B.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_a_motion_is_answered_with_all_its_codes(taught: MotionLm, text: TextTokenizer) -> None:
    lm = MotionLanguageModel(taught, text, "t", torch.device("cpu"))
    given = _instructions()
    requests = [Request(one.prompt, one.task.answers_motion, caption=one.caption) for one in given]
    answers = lm.answer(requests)
    assert answers == [one.answer for one in given]
    # Nothing depends on the other rows of a batch.
    assert answers == [lm.answer([request])[0] for request in requests]
    assert answers == lm.answer(requests, batch_size=4)
    # The best of several samples is told from all its codes, and is one that it was taught.
    chosen = lm.answer(requests[:3], Sampling(temperature=0.5, seed=1, best_of=3))
    assert chosen == answers[:3]
    scores = lm.caption_scores(_motions(), CAPTIONS)
    bases: list[Codes] = [
        tuple(token[0] for token in motion if not isinstance(token, int)) for motion in _motions()
    ]
    assert all(a > b for a, b in zip(scores, lm.caption_scores(bases, CAPTIONS), strict=True))


def test_residual_codes_can_be_drawn_at_their_own_temperature(
    taught: MotionLm, text: TextTokenizer
) -> None:
    lm = MotionLanguageModel(taught, text, "t", torch.device("cpu"))
    requests = [Request(one.prompt, motion=True) for one in _instructions()[:3]]
    wild = Sampling(residual_temperature=50.0, seed=1)
    drawn, other = (
        [motion for motion in lm.answer(requests, sampling) if not isinstance(motion, str)]
        for sampling in (wild, wild.model_copy(update={"seed": 2}))
    )
    assert lm.answer(requests, wild) == drawn
    assert drawn != other
    for motion, known in zip(drawn, _motions(), strict=True):
        codes, known_codes = torch.tensor(motion), torch.tensor(known)
        assert torch.equal(codes[:, 0], known_codes[:, 0])
        assert 0 <= int(codes.min()) <= int(codes.max()) < K
        assert (codes[:, 1:] == known_codes[:, 1:]).float().mean() < 0.5


def test_a_prompt_shows_the_sum_of_the_code_vectors(text: TextTokenizer) -> None:
    model = _model(text)
    encoder, embedding = _encoder(model, text), model.t5.shared
    motion = _motions()[0]
    prompt = ("do it ", motion, " now ", (3, 4))
    ids, given = torch.tensor([encoder.prompt_ids(prompt)]), encoder.prompt_residual(prompt)
    assert len(given) == ids.shape[1]
    found = embedding.add_residual(embedding(ids), pad_residual([given]))[0]
    codebooks_QKC = torch.cat([embedding.codebook_KC[None], embedding.residual_RKC])
    start = ids[0].tolist().index(model.vocabulary.motion_start)
    for place, codes in enumerate(torch.tensor(motion), start + 1):
        total = sum(
            (codebooks_QKC[layer, code] for layer, code in enumerate(codes)), torch.zeros(C)
        )
        torch.testing.assert_close(found[place], embedding.adapter(total))
    # Text, special tokens and tokens with a base code alone are embedded as without residual codes.
    plain = torch.tensor(given)[:, 0] < 0
    assert int(plain.sum()) == ids.shape[1] - len(motion)
    torch.testing.assert_close(found[plain], embedding(ids)[0][plain])


def test_codes_of_one_codebook_are_predicted_from_those_before_it() -> None:
    torch.manual_seed(0)
    config = ResidualConfig(layers=1, heads=2)
    decoder = ResidualDecoder(config, torch.randn(Q, K, C), 32).eval()
    codes_BLQ = torch.randint(K, (1, 10, Q))
    states_BSD, seen_BS = torch.randn(1, 6, 32), torch.ones(1, 6, dtype=torch.bool)

    def logits(codes: Tensor, layer: int, states: Tensor = states_BSD) -> Tensor:
        return decoder(codes, torch.tensor([layer]), states, seen_BS)

    for layer in range(1, Q):
        expected = logits(codes_BLQ, layer)
        later, before = codes_BLQ.clone(), codes_BLQ.clone()
        later[..., layer:] = (later[..., layer:] + 1) % K
        before[0, -1, layer - 1] = (before[0, -1, layer - 1] + 1) % K
        torch.testing.assert_close(logits(later, layer), expected)
        # The first token sees the last one, and the prompt.
        assert not torch.allclose(logits(before, layer)[0, 0], expected[0, 0])
        assert not torch.allclose(logits(codes_BLQ, layer, -states_BSD), expected)
    assert not torch.allclose(logits(codes_BLQ, 1), logits(codes_BLQ, 2))
    with pytest.raises(ValueError, match=r"residual.heads: expected a divisor of the width 32"):
        ResidualDecoder(ResidualConfig(heads=5), torch.randn(Q, K, C), 32)
    sums = summed_vectors(torch.tensor([[1, -1, 2, -1], [-1, -1, -1, -1]]), decoder.codebooks_QKC)
    torch.testing.assert_close(sums[0], decoder.codebooks_QKC[0, 1] + decoder.codebooks_QKC[2, 2])
    assert not sums[1].any()


def test_the_residual_loss_is_that_of_each_motion_alone(text: TextTokenizer) -> None:
    model = _model(text).eval()
    given = _instructions()
    output = model(_batch(model, text, given))
    alone = [model(_batch(model, text, [one])) for one in given]
    answered = [one for one in given if one.task.answers_motion]
    found = [one.residual for one in alone if one.residual is not None]
    assert len(found) == len(answered) == 6
    torch.testing.assert_close(output.residual.losses_B, torch.cat([one.losses_B for one in found]))
    # Validation asks for all codebooks, training for one that it draws.
    lengths = torch.tensor([len(one.answer) for one in answered])
    assert torch.equal(output.residual.tokens_B, lengths * (Q - 1))
    assert torch.equal(model.train()(_batch(model, text, given)).residual.tokens_B, lengths)


def test_every_weight_gets_a_gradient_without_any_motion(text: TextTokenizer) -> None:
    model = _model(text, embedding="learned").train()
    told = [one for one in _instructions() if not one.task.answers_motion]
    output = model(_batch(model, text, told))
    assert output.residual is not None
    assert output.residual.losses_B.tolist() == [0.0]
    assert output.residual.tokens_B.tolist() == [0]
    (output.losses_B.sum() + output.residual.losses_B.sum()).backward()
    assert model.residual is not None
    assert all(weight.grad is not None for weight in model.residual.parameters())
    # Learned embeddings have vectors for residual codes too.
    assert model.t5.shared.learned_RKD.grad.abs().sum() > 0
    assert model.eval()(_batch(model, text, told)).residual is None


def test_a_checkpoint_of_an_older_release_is_read() -> None:
    older = ResidualConfig().model_dump(mode="json") | {"detached": True}
    assert ResidualConfig.model_validate(older) == ResidualConfig()


def test_one_codebook_has_no_residual_decoder(text: TextTokenizer) -> None:
    model = _model(text, codebooks=1)
    assert model.residual is None
    assert not [name for name in model.state_dict() if "residual" in name]
    told = Instruction(Task.M2T, prompt_of(Task.M2T, codes=(1, 2, 3)), "a person jumps", "a")
    batch = _batch(model, text, [told])
    assert batch.given_NR.shape == (len(batch.prompts_N), 0)
    assert model(batch).residual is None
    ids_BS, mask_BS = pad_prompts([_encoder(model, text).prompt_ids(told.prompt)])
    expected = model.t5.encoder(input_ids=ids_BS, attention_mask=mask_BS)[0]
    found = model.encode(ids_BS, mask_BS, torch.zeros(*ids_BS.shape, 0, dtype=torch.long))[0]
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="expected 1 in each token, found 4"):
        _batch(model, text, _instructions()[3:4])


def test_tokens_of_another_tokenizer_are_refused() -> None:
    words = Vocabulary(num_text=100, num_codes=K, num_quantizers=2)
    assert words.motion_ids([(0, 5), 31]) == [100, 131]
    assert words.residual_codes([(0, 5), 31]) == [[5], [-1]]
    with pytest.raises(ValueError, match="expected 2 in each token, found 3"):
        words.residual_codes([(0, 5), (1, 2, 3)])
    with pytest.raises(ValueError, match="expected 0 to 31, found 4 to 32"):
        words.residual_codes([(0, 4), (1, 32)])


def test_pre_training_takes_tokens_with_all_their_codes(text: TextTokenizer) -> None:
    motion = (*_motions()[2], *_motions()[0])
    ends = prompt_of(Task.M2M, head=motion[:8], tail=motion[12:])
    (made,) = corrupt([Instruction(Task.M2M, ends, motion[8:12], "a")], 0, 7, text)
    left = [token for part in made.prompt if isinstance(part, tuple) for token in part]
    assert not isinstance(made.answer, str)
    assert made.answer
    assert sorted(map(str, (*left, *made.answer))) == sorted(map(str, motion))
