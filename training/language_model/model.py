"""The motion language model: T5 with motion tokens and two heads (AvatarGPT §3.2-3.3).

Motion tokens are seen through an adapter: one linear layer from the frozen codebook, and three
learned special vectors, to the width of T5. T5's own head answers with text; a second linear head
answers with motion. Which head is used is settled by the task, so that a text answer has no motion
token and a motion answer no text, whatever the weights. The paper's ablations are options: learned
motion embeddings, and one softmax over both vocabularies.

Shapes: B rows, S prompt ids, D T5's width, V text pieces, K ``num_codes``, C ``code_dim``, N ids
of all prompts of a batch, M ids of all its answers.
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
from training.language_model.packed import Packing, answer_states, take_packed

KIND: Final = "motion_lm"
"""Kind of the checkpoints of this model."""
TOKENIZER_FILE: Final = "tokenizer.json"
"""File of a checkpoint that holds the text tokenizer."""
T5_FILE: Final = "t5.json"
"""File of a checkpoint that holds the configuration of T5."""


class T5Size(Config):
    """A T5 trained from scratch; the defaults are small enough for a CPU."""

    width: int = Field(default=256, ge=8)
    ff_width: int = Field(default=512, ge=8)
    layers: int = Field(default=4, ge=1, description="Of the encoder, and of the decoder.")
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    num_pieces: int = Field(default=2000, ge=128, description="Text pieces, trained on the texts.")


class MotionLmConfig(Config):
    """The language model."""

    overrules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "base": ("scratch",),
        "scratch": ("base",),
    }

    base: str = Field(
        default="", description="T5 or FLAN-T5: hub name or folder. Empty: from scratch."
    )
    scratch: T5Size = Field(default_factory=T5Size, description="Used where there is no base.")
    embedding: Literal["adapter", "learned"] = Field(
        default="adapter", description="How motion tokens enter: from the codebook, or learned."
    )
    heads: Literal["two", "shared"] = Field(
        default="two", description="One softmax per kind of answer, or one over both."
    )
    lora_rank: int = Field(default=0, ge=0, description="Of T5's attention; 0: full fine-tuning.")
    gradient_checkpointing: bool = False
    attention_groups: int = Field(
        default=2,
        ge=1,
        description="Groups of like lengths that a part's rows are padded in for attention: more "
        "pad less, fewer are fewer calls.",
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Instructions as ids, one behind the other.

    Attributes:
        prompts_N: ids of all prompts.
        prompts: which of them are whose.
        inputs_M: what the decoder sees: the answers, one later.
        labels_M: what it is to say.
        answers: which of these are whose.
        motion_B: bool, rows that answer with motion.
        tasks_B: index of each row's task.
    """

    prompts_N: Tensor
    prompts: Packing
    inputs_M: Tensor
    labels_M: Tensor
    answers: Packing
    motion_B: Tensor
    tasks_B: Tensor

    def to(self, device: torch.device) -> "Batch":
        """On a device."""
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
    """What a batch came to.

    Attributes:
        losses_B: mean cross-entropy over the tokens of each row.
        correct_B: tokens that the model would have said.
        tokens_B: tokens of each answer.
    """

    losses_B: Tensor
    correct_B: Tensor
    tokens_B: Tensor


class MotionEmbedding(nn.Module):
    """Embeddings of text pieces and motion tokens in one id space."""

    def __init__(self, text: nn.Embedding, codebook_KC: Tensor, config: MotionLmConfig) -> None:
        super().__init__()
        self.text = text
        width = text.embedding_dim
        num_codes, code_dim = codebook_KC.shape
        self.codebook_KC: Tensor
        self.register_buffer("codebook_KC", codebook_KC.clone())
        self.adapted = config.embedding == "adapter"
        # Motion should enter at the size that text has.
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
        """(…,) ids to (…, D)."""
        return functional.embedding(ids, self.table())

    def table(self) -> Tensor:
        """Of all ids, (V + K + 3, D)."""
        return torch.cat([self.text.weight, self.motion_table()])

    def motion_table(self) -> Tensor:
        """Of motion tokens, (K + 3, D)."""
        if not self.adapted:
            return self.learned.weight
        return self.adapter(torch.cat([self.codebook_KC, self.specials]))


