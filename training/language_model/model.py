"""The motion language model: T5 with motion tokens and two heads (AvatarGPT §3.2-3.3).

The embeddings of motion tokens come from an adapter, a linear layer that maps the frozen codebook
and three learned special vectors to the width of T5. The head of T5 predicts text, and a second
linear head predicts motion tokens. The task determines the head, so that a text answer never
contains motion tokens and a motion answer never contains text. The ablations of the paper are
options: learned motion embeddings, and one softmax over both vocabularies.

If the tokenizer has residual codebooks, the motions of a prompt are embedded with all codes of
their tokens: the adapter gets the sum of the code vectors. Answers are predicted from base codes
alone, also in training, because all base codes of an answer are generated before its first residual
code. The residual codes follow from the decoder of :mod:`training.language_model.residual`.

Shapes: B is the number of rows, S the length of a prompt, D the width of T5, V the number of text
pieces, K the ``num_codes``, C the ``code_dim``, Q the number of codes of a motion token and R =
Q - 1 that of its residual codes, N the number of ids of all prompts of a batch, M the number of ids
of all its answers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from training.instructions.vocabulary import (
    NUM_SPECIAL_CODES,
    TEXT_END,
    TEXT_PAD,
    TextTokenizer,
    Vocabulary,
)
from training.language_model.config import MotionLmConfig, T5Size
from training.language_model.packed import Packing, answer_states, use_packed_attention
from training.language_model.residual import ResidualDecoder, ResidualOutput, summed_vectors

TOKENIZER_FILE: Final = "tokenizer.json"
"""File of a checkpoint that holds the text tokenizer."""
T5_FILE: Final = "t5.json"
"""File of a checkpoint that holds the configuration of T5."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of instructions. The ids of its rows are concatenated, without padding.

    Attributes:
        prompts_N: (N,) ids of all prompts.
        given_NR: (N, R) residual codes of the prompts; -1 where an id has none.
        prompts: position of the rows in ``prompts_N``.
        inputs_M: (M,) decoder inputs of all answers: the labels shifted right.
        labels_M: (M,) ids of all answers.
        residual_MR: (M, R) residual codes of the answers; -1 where an id has none.
        answers: position of the rows in ``inputs_M``, ``labels_M`` and ``residual_MR``.
        motion_B: (B,) bool, which rows answer with a motion.
        tasks_B: (B,) index of the task of each row.
    """

    prompts_N: Tensor
    given_NR: Tensor
    prompts: Packing
    inputs_M: Tensor
    labels_M: Tensor
    residual_MR: Tensor
    answers: Packing
    motion_B: Tensor
    tasks_B: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Move the batch to a device."""
        return Batch(
            self.prompts_N.to(device, non_blocking=True),
            self.given_NR.to(device, non_blocking=True),
            self.prompts.to(device),
            self.inputs_M.to(device, non_blocking=True),
            self.labels_M.to(device, non_blocking=True),
            self.residual_MR.to(device, non_blocking=True),
            self.answers.to(device),
            self.motion_B.to(device, non_blocking=True),
            self.tasks_B.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True)
class LmOutput:
    """Output of a forward pass.

    Attributes:
        losses_B: (B,) mean cross-entropy over the answer tokens of each row.
        correct_B: (B,) number of answer tokens that the model predicts correctly.
        tokens_B: (B,) number of answer tokens.
        residual: losses of the residual codes of the motion answers; None if there are none.
    """

    losses_B: Tensor
    correct_B: Tensor
    tokens_B: Tensor
    residual: ResidualOutput | None = None


