"""Published implementations, with which ours are compared in tests and benchmarks.

The published VQ-VAE as its papers say, written as its releases are laid out: nested sequences over
(B, D, T) with ``conv1d``; names of tensors are those of released files. And the language model in
transformers' own modules, with padding to the longest row.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers.activations import NewGELUActivation
from transformers.models.t5.modeling_t5 import T5Attention, T5DenseGatedActDense, T5LayerNorm

from data.motion.features import NUM_FEATURES
from training.language_model.batches import Encoded, pad_prompts
from training.language_model.model import MotionLm

IGNORED: Final = -100
"""Label of positions without a loss."""


class Block(nn.Module):
    """Residual block over (B, W, T)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 3, 1, dilation, dilation)
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x + self.conv2(functional.relu(self.conv1(functional.relu(x))))


class Resnet(nn.Module):
    """A stack of residual blocks, the widest dilation first."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(Block(width, 3**index) for index in reversed(range(depth))))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return self.model(x)


class PublishedNetwork(nn.Module):
    """Encoder and decoder; two stages."""

    def __init__(self, width: int, depth: int, code_dim: int) -> None:
        super().__init__()
        encoder = nn.Sequential(
            nn.Conv1d(NUM_FEATURES, width, 3, 1, 1),
            nn.ReLU(),
            *(nn.Sequential(nn.Conv1d(width, width, 4, 2, 1), Resnet(width, depth)) for _ in "ab"),
            nn.Conv1d(width, code_dim, 3, 1, 1),
        )
        ups = [
            nn.Sequential(
                Resnet(width, depth),
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv1d(width, width, 3, 1, 1),
            )
            for _ in "ab"
        ]
        decoder = nn.Sequential(
            nn.Conv1d(code_dim, width, 3, 1, 1),
            nn.ReLU(),
            *ups,
            nn.Conv1d(width, width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv1d(width, NUM_FEATURES, 3, 1, 1),
        )
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.add_module("model", encoder)
        self.decoder.add_module("model", decoder)

    def encoded(self, features: Tensor) -> Tensor:
        """(B, T, D) to (B, T / 4, C)."""
        return self.encoder.get_submodule("model")(features.transpose(1, 2)).transpose(1, 2)

    def decoded(self, latents: Tensor) -> Tensor:
        """(B, T / 4, C) to (B, T, D)."""
        return self.decoder.get_submodule("model")(latents.transpose(1, 2)).transpose(1, 2)


class PublishedTokenizer(PublishedNetwork):
    """The published network with a codebook, as the releases store it."""

    def __init__(self, width: int, code_dim: int, num_codes: int) -> None:
        super().__init__(width, 3, code_dim)
        self.quantizer = nn.Module()
        self.quantizer.register_buffer("codebook", torch.randn(num_codes, code_dim))

    def codes(self, features: Tensor) -> Tensor:
        """Return the codes of features, (B, T, D) to (B, L)."""
        codebook = self.quantizer.get_buffer("codebook")
        return torch.cdist(self.encoded(features), codebook[None]).argmin(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the features of codes, (B, L) to (B, T, D)."""
        return self.decoded(self.quantizer.get_buffer("codebook")[codes])


def as_it_comes(model: MotionLm, attention: str = "sdpa") -> MotionLm:
    """The same weights in transformers' own modules; nothing fused."""
    plain = deepcopy(model)
    for stack in (plain.t5.encoder, plain.t5.decoder):
        stack.set_attn_implementation(attention)
    for module in plain.t5.modules():
        if isinstance(module, T5Attention):
            module.__class__ = T5Attention
        elif isinstance(module, T5LayerNorm):
            module.__class__ = T5LayerNorm
        elif isinstance(module, T5DenseGatedActDense):
            module.act = NewGELUActivation()
    return plain


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Instructions padded to the longest: prompts (B, S), answers (B, L)."""

    prompts_BS: Tensor
    mask_BS: Tensor
    inputs_BL: Tensor
    labels_BL: Tensor
    motion_B: Tensor


def padded(model: MotionLm, rows: Sequence[Encoded], length: int = 0) -> PaddedBatch:
    """A batch; prompts and answers are padded to ``length`` ids, or cut to it, if one is given."""

    def fitted(ids: Tensor, value: int) -> Tensor:
        if not length:
            return ids
        return functional.pad(ids[:, :length], (0, max(0, length - ids.shape[1])), value=value)

    prompts_BS, mask_BS = pad_prompts([one.prompt for one in rows])
    motion_B = torch.tensor([one.instruction.task.answers_motion for one in rows])
    labels_BL = pad_sequence(
        [torch.tensor(one.answer) for one in rows], batch_first=True, padding_value=IGNORED
    )
    starts_B = torch.where(motion_B, model.vocabulary.motion_start, 0)
    inputs_BL = torch.cat([starts_B[:, None], labels_BL[:, :-1].clamp(min=0)], 1)
    return PaddedBatch(
        fitted(prompts_BS, 0),
        fitted(mask_BS, 0),
        fitted(inputs_BL, 0),
        fitted(labels_BL, IGNORED),
        motion_B,
    )


def padded_losses(model: MotionLm, batch: PaddedBatch) -> Tensor:
    """Mean cross-entropy of each row's tokens, with logits of padding too."""
    encoded = model.encode(batch.prompts_BS, batch.mask_BS)[0]
    hidden = model.t5.decoder(
        input_ids=batch.inputs_BL,
        encoder_hidden_states=encoded,
        encoder_attention_mask=batch.mask_BS,
        use_cache=False,
    )[0]
    losses_B = hidden.new_zeros(len(hidden))
    for motion, head in ((False, model.heads.text_logits), (True, model.heads.motion_logits)):
        own_B = batch.motion_B == motion
        labels = batch.labels_BL[own_B]
        said = labels != IGNORED
        if motion and not model.heads.shared:
            labels = torch.where(said, labels - model.vocabulary.num_text, IGNORED)
        logits = head(hidden[own_B])
        losses = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="none"
        ).view(said.shape)
        losses_B = losses_B.index_add(0, own_B.nonzero()[:, 0], losses.sum(1) / said.sum(1))
    return losses_B


def said_losses(model: MotionLm, batch: PaddedBatch) -> Tensor:
    """The same as :func:`padded_losses`, with logits only where a row says something."""
    table = model.t5.shared.table()
    encoded = model.t5.encoder(
        inputs_embeds=functional.embedding(batch.prompts_BS, table), attention_mask=batch.mask_BS
    ).last_hidden_state
    hidden_BLD = model.t5.decoder(
        inputs_embeds=functional.embedding(batch.inputs_BL, table),
        encoder_hidden_states=encoded,
        encoder_attention_mask=batch.mask_BS,
        use_cache=False,
    ).last_hidden_state
    said_BL = batch.labels_BL != IGNORED
    rows_M = said_BL.nonzero()[:, 0]
    hidden_MD, labels_M = hidden_BLD[said_BL], batch.labels_BL[said_BL]
    losses_B = hidden_BLD.new_zeros(len(hidden_BLD))
    for motion, head in ((False, model.heads.text_logits), (True, model.heads.motion_logits)):
        own_M = batch.motion_B[rows_M] == motion
        labels = labels_M[own_M]
        if motion and not model.heads.shared:
            labels = labels - model.vocabulary.num_text
        losses = functional.cross_entropy(head(hidden_MD[own_M]), labels, reduction="none")
        losses_B = losses_B.index_add(0, rows_M[own_M], losses)
    return losses_B / said_BL.sum(1)
