"""A delay pattern for residual codes: the alternative to the decoder of the language model.

T5 answers with all codes of a motion (MusicGen, Copet et al. 2023): at step i it predicts code 0 of
token i, code 1 of token i-1, code 2 of token i-2 and so on, with a head for each codebook. What it
predicted at a step is the input of the next one: the adapter gets the sum of the vectors of these
codes. After the end of the base codes, the last residual codes follow in R - 1 more steps.

Shapes: B is the number of motions, S the number of steps of one or of all of them, R the number of
residual codes of a token, Q = R + 1, T the number of tokens of a motion, L that of its ids with
start or end, K the ``num_codes``, D the width of T5.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    T5ForConditionalGeneration,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from training.instructions.tasks import Codes, codes_of
from training.instructions.vocabulary import TEXT_END
from training.language_model.batches import pad_prompts
from training.language_model.config import MotionLmConfig, Sampling
from training.language_model.decoding import FIRST_CODE_ID, START_ID, AnswerKinds
from training.language_model.generation import MotionLanguageModel, Request
from training.language_model.model import Batch, LmOutput, MotionLm
from training.language_model.packed import Packing, answer_states, pack
from training.language_model.residual import ResidualOutput


class DelayLm(MotionLm):
    """A motion language model whose T5 predicts all codes. All answers must be motions.

    Args:
        config: configuration of the model; what it says of the residual decoder is not used.
        t5: T5 that is modified in place.
        codebook_KC: base codebook of the motion tokenizer.
        residual_RKC: its residual codebooks.
    """

    def __init__(
        self,
        config: MotionLmConfig,
        t5: T5ForConditionalGeneration,
        codebook_KC: Tensor,
        residual_RKC: Tensor,
    ) -> None:
        super().__init__(config, t5, codebook_KC, residual_RKC)
        self.residual = None
        width = self.heads.motion.in_features
        self.heads_RKD = nn.Parameter(torch.randn(*residual_RKC.shape[:2], width) * width**-0.5)

    def residual_logits(self, hidden_SD: Tensor) -> Tensor:
        """Return the logits of the residual codes of each step, (S, R, K)."""
        return torch.einsum("sd,rkd->srk", hidden_SD, self.heads_RKD)

    def forward(self, batch: Batch) -> LmOutput:
        """Return the losses of a batch of motion answers."""
        inputs_S, fed_SR, labels_SQ, packing = self._delayed(batch)
        embedding = self.t5.shared
        hidden_SD, _ = answer_states(
            self.t5,
            embedding.add_residual(embedding(batch.prompts_N), batch.given_NR),
            batch.prompts,
            embedding.add_residual(embedding(inputs_S), fed_SR),
            packing,
        )
        count, rows_S = len(batch.motion_B), packing.rows_N
        logits_SW = self.heads.motion_logits(hidden_SD).float()
        base = _sums(logits_SW, labels_SQ[:, 0], rows_S, count)
        logits_SRK = self.residual_logits(hidden_SD).float()
        each = rows_S.repeat_interleave(logits_SRK.shape[1])
        rest = _sums(logits_SRK.flatten(0, 1), labels_SQ[:, 1:].flatten(), each, count)
        return LmOutput(base.losses_B, base.correct_B, base.tokens_B, rest)

    def _delayed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Packing]:
        """Return inputs (S,), their residual codes (S, R), labels (S, Q), and where rows are.

        Base labels are those of the motion head. Where the batch has noise in place of a base code,
        the residual codes of that token are random too, because they would give it away.
        """
        first, count = self.vocabulary.num_text, len(self.heads_RKD)
        rows = torch.bincount(batch.answers.rows_N).tolist()
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for inputs_L, labels_L, residual_LR in zip(
            batch.inputs_M.split(rows),
            batch.labels_M.split(rows),
            batch.residual_MR.split(rows),
            strict=True,
        ):
            residual_TR = residual_LR[:-1]
            noisy_T = inputs_L[1:] != labels_L[:-1]
            random_TR = torch.randint_like(residual_TR, self.vocabulary.num_codes)
            given_TR = torch.where(noisy_T[:, None], random_TR, residual_TR)
            ends = labels_L.new_full((count - 1,), self.vocabulary.motion_end)
            base_S = torch.cat([labels_L - first, torch.full_like(ends, -1)])
            fed_SR = torch.cat([given_TR.new_full((1, count), -1), _later(given_TR)[:-1]])
            labels_SQ = torch.cat([base_S[:, None], _later(residual_TR)], 1)
            parts.append((torch.cat([inputs_L, ends]), fed_SR, labels_SQ))
        lengths = iter(len(inputs_S) for inputs_S, _, _ in parts)
        packing = pack([[next(lengths) for _ in range(n)] for n, _ in batch.answers.groups])
        inputs_S, fed_SR, labels_SQ = (torch.cat(part) for part in zip(*parts, strict=True))
        return inputs_S, fed_SR, labels_SQ, packing


class DelayLanguageModel(MotionLanguageModel):
    """A trained :class:`DelayLm` that answers with motions."""

    @torch.no_grad()
    def _generate(
        self, prompts: list[list[int]], requests: list[Request], sampling: Sampling
    ) -> list[str | Codes]:
        model = self.model
        assert isinstance(model, DelayLm)  # noqa: S101 - what it was made with
        count, last = len(prompts), len(model.heads_RKD)
        prompts_BS, mask_BS = pad_prompts(prompts)
        states_BSD = model.encode(prompts_BS, mask_BS).last_hidden_state
        motion_B = torch.ones(count, dtype=torch.bool)
        choose = self._processors(requests, sampling, motion_B)
        if sampling.temperature:
            choose.append(TemperatureLogitsWarper(sampling.temperature))
            choose.append(TopPLogitsWarper(sampling.top_p))
        embedding, kinds = model.t5.shared, AnswerKinds(model, motion_B)
        cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache())
        ids_BL = torch.full((count, 1), START_ID)
        lengths_B = torch.full((count,), max(request.longest for request in requests) + 1)
        drawn: list[Tensor] = [torch.full((count, last), -1)]
        step = 0
        while step < int(lengths_B.max()) + last:
            embedded_BD = functional.embedding(ids_BL[:, -1], kinds.motion_MD)
            hidden_BD = model.t5.decoder(
                inputs_embeds=embedding.add_residual(embedded_BD, drawn[-1])[:, None],
                past_key_values=cache,
                encoder_hidden_states=states_BSD,
                encoder_attention_mask=mask_BS,
                use_cache=True,
            ).last_hidden_state[:, -1]
            codes_BK, start_B1, end_B1, pad_B1 = model.heads.motion(hidden_BD).split(
                [model.vocabulary.num_codes, 1, 1, 1], 1
            )
            by_id_BW = torch.cat([pad_B1, end_B1, start_B1, codes_BK], 1)
            next_B = _drawn(choose(ids_BL, by_id_BW), sampling.temperature)  # pyright: ignore[reportArgumentType] - plain tensors
            next_B[lengths_B <= step] = TEXT_END
            lengths_B[(next_B == TEXT_END) & (lengths_B > step)] = step
            tokens_R = step - torch.arange(1, last + 1)
            there_BR = (tokens_R >= 0) & (tokens_R < lengths_B[:, None])
            logits_BRK = model.residual_logits(hidden_BD)
            found_BR = _drawn(logits_BRK, sampling.residual_temperature, divided=True)
            drawn.append(found_BR.masked_fill(~there_BR, -1))
            ids_BL = torch.cat([ids_BL, next_B[:, None]], 1)
            step += 1
        steps_BSR = torch.stack(drawn[1:], 1)
        answers: list[str | Codes] = []
        for ids_L, steps_SR, length in zip(ids_BL, steps_BSR, lengths_B.tolist(), strict=True):
            residual = [steps_SR[r : r + length, r - 1] for r in range(1, last + 1)]
            base_T = ids_L[1 : length + 1] - FIRST_CODE_ID
            answers.append(codes_of(torch.stack([base_T, *residual], 1).numpy()))
        return answers


def _drawn(logits: Tensor, temperature: float, *, divided: bool = False) -> Tensor:
    """Draw from logits (…, W), or return the greatest at temperature 0."""
    if not temperature:
        return logits.argmax(-1)
    chances = (logits / temperature if divided else logits).softmax(-1)
    return torch.multinomial(chances.flatten(0, -2), 1).view(logits.shape[:-1])


def _later(codes_TR: Tensor) -> Tensor:
    """Return code r of token i at step i + r, (T + R, R); -1 where there is none."""
    length, count = codes_TR.shape
    later_SR = codes_TR.new_full((length + count, count), -1)
    for column in range(count):
        later_SR[column + 1 : column + 1 + length, column] = codes_TR[:, column]
    return later_SR


def _sums(logits: Tensor, labels: Tensor, rows: Tensor, count: int) -> ResidualOutput:
    """Return the mean loss of each of ``count`` rows, and how many labels (-1: none) are right."""
    errors = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="none")
    zeros_B = torch.zeros(count)
    tokens_B = zeros_B.index_add(0, rows, (labels >= 0).float())
    right_B = zeros_B.index_add(0, rows, (logits.detach().argmax(-1) == labels).float())
    sums_B = zeros_B.index_add(0, rows, errors)
    return ResidualOutput(sums_B / tokens_B.clamp(min=1), right_B, tokens_B)
