"""The language model: one id space, two heads, answers of one kind by construction, same loss."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from benchmarks.support.published import as_it_comes, padded, padded_losses
from training.instructions.corruption import corrupt
from training.instructions.tasks import Instruction, Task, prompt_of
from training.instructions.vocabulary import (
    TEXT_END,
    TextTokenizer,
    Vocabulary,
    train_text_tokenizer,
)
from training.language_model.batches import InstructionEncoder, cheapest_groups
from training.language_model.config import MotionLmConfig, Sampling, T5Size
from training.language_model.generation import MotionLanguageModel, Request
from training.language_model.model import MotionLm, build_t5, t5_config
from training.language_model.packed import TRANSFORMERS, use_packed_attention

K, C = 32, 16
TEXTS = [
    "a person walks forward and waves with the right hand",
    "the person sits down on a chair",
    "1. open the door\n2. walk in\n3. close the door",
    "[Instruction] Write the steps.\n[Task] bake a cake\n[Response] ",
    "jump, kick, punch and bow; turn left (slowly) and stand still.",
] * 4
SIZE = T5Size(width=32, ff_width=64, layers=2, heads=2, dropout=0.0, num_pieces=200)


@pytest.fixture(scope="module")
def text() -> TextTokenizer:
    return train_text_tokenizer(TEXTS, 200)


def _model(text: TextTokenizer, **config: object) -> MotionLm:
    torch.manual_seed(0)
    values = MotionLmConfig.model_validate({"scratch": SIZE.model_dump(), **config})
    return MotionLm(values, build_t5(values, text.num_pieces), torch.randn(K, C)).eval()


def _instructions() -> list[Instruction]:
    codes = tuple(range(10))
    return [
        Instruction(Task.T2M, prompt_of(Task.T2M, caption="a person jumps"), codes, "a"),
        Instruction(Task.M2T, prompt_of(Task.M2T, codes=codes), "a person jumps", "b"),
        Instruction(Task.T2S, prompt_of(Task.T2S, task_text="bow"), "1. stand\n2. bow", "c"),
        Instruction(Task.M2M, prompt_of(Task.M2M, head=(1, 2), tail=(3, 4)), (5, 6, 7), "d"),
    ]


def test_encoded_text_decodes_to_itself(text: TextTokenizer) -> None:
    for given in TEXTS[:3]:
        assert text.decode(text.encode(given)) == given
    assert text.decode([0, *text.encode("a chair"), TEXT_END]) == "a chair"
    assert text.sentinel(3) == 6


def test_text_and_motion_ids_do_not_overlap() -> None:
    words = Vocabulary(num_text=100, num_codes=K)
    assert words.motion_ids([0, 31]) == [100, 131]
    assert (words.motion_start, words.motion_end) == (132, 133)
    assert words.size == 135
    with pytest.raises(ValueError, match="expected 0 to 31, found 5 to 32"):
        words.motion_ids([5, 32])


def test_a_prompt_is_one_sequence_with_motion_inside(text: TextTokenizer) -> None:
    model = _model(text)
    words = model.vocabulary
    encoder = InstructionEncoder(text, words, 512, 512)
    ids = encoder.prompt_ids(("do it ", (3, 4), " now"))
    start, end = ids.index(words.motion_start), ids.index(words.motion_end)
    assert ids[start + 1 : end] == [words.num_text + 3, words.num_text + 4]
    assert ids[-1] == TEXT_END
    embedding = model.t5.shared
    found = embedding(torch.tensor([ids]))[0]
    codebook = embedding.codebook_KC
    torch.testing.assert_close(found[start + 1], embedding.adapter(codebook[3]))
    torch.testing.assert_close(found[start], embedding.adapter(embedding.specials[0]))
    torch.testing.assert_close(found[0], embedding.text.weight[ids[0]])
    # The codebook is frozen; what is learnt is the adapter and three special vectors.
    learnt = {name for name, _ in embedding.named_parameters()}
    assert learnt == {"text.weight", "specials", "adapter.weight"}


def test_the_loss_is_that_of_each_row_alone(text: TextTokenizer) -> None:
    model = _model(text)
    encoder = InstructionEncoder(text, model.vocabulary, 512, 512)
    instructions = _instructions()
    rows = [encoder.encode(one) for one in instructions]
    together = model(encoder.batch([rows]))
    for row, one in enumerate(instructions):
        alone = model(encoder.batch([[encoder.encode(one)]]))
        torch.testing.assert_close(together.losses_B[row], alone.losses_B[0])
        assert together.tokens_B[row] == len(encoder.answer_ids(one))
    batch = encoder.batch([rows])
    starts = batch.inputs_M[[0, 11]].tolist()
    assert starts == [model.vocabulary.motion_start, 0]
    assert batch.labels_M[:11].tolist() == rows[0].answer


@pytest.mark.parametrize("heads", ["two", "shared"])
@pytest.mark.parametrize("groups", [1, 3])
def test_packed_rows_learn_as_padded_ones_in_transformers(
    text: TextTokenizer, heads: str, groups: int
) -> None:
    model = _model(text, heads=heads, gradient_checkpointing=groups == 3).train()
    plain = as_it_comes(model, "eager")
    encoder = InstructionEncoder(text, model.vocabulary, 512, 512)
    alike = cheapest_groups([encoder.encode(one) for one in _instructions() * 2], groups)
    rows = [one for group in alike for one in group]
    losses = model(encoder.batch(alike)).losses_B
    expected = padded_losses(plain, padded(model, rows))
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    # Rows count differently, or a mistake in one could be made up for by another.
    weights_B = torch.arange(1.0, len(rows) + 1)
    (losses * weights_B).sum().backward()
    (expected * weights_B).sum().backward()
    gradients = [
        {name: weight.grad for name, weight in one.named_parameters() if weight.grad is not None}
        for one in (model, plain)
    ]
    assert gradients[0].keys() == gradients[1].keys()
    assert len(gradients[0]) > 40
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        unlearnt = model.eval()(encoder.batch(alike)).losses_B
    torch.testing.assert_close(unlearnt, expected, rtol=1e-4, atol=1e-5)


def test_packing_refuses_a_t5_that_it_was_not_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    wanted = next(one for one in project["dependencies"] if one.startswith("transformers"))
    major, minor = map(int, TRANSFORMERS.split("."))
    assert wanted == f"transformers>={major}.{minor},<{major}.{minor + 1}"
    t5 = T5ForConditionalGeneration(t5_config(SIZE, 200))
    monkeypatch.setattr("transformers.__version__", f"{major}.{minor + 1}.0")
    with pytest.raises(RuntimeError, match=f"expected release {TRANSFORMERS}, found"):
        use_packed_attention(t5)
    monkeypatch.undo()
    other: Any = t5.decoder.block[0]
    other.layer[0].SelfAttention = nn.Identity()
    with pytest.raises(RuntimeError, match="expected 6 attention modules of transformers, found 5"):
        use_packed_attention(t5)


def test_the_loss_of_a_motion_is_by_the_motion_head_only(text: TextTokenizer) -> None:
    model = _model(text)
    encoder = InstructionEncoder(text, model.vocabulary, 512, 512)
    one = _instructions()[0]
    model(encoder.batch([[encoder.encode(one)]])).losses_B.sum().backward()
    plain = as_it_comes(model)
    padded_losses(plain, padded(plain, [encoder.encode(one)])).sum().backward()
    torch.testing.assert_close(model.heads.motion.weight.grad, plain.heads.motion.weight.grad)
    assert model.heads.text.weight.grad is None or not model.heads.text.weight.grad.any()


@pytest.mark.parametrize(
    "config",
    [{}, {"embedding": "learned"}, {"heads": "shared"}, {"lora_rank": 4}],
    ids=["paper", "learned", "shared", "lora"],
)
def test_every_model_variant_overfits_one_batch(
    text: TextTokenizer, config: dict[str, object]
) -> None:
    model = _model(text, **config).train()
    encoder = InstructionEncoder(text, model.vocabulary, 512, 512)
    batch = encoder.batch([[encoder.encode(one) for one in _instructions()]])
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if "lora_rank" in config:
        frozen = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
        assert frozen > sum(weight.numel() for weight in weights)
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    first = last = 0.0
    for _ in range(40):
        loss = model(batch).losses_B.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = first or loss.item(), loss.item()
    assert last < 0.5 * first


class _Biased(nn.Module):
    """A head that favors nothing: every answer is as likely."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_features, self.out_features = 32, width

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.new_zeros(*hidden.shape[:-1], self.out_features)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=1.5, seed=1),
        Sampling(temperature=1.0, top_k=5, seed=2),
        Sampling(temperature=1.0, top_p=0.8, seed=3),
        Sampling(beams=3),
    ],
    ids=["greedy", "drawn", "top-k", "top-p", "beams"],
)
@pytest.mark.parametrize("heads", ["two", "shared"])
def test_no_answer_mixes_text_and_motion(
    text: TextTokenizer, sampling: Sampling, heads: str
) -> None:
    model = _model(text, heads=heads)
    # Untrained, and with heads that find all alike: whatever can be said will be said.
    model.heads.text = _Biased(model.vocabulary.num_text)  # pyright: ignore[reportAttributeAccessIssue]
    lm = MotionLanguageModel(model, text, "t", torch.device("cpu"))
    prompts = [one.prompt for one in _instructions()] * 2
    requests = [
        Request(prompt, motion=index % 2 == 0, min_length=2, max_length=12)
        for index, prompt in enumerate(prompts)
    ]
    answers = lm.answer(requests, sampling)
    for request, answer in zip(requests, answers, strict=True):
        assert isinstance(answer, tuple) == request.motion
        if isinstance(answer, tuple):
            assert 2 <= len(answer) <= 12
            assert all(isinstance(code, int) and 0 <= code < K for code in answer)
    # The same seed gives the same, batched or not.
    assert lm.answer(requests, sampling) == answers