class TwoHeads(nn.Module):
    """Text head and motion head."""

    def __init__(self, text: nn.Linear, num_codes: int, *, text_scale: float, shared: bool) -> None:
        super().__init__()
        self.text = text
        self.motion = nn.Linear(text.in_features, num_codes + NUM_SPECIAL_CODES, bias=False)
        nn.init.normal_(self.motion.weight, std=text.in_features**-0.5)
        self.text_scale = text_scale
        self.shared = shared

    def text_logits(self, hidden_D: Tensor) -> Tensor:
        """(…, V), or (…, V + K + 3) of the shared softmax."""
        text = self.text(hidden_D * self.text_scale)
        return torch.cat([text, self.motion(hidden_D)], -1) if self.shared else text

    def motion_logits(self, hidden_D: Tensor) -> Tensor:
        """(…, K + 3), or (…, V + K + 3) of the shared softmax."""
        return self.text_logits(hidden_D) if self.shared else self.motion(hidden_D)


class _Unregistered:
    """The embedding for a stack of T5: called, but not stored a second time."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, ids: Tensor) -> Tensor:
        return self._module(ids)


class MotionLm(nn.Module):
    """T5 that reads and writes motion.

    Args:
        config: of the model.
        t5: from :func:`build_t5`; it is changed in place.
        codebook_KC: of the motion tokenizer, (K, C).
    """

    def __init__(
        self, config: MotionLmConfig, t5: T5ForConditionalGeneration, codebook_KC: Tensor
    ) -> None:
        super().__init__()
        self.config = config
        self.t5: Any = t5  # its methods are typed for other uses
        take_packed(t5)
        text = t5.get_input_embeddings()
        self.vocabulary = Vocabulary(text.num_embeddings, len(codebook_KC))
        embedding = MotionEmbedding(text, codebook_KC, config)
        self.t5.shared = embedding
        for stack in (self.t5.encoder, self.t5.decoder):
            del stack.embed_tokens
            stack.embed_tokens = _Unregistered(embedding)
        # T5 1.0 scales what its head sees; the motion head has no such custom.
        scale = t5.config.d_model**-0.5 if t5.config.scale_decoder_outputs else 1.0
        # A copy: transformers may have tied the head to the embedding, FLAN-T5's is its own.
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
        """Of the answers."""
        return self.t5.lm_head

    def forward(self, batch: Batch) -> LmOutput:
        """Losses of a batch; prompts are one sequence of text and motion embeddings."""
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
        # Each head sees only the tokens that are its own; none at all is a sum of nothing.
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
        """Encoder states of prompts."""
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
    """A pretrained T5, or a new one.

    Raises:
        ValueError: ``base`` cannot be loaded.
    """
    if config.base:
        try:
            loaded = T5ForConditionalGeneration.from_pretrained(
                _path_or_name(config.base), attn_implementation="sdpa", use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"base: expected a T5 with safetensors, found: {str(error).splitlines()[0]} "
                "Remedy: name a folder that holds one, or a model of a hub that can be reached."
            ) from error
        return loaded
    return T5ForConditionalGeneration(t5_config(config.scratch, num_pieces))


def t5_config(size: T5Size, num_pieces: int) -> T5Config:
    """FLAN-T5's kind of T5 (gated GELU, untied head) of another size."""
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
    """The tokeniser of a pretrained T5.

    Raises:
        ValueError: it has none that can be read.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow, rarely used

    try:
        tokenizer = AutoTokenizer.from_pretrained(_path_or_name(base))
        return TextTokenizer(tokenizer.backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            f"base: expected a T5 tokeniser in {base}, found: {str(error).splitlines()[0]} "
            "Remedy: save tokenizer.json beside the model."
        ) from error


def _path_or_name(base: str) -> str:
    path = Path(base).expanduser()
    return str(path) if path.exists() else base