class MotionEmbedding(nn.Module):
    """Embeddings of text pieces and motion tokens in one id space.

    Args:
        text: embedding of the text pieces.
        codebook_KC: (K, C) base codebook of the motion tokenizer.
        residual_RKC: (R, K, C) its residual codebooks; None if it has none.
        config: configuration of the model.
    """

    def __init__(
        self,
        text: nn.Embedding,
        codebook_KC: Tensor,
        residual_RKC: Tensor | None,
        config: MotionLmConfig,
    ) -> None:
        super().__init__()
        self.text = text
        width = text.embedding_dim
        num_codes, code_dim = codebook_KC.shape
        self.codebook_KC: Tensor
        self.register_buffer("codebook_KC", codebook_KC.clone())
        self.residual_RKC: Tensor | None
        # Without residual codebooks, the checkpoint has no tensor of this name.
        self.register_buffer("residual_RKC", None if residual_RKC is None else residual_RKC.clone())
        self.adapted = config.embedding == "adapter"
        # Motion embeddings are initialized with the standard deviation of text embeddings.
        std = float(text.weight.detach().std())
        if self.adapted:
            scale = codebook_KC.square().sum(1).mean().sqrt().clamp(min=1e-6)
            self.specials = nn.Parameter(
                torch.randn(NUM_SPECIAL_CODES, code_dim) * scale / code_dim**0.5
            )
            self.adapter = nn.Linear(code_dim, width, bias=False)
            nn.init.normal_(self.adapter.weight, std=std / float(scale))
        else:
            self.learned = nn.Embedding(num_codes + NUM_SPECIAL_CODES, width)
            nn.init.normal_(self.learned.weight, std=std)
            if residual_RKC is not None:
                self.learned_RKD = nn.Parameter(torch.zeros(*residual_RKC.shape[:2], width))

    def forward(self, ids: Tensor) -> Tensor:
        """Embed ids of any shape, (…,) to (…, D)."""
        return functional.embedding(ids, self.table())

    def add_residual(self, embedded: Tensor, residual: Tensor) -> Tensor:
        """Add the vectors of residual codes to embedded ids.

        Args:
            embedded: (…, D) embeddings of ids.
            residual: (…, R) residual codes of the ids, -1 where an id has none.

        Returns:
            (…, D) embeddings. With the adapter, which is linear, that of a motion token is now that
            of the sum of all its code vectors.
        """
        if self.residual_RKC is None:
            return embedded
        held = (residual >= 0).any(-1)
        codebooks = self.residual_RKC if self.adapted else self.learned_RKD
        added = summed_vectors(residual[held], codebooks)
        if self.adapted:
            added = self.adapter(added)
        return embedded.index_put((held,), added.to(embedded.dtype), accumulate=True)

    def table(self) -> Tensor:
        """Return the embeddings of all ids, (V + K + 3, D)."""
        return torch.cat([self.text.weight, self.motion_table()])

    def motion_table(self) -> Tensor:
        """Return the embeddings of the motion tokens, (K + 3, D)."""
        if not self.adapted:
            return self.learned.weight
        return self.adapter(torch.cat([self.codebook_KC, self.specials]))


class TwoHeads(nn.Module):
    """The text head and the motion head.

    Args:
        text: text head.
        num_codes: K.
        text_scale: factor of the states before the text head.
        shared: whether both kinds of answers use one softmax over text and motion.
    """

    def __init__(self, text: nn.Linear, num_codes: int, *, text_scale: float, shared: bool) -> None:
        super().__init__()
        self.text = text
        self.motion = nn.Linear(text.in_features, num_codes + NUM_SPECIAL_CODES, bias=False)
        nn.init.normal_(self.motion.weight, std=text.in_features**-0.5)
        self.text_scale = text_scale
        self.shared = shared

    def text_logits(self, hidden_D: Tensor) -> Tensor:
        """Return the logits of text answers, (…, V), or (…, V + K + 3) if the softmax is shared."""
        text = self.text(hidden_D * self.text_scale)
        return torch.cat([text, self.motion(hidden_D)], -1) if self.shared else text

    def motion_logits(self, hidden_D: Tensor) -> Tensor:
        """Return the logits of motions, (…, K + 3), or (…, V + K + 3) if the softmax is shared."""
        return self.text_logits(hidden_D) if self.shared else self.motion(hidden_D)