def test_a_plan_that_loops_ends_at_its_loop(text: TextTokenizer) -> None:
    model = _model(text)
    plan = "1. bow\n2. turn left\n3. turn left\n4. jumps"
    prompt = prompt_of(Task.T2S, task_text="a person jumps")
    encoder = InstructionEncoder(text, model.vocabulary, 512, 512)
    batch = encoder.batch([[encoder.encode(Instruction(Task.T2S, prompt, plan, "a"))]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        model(batch).losses_B.mean().backward()
        optimizer.step()
    lm = MotionLanguageModel(model, text, "t", torch.device("cpu"))
    assert lm.answer([Request(prompt, motion=False)], Sampling(cut_loops=False)) == [plan]
    assert lm.answer([Request(prompt, motion=False)]) == ["1. bow\n2. turn left"]


def test_lengths_are_kept_row_by_row(text: TextTokenizer) -> None:
    lm = MotionLanguageModel(_model(text), text, "t", torch.device("cpu"))
    prompt = prompt_of(Task.L2M, caption="a person walks", length_s=2.0)
    wanted = [3, 10, 25, 7]
    requests = [Request(prompt, motion=True, min_length=n, max_length=n) for n in wanted]
    for sampling in (Sampling(), Sampling(temperature=1.0, seed=1), Sampling(beams=2)):
        answers = lm.answer(requests, sampling)
        assert [len(answer) for answer in answers] == wanted


@pytest.mark.parametrize("beams", [1, 3])
def test_likeliest_answers_do_not_depend_on_the_batch(text: TextTokenizer, beams: int) -> None:
    sampling = Sampling(beams=beams)
    lm = MotionLanguageModel(_model(text), text, "t", torch.device("cpu"))
    requests = [
        Request(one.prompt, one.task.answers_motion, max_length=15) for one in _instructions()
    ]
    together = lm.answer(requests, sampling)
    assert together == [lm.answer([request], sampling)[0] for request in requests]
    assert together == lm.answer(requests, sampling, batch_size=2)


def test_cached_generation_says_what_the_whole_prefix_says(text: TextTokenizer) -> None:
    model = _model(text)
    lm = MotionLanguageModel(model, text, "t", torch.device("cpu"))
    prompt = prompt_of(Task.T2M, caption="a person jumps")
    (answer,) = lm.answer([Request(prompt, motion=True, min_length=10, max_length=10)])
    encoder = InstructionEncoder(text, model.vocabulary, 512, 512)
    codes: tuple[int, ...] = ()
    while len(codes) < 10:
        # Encoder and whole decoder again for each token, as the release does it.
        rows = [encoder.encode(Instruction(Task.T2M, prompt, (*codes, 0), "a"))]
        batch = padded(model, rows)
        hidden = model.t5.decoder(
            input_ids=batch.inputs_BL,
            encoder_hidden_states=model.encode(batch.prompts_BS, batch.mask_BS)[0],
            encoder_attention_mask=batch.mask_BS,
        )[0]
        codes = (*codes, int(model.heads.motion_logits(hidden[0, len(codes)])[:K].argmax()))
    assert answer == codes


def test_a_pretrained_t5_keeps_its_own_head(text: TextTokenizer, tmp_path: Path) -> None:
    torch.manual_seed(1)
    t5 = T5ForConditionalGeneration(t5_config(SIZE, text.num_pieces))
    t5.lm_head.weight = nn.Parameter(torch.randn_like(t5.lm_head.weight))  # as FLAN-T5's
    t5.eval()
    t5.config.tie_word_embeddings = False
    t5.save_pretrained(tmp_path / "t5")
    config = MotionLmConfig(base=str(tmp_path / "t5"))
    loaded = build_t5(config, text.num_pieces)
    model = MotionLm(config, loaded, torch.randn(K, C)).eval()
    ids = torch.tensor([[*text.encode("a person walks"), TEXT_END]])
    labels = torch.tensor([[*text.encode("sits down"), TEXT_END]])
    hidden = t5(input_ids=ids, labels=labels).logits
    inputs = t5.prepare_decoder_input_ids_from_labels(labels)
    own = model.t5.decoder(
        input_ids=inputs, encoder_hidden_states=model.encode(ids, torch.ones_like(ids))[0]
    )[0]
    torch.testing.assert_close(model.heads.text_logits(own[0]), hidden[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="expected a T5 with safetensors"):
        build_t5(MotionLmConfig(base=str(tmp_path / "none")), text.num_pieces)


def test_pre_training_restores_what_was_taken(text: TextTokenizer) -> None:
    codes = tuple(range(30))
    ends = prompt_of(Task.M2M, head=codes[:10], tail=codes[20:])
    words = "one two three four five six seven eight nine ten eleven twelve"
    given = [
        Instruction(Task.M2M, ends, codes[10:20], "a"),
        Instruction(Task.T2C, prompt_of(Task.T2C, task_text="x"), words, "b"),
        Instruction(Task.T2M, prompt_of(Task.T2M, caption="a"), codes, "c"),
    ]
    motion, said, kept = corrupt(given, 0, 7, text)
    assert kept == given[2]
    assert corrupt(given, 0, 7, text) == [motion, said, kept]
    # Taken and left together are all of it; 15 % of 30 codes were taken.
    left = [code for part in motion.prompt if isinstance(part, tuple) for code in part]
    assert sorted([*left, *motion.answer]) == sorted(codes)
    assert len(motion.answer) == 4
    pieces = [*str(said.prompt[0]).split(), *str(said.answer).split()]
    assert sorted(w for w in pieces if "extra_id" not in w) == sorted(words.split())


@pytest.mark.parametrize("length", [0, 9], ids=["free", "given length"])
def test_the_best_of_several_is_the_likeliest_to_be_described_so(
    text: TextTokenizer, length: int
) -> None:
    lm = MotionLanguageModel(_model(text), text, "t", torch.device("cpu"))
    captions = ["a person jumps", "the person sits down on a chair", "bow and turn left"]
    requests = [
        Request(
            prompt_of(Task.T2M, caption=caption),
            motion=True,
            min_length=length or 2,
            max_length=length or 14,
            caption=caption,
        )
        for caption in captions
    ]
    each = 6
    several = Sampling(temperature=1.0, seed=3, best_of=each)
    found = lm.answer(requests, several)
    # The same draws one by one, and what the model says of each.
    one = several.model_copy(update={"best_of": 1})
    repeated = [request for request in requests for _ in range(each)]
    drawn = [codes for codes in lm.answer(repeated, one) if not isinstance(codes, str)]
    scores = lm.caption_scores(drawn, [request.caption for request in repeated])
    assert len(set(scores)) > 2 * len(captions)
    for row, answer in enumerate(found):
        own = range(row * each, (row + 1) * each)
        ended = [i for i in own if length or len(drawn[i]) < 14]
        best = max(ended or own, key=lambda i: scores[i])
        assert answer == drawn[best]
        if length:
            assert len(answer) == length
    # The same seed chooses the same, another one does not.
    assert lm.answer(requests, several) == found
    assert lm.answer(requests, several.model_copy(update={"seed": 4})) != found


def test_one_that_did_not_end_is_chosen_only_if_none_did(text: TextTokenizer) -> None:
    model = _model(text)
    # All motion tokens are as likely: one of 33 ends, so that of 4 tokens most do not.
    model.heads.motion = _Biased(K + 3)  # pyright: ignore[reportAttributeAccessIssue]
    lm = MotionLanguageModel(model, text, "t", torch.device("cpu"))
    caption = "a person jumps"
    request = Request(
        prompt_of(Task.T2M, caption=caption), motion=True, max_length=4, caption=caption
    )
    outcomes: set[tuple[bool, bool]] = set()
    for seed in range(12):
        sampling = Sampling(temperature=1.0, seed=seed, best_of=8)
        (found,) = lm.answer([request], sampling)
        drawn = lm.answer([request] * 8, sampling.model_copy(update={"best_of": 1}))
        outcomes.add((any(len(codes) < 4 for codes in drawn), len(found) < 4))
    # Whenever any ended, one that ended was taken; and both were seen.
    assert outcomes == {(True, True), (False, False)}


def test_a_description_s_score_is_its_mean_log_likelihood(text: TextTokenizer) -> None:
    model = _model(text)
    lm = MotionLanguageModel(model, text, "t", torch.device("cpu"))
    motions = [(3, 1, 4, 1, 5), (9, 2), (), tuple(range(20))]
    captions = ["a person jumps", "the person sits down on a chair", "bow", "turn left"]
    scores = lm.caption_scores(motions, captions)
    assert scores[2] == -torch.inf  # no motion shows nothing
    encoder = InstructionEncoder(text, model.vocabulary, 512, 512)
    for motion, caption, score in zip(motions, captions, scores, strict=True):
        if not motion:
            continue
        asked = Instruction(Task.M2T, prompt_of(Task.M2T, codes=motion), caption, "a")
        batch = padded(model, [encoder.encode(asked)])
        hidden_BLD = model.t5.decoder(
            input_ids=batch.inputs_BL,
            encoder_hidden_states=model.encode(batch.prompts_BS, batch.mask_BS)[0],
            encoder_attention_mask=batch.mask_BS,
        )[0]
        pieces = torch.tensor([*text.encode(caption), TEXT_END])
        chances = model.heads.text_logits(hidden_BLD[0]).log_softmax(-1)
        mean = chances.gather(1, pieces[:, None]).mean().item()
        assert score == pytest.approx(mean, abs=1e-4)
    assert scores == pytest.approx(lm.caption_scores(motions, captions, batch_size=1), abs=1e-4)


def test_best_of_is_refused_where_nothing_can_be_chosen_by(text: TextTokenizer) -> None:
    with pytest.raises(ValueError, match="expected 1 at temperature 0"):
        Sampling(best_of=4)
    lm = MotionLanguageModel(_model(text), text, "t", torch.device("cpu"))
    sampling = Sampling(temperature=1.0, best_of=2)
    between = Request(prompt_of(Task.M2M, head=(1, 2), tail=(3, 4)), motion=True)
    told = Request(prompt_of(Task.M2T, codes=(1, 2)), motion=False)
    for request in (between, told):
        with pytest.raises(ValueError, match="model cannot rank them, found 2"):
            lm.answer([request], sampling)
