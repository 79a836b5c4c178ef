"""The motion language model: T5 with motion tokens and two heads (AvatarGPT §3.2-3.3).

The embeddings of motion tokens come from an adapter, a linear layer that maps the frozen codebook
and three learned special vectors to the width of T5. The head of T5 predicts text, and a second
linear head predicts motion tokens. The task determines the head, so that a text answer never
contains motion tokens and a motion answer never contains text. The ablations of the paper are
options: learned motion embeddings, and one softmax over both vocabularies.

Shapes: B is the number of rows, S the length of a prompt, D the width of T5, V the number of text
pieces, K the ``num_codes``, C the ``code_dim``, N the number of ids of all prompts of a batch, M
the number of ids of all its answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from transformers import T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from data.config import Config
from training.instructions.vocabulary import (
    NUM_SPECIAL_CODES,
    TEXT_END,
    TEXT_PAD,
    TextTokenizer,
    Vocabulary,
)
from training.language_model.packed import Packing, answer_states, use_packed_attention

KIND: Final = "motion_lm"
"""Kind of the checkpoints of this model."""
TOKENIZER_FILE: Final = "tokenizer.json"
"""File of a checkpoint that holds the text tokenizer."""
T5_FILE: Final = "t5.json"
"""File of a checkpoint that holds the configuration of T5."""


class T5Size(Config):
    """Size of a T5 that is trained from scratch; the defaults are small enough for a CPU."""

    width: int = Field(default=256, ge=8, description="Width of the embeddings (d_model).")
    ff_width: int = Field(default=512, ge=8, description="Width of the feed-forward layers (d_ff).")
    layers: int = Field(
        default=4, ge=1, description="Number of layers of the encoder, and of the decoder."
    )
    heads: int = Field(default=4, ge=1, description="Number of attention heads.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout probability.")
    num_pieces: int = Field(
        default=2000,
        ge=128,
        description="Vocabulary size of the text tokenizer, which is trained on the texts.",
    )


class MotionLmConfig(Config):
    """Architecture of the language model."""

    overrules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "base": ("scratch",),
        "scratch": ("base",),
    }

    base: str = Field(
        default="",
        description="Hub name or folder of a pretrained T5 or FLAN-T5. Empty: train from scratch.",
    )
    scratch: T5Size = Field(default_factory=T5Size, description="Size of the T5 if base is empty.")
    embedding: Literal["adapter", "learned"] = Field(
        default="adapter",
        description="Embeddings of motion tokens. adapter: projected from the codebook; learned: "
        "trained from scratch.",
    )
    heads: Literal["two", "shared"] = Field(
        default="two",
        description="two: separate softmax for text and motion; shared: one softmax over both.",
    )
    lora_rank: int = Field(
        default=0, ge=0, description="Rank of LoRA on T5's attention; 0: full fine-tuning."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Whether to save memory by recomputing activations."
    )
    attention_groups: int = Field(
        default=2,
        ge=1,
        description="Number of groups of similar lengths that rows are padded in for attention. "
        "More groups need less padding but more kernel calls.",
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of instructions. The ids of its rows are concatenated, without padding.

    Attributes:
        prompts_N: (N,) ids of all prompts.
        prompts: position of the rows in ``prompts_N``.
        inputs_M: (M,) decoder inputs of all answers: the labels shifted right.
        labels_M: (M,) ids of all answers.
        answers: position of the rows in ``inputs_M`` and ``labels_M``.
        motion_B: (B,) bool, which rows answer with a motion.
        tasks_B: (B,) index of the task of each row.
    """

    prompts_N: Tensor
    prompts: Packing
    inputs_M: Tensor
    labels_M: Tensor
    answers: Packing
    motion_B: Tensor
    tasks_B: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Move the batch to a device."""
        return Batch(
            self.prompts_N.to(device, non_blocking=True),
            self.prompts.to(device),
            self.inputs_M.to(device, non_blocking=True),
            self.labels_M.to(device, non_blocking=True),
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
    """

    losses_B: Tensor
    correct_B: Tensor
    tokens_B: Tensor


class MotionEmbedding(nn.Module):
    """Embeddings of text pieces and motion tokens in one id space.

    Args:
        text: embedding of the text pieces.
        codebook_KC: (K, C) codebook of the motion tokenizer.
        config: configuration of the model.
    """

    def __init__(self, text: nn.Embedding, codebook_KC: Tensor, config: MotionLmConfig) -> None:
        super().__init__()
        self.text = text
        width = text.embedding_dim
        num_codes, code_dim = codebook_KC.shape
        self.codebook_KC: Tensor
        self.register_buffer("codebook_KC", codebook_KC.clone())
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

    def forward(self, ids: Tensor) -> Tensor:
        """Embed ids of any shape, (…,) to (…, D)."""
        return functional.embedding(ids, self.table())

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
        codebook_KC: (K, C) codebook of the motion tokenizer.
    """

    def __init__(
        self, config: MotionLmConfig, t5: T5ForConditionalGeneration, codebook_KC: Tensor
    ) -> None:
        super().__init__()
        self.config = config
        self.t5: Any = t5  # the types of its methods do not allow packed rows
        use_packed_attention(t5)
        text = t5.get_input_embeddings()
        self.vocabulary = Vocabulary(text.num_embeddings, len(codebook_KC))
        embedding = MotionEmbedding(text, codebook_KC, config)
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
        hidden_MD = answer_states(
            self.t5,
            functional.embedding(batch.prompts_N, table),
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
        return LmOutput(losses_B / tokens_B, correct_B, tokens_B)

    def encode(self, prompts_BS: Tensor, mask_BS: Tensor) -> BaseModelOutput:
        """Return the encoder states of padded prompts, (B, S, D)."""
        return self.t5.encoder(input_ids=prompts_BS, attention_mask=mask_BS)

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