class _Unregistered:
    """Wraps the embedding for the stacks of T5, so that its weights are registered only once."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, ids: Tensor) -> Tensor:
        return self._module(ids)


class MotionLm(nn.Module):
    """A T5 whose prompts and answers may contain motion tokens.

    Args:
        config: configuration of the model.
        t5: T5 from :func:`build_t5`. It is modified in place.
        codebook_KC: (K, C) base codebook of the motion tokenizer.
        residual_RKC: (R, K, C) its residual codebooks; None if it has none.
    """

    def __init__(
        self,
        config: MotionLmConfig,
        t5: T5ForConditionalGeneration,
        codebook_KC: Tensor,
        residual_RKC: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.t5: Any = t5  # the types of its methods do not allow packed rows
        use_packed_attention(t5)
        text = t5.get_input_embeddings()
        num_quantizers = 1 if residual_RKC is None else 1 + len(residual_RKC)
        self.vocabulary = Vocabulary(text.num_embeddings, len(codebook_KC), num_quantizers)
        embedding = MotionEmbedding(text, codebook_KC, residual_RKC, config)
        self.t5.shared = embedding
        for stack in (self.t5.encoder, self.t5.decoder):
            del stack.embed_tokens
            stack.embed_tokens = _Unregistered(embedding)
        # T5 1.0 scales the states before its head. The motion head does not need this.
        scale = t5.config.d_model**-0.5 if t5.config.scale_decoder_outputs else 1.0
        # The head is copied, because transformers may have tied it to the embedding.
        head = nn.Linear(t5.config.d_model, text.num_embeddings, bias=False)
        if config.base:
            head.weight = nn.Parameter(t5.lm_head.weight.detach().clone())
        else:
            nn.init.normal_(head.weight, std=t5.config.d_model**-0.5)
        self.t5.lm_head = TwoHeads(
            head, len(codebook_KC), text_scale=scale, shared=config.heads == "shared"
        )
        for settings in (t5.config, t5.encoder.config, t5.decoder.config):
            settings.scale_decoder_outputs = False
            settings.tie_word_embeddings = False
            settings.vocab_size = self.vocabulary.size
        self.residual: ResidualDecoder | None = None
        if residual_RKC is not None:
            codebooks_QKC = torch.cat([codebook_KC[None], residual_RKC])
            self.residual = ResidualDecoder(config.residual, codebooks_QKC, t5.config.d_model)
        if config.lora_rank:
            self._add_lora(config.lora_rank)
        if config.gradient_checkpointing:
            self.t5.activation_checkpointing_enable({"use_reentrant": False})

    @property
    def heads(self) -> TwoHeads:
        """The heads that predict the answers."""
        return self.t5.lm_head

    def forward(self, batch: Batch) -> LmOutput:
        """Return the losses of a batch."""
        embedding: MotionEmbedding = self.t5.shared
        table = embedding.table()
        hidden_MD, states_ND = answer_states(
            self.t5,
            embedding.add_residual(functional.embedding(batch.prompts_N, table), batch.given_NR),
            batch.prompts,
            functional.embedding(batch.inputs_M, table),
            batch.answers,
        )
        count, rows_M = len(batch.motion_B), batch.answers.rows_N
        losses_B = hidden_MD.new_zeros(count, dtype=torch.float32)
        correct_B = torch.zeros_like(losses_B)
        motion_M = batch.motion_B[rows_M]
        heads = self.heads
        # Each head computes only its own tokens, of which there may be none.
        for motion in (False, True):
            own_M = motion_M == motion
            labels = batch.labels_M[own_M]
            if motion and not heads.shared:
                labels = labels - self.vocabulary.num_text
            head = heads.motion_logits if motion else heads.text_logits
            logits = head(hidden_MD[own_M]).float()
            token_losses = functional.cross_entropy(logits, labels, reduction="none")
            losses_B = losses_B.index_add(0, rows_M[own_M], token_losses)
            right = (logits.detach().argmax(-1) == labels).float()
            correct_B = correct_B.index_add(0, rows_M[own_M], right)
        tokens_B = torch.zeros_like(losses_B).index_add(0, rows_M, torch.ones_like(rows_M).float())
        residual = self._residual_losses(batch, states_ND)
        return LmOutput(losses_B / tokens_B, correct_B, tokens_B, residual)

    def encode(
        self, prompts_BS: Tensor, mask_BS: Tensor, given_BSR: Tensor | None = None
    ) -> BaseModelOutput:
        """Return the encoder states of padded prompts, (B, S, D).

        Args:
            prompts_BS: ids of the prompts.
            mask_BS: 0 at padding.
            given_BSR: residual codes of the prompts, -1 where an id has none; None: they have none.
        """
        embedded_BSD = self.t5.shared(prompts_BS)
        if given_BSR is not None:
            embedded_BSD = self.t5.shared.add_residual(embedded_BSD, given_BSR)
        return self.t5.encoder(inputs_embeds=embedded_BSD, attention_mask=mask_BS)

    def _residual_losses(self, batch: Batch, states_ND: Tensor) -> ResidualOutput | None:
        """Return the losses of the residual codes of the motion answers."""
        if self.residual is None:
            return None
        codes_MQ = torch.cat(
            [batch.labels_M[:, None] - self.vocabulary.num_text, batch.residual_MR], -1
        )
        prompts, answers = (_rows(part) for part in (batch.prompts, batch.answers))
        # The last id of an answer is its end, which has no codes.
        rows = [
            (codes_LQ[:-1], states_SD)
            for codes_LQ, states_SD, motion in zip(
                codes_MQ.split(answers),
                states_ND.split(prompts),
                batch.motion_B.tolist(),
                strict=True,
            )
            if motion and len(codes_LQ) > 1
        ]
        if not rows:
            if not self.training:
                return None
            # Every process must give every weight a gradient, so a token without residual codes,
            # whose loss is 0, takes the place of motions.
            codes_1Q = torch.full_like(codes_MQ[:1], -1)
            codes_1Q[:, 0] = 0
            rows = [(codes_1Q, states_ND[:1])]
        codes_BLQ = pad_sequence([codes for codes, _ in rows], batch_first=True, padding_value=-1)
        states_BSD = pad_sequence([states for _, states in rows], batch_first=True)
        lengths_B = torch.tensor([len(states) for _, states in rows], device=states_ND.device)
        seen_BS = torch.arange(states_BSD.shape[1], device=states_ND.device) < lengths_B[:, None]
        return self.residual.losses(codes_BLQ, states_BSD, seen_BS)

    def _add_lora(self, rank: int) -> None:
        from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415 - slow, rarely used

        for weight in self.t5.parameters():
            weight.requires_grad = False
        inject_adapter_in_model(
            LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q", "v"]), self.t5
        )
        embedding, heads = self.t5.shared, self.heads
        for name, weight in embedding.named_parameters():
            weight.requires_grad = not name.startswith("text.")
        heads.motion.weight.requires_grad = True


def _rows(packing: Packing) -> list[int]:
    """Return the length of each row."""
    return torch.bincount(packing.rows_N).tolist()


def build_t5(config: MotionLmConfig, num_pieces: int) -> T5ForConditionalGeneration:
    """Load the pretrained T5 ``config.base``, or build a new T5.

    Args:
        config: configuration of the model.
        num_pieces: vocabulary size of a new T5.

    Raises:
        ValueError: ``config.base`` cannot be loaded.
    """
    if config.base:
        try:
            loaded = T5ForConditionalGeneration.from_pretrained(
                _path_or_name(config.base), attn_implementation="sdpa", use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"base: expected a T5 with safetensors, found: {str(error).splitlines()[0]} "
                "Remedy: set base to a folder that contains one, or to a model of a hub that can "
                "be reached."
            ) from error
        return loaded
    return T5ForConditionalGeneration(t5_config(config.scratch, num_pieces))


def t5_config(size: T5Size, num_pieces: int) -> T5Config:
    """Return the configuration of a T5 of another size, of FLAN-T5's kind (gated GELU, untied)."""
    values: dict[str, Any] = {"tie_word_embeddings": False, "decoder_start_token_id": TEXT_PAD}
    return T5Config(
        vocab_size=num_pieces,
        d_model=size.width,
        d_kv=size.width // size.heads,
        d_ff=size.ff_width,
        num_layers=size.layers,
        num_decoder_layers=size.layers,
        num_heads=size.heads,
        dropout_rate=size.dropout,
        feed_forward_proj="gated-gelu",
        pad_token_id=TEXT_PAD,
        eos_token_id=TEXT_END,
        **values,
    )


def base_tokenizer(base: str) -> TextTokenizer:
    """Load the text tokenizer of a pretrained T5.

    Raises:
        ValueError: the tokenizer is missing or cannot be read.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow, rarely used

    try:
        tokenizer = AutoTokenizer.from_pretrained(_path_or_name(base))
        return TextTokenizer(tokenizer.backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            f"base: expected a T5 tokenizer in {base}, found: {str(error).splitlines()[0]} "
            "Remedy: save tokenizer.json in the folder of the model."
        ) from error


def _path_or_name(base: str) -> str:
    path = Path(base).expanduser()
    return str(path) if path.exists() else base
