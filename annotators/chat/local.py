"""A visual language model in this process, through ``transformers``.

For small models such as SmolVLM2 or Qwen3-VL, by name or from a folder. Answers are the same
whatever the batch size when they are greedy: prompts are padded on the left and masked.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from annotators.chat.cache import ChatReply
from annotators.chat.config import LocalVlmConfig
from data.records import Outcome


@dataclass(frozen=True, slots=True)
class VlmRequest:
    """What the model is asked.

    Attributes:
        system: instructions.
        parts: texts and (H, W, 3) uint8 RGB pictures in order.
        sample: number among equal requests.
    """

    system: str
    parts: tuple[str | NDArray[np.uint8], ...]
    sample: int = 0


class LocalVlm:
    """The loaded model.

    Args:
        config: which, and how it answers.

    Raises:
        ValueError: there is no such model, or it takes no pictures.
    """

    def __init__(self, config: LocalVlmConfig) -> None:
        # Takes seconds to import, and most runs have no such model.
        import transformers  # noqa: PLC0415
        from transformers import AutoConfig, AutoModelForImageTextToText  # noqa: PLC0415
        from transformers.models.auto.processing_auto import (  # noqa: PLC0415
            PROCESSOR_MAPPING_NAMES,  # pyright: ignore[reportPrivateImportUsage]
        )

        self.config = config
        use_gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if use_gpu else "cpu")
        folder = Path(config.model).expanduser()
        where: dict[str, Any] = {
            "pretrained_model_name_or_path": str(folder) if folder.is_dir() else config.model,
            "revision": config.revision,
            "trust_remote_code": False,
            "local_files_only": folder.is_dir(),
        }
        try:
            model_type = AutoConfig.from_pretrained(**where).model_type
            processor_class = getattr(transformers, PROCESSOR_MAPPING_NAMES.get(model_type) or "")
            self._processor: Any = for_stills(processor_class).from_pretrained(**where)
            model: Any = AutoModelForImageTextToText.from_pretrained(
                **where,
                dtype=torch.bfloat16 if use_gpu else torch.float32,
                use_safetensors=True,
            )
        except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
            raise ValueError(
                f"local_model.model: expected an image-text-to-text model with its processor and "
                f"safetensors weights at {config.model!r}, found {type(error).__name__}: {error} "
                "Remedy: name a folder that holds such a model (SmolVLM2, Qwen3-VL, …), or a model "
                "of the hub where it can be reached."
            ) from error
        if getattr(self._processor, "image_processor", None) is None:
            raise ValueError(
                f"local_model.model: expected a model that takes pictures, found none in "
                f"{config.model!r}. Remedy: name an image-text-to-text model."
            )
        self._processor.tokenizer.padding_side = "left"
        self._model: Any = model.to(self.device).eval()

    def ask_many(self, requests: Sequence[VlmRequest]) -> list[ChatReply]:
        """Answer requests, in their order; what fails on its own fails alone."""
        replies: list[ChatReply] = []
        for start in range(0, len(requests), self.config.batch_size):
            replies += self._answer(requests[start : start + self.config.batch_size])
        return replies

    def _answer(self, batch: Sequence[VlmRequest]) -> list[ChatReply]:
        try:
            return self._generate(batch)
        except torch.OutOfMemoryError as error:
            problem = f"out of memory: {error}"
        except (ValueError, RuntimeError, IndexError) as error:
            problem = f"{type(error).__name__}: {error}"
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch) == 1:
            return [ChatReply(Outcome.ERROR, problem[:_REASON_CHARS])]
        middle = len(batch) // 2
        return [*self._answer(batch[:middle]), *self._answer(batch[middle:])]

    @torch.inference_mode()
    def _generate(self, batch: Sequence[VlmRequest]) -> list[ChatReply]:
        started_s = time.monotonic()
        prompts = [
            # By the tokenizer: some processors' own way asks for their part for videos.
            self._processor.tokenizer.apply_chat_template(
                _conversation(request),
                chat_template=self._processor.chat_template,
                add_generation_prompt=True,
                tokenize=False,
            )
            for request in batch
        ]
        pictures = [
            [Image.fromarray(part) for part in request.parts if not isinstance(part, str)]
            for request in batch
        ]
        inputs = self._processor(
            text=prompts,
            images=pictures if any(pictures) else None,
            padding=True,
            return_tensors="pt",
        ).to(self.device, dtype=self._model.dtype)
        sampled = self.config.temperature is not None
        if sampled:
            torch.manual_seed(hash((self.config.seed, *(r.sample for r in batch))))
        output_BL = self._model.generate(
            **inputs,
            max_new_tokens=self.config.max_new_tokens,
            do_sample=sampled,
            **({"temperature": self.config.temperature} if sampled else {}),
        )
        new_BL = output_BL[:, inputs["input_ids"].shape[1] :]
        ends = set(_as_list(self._model.generation_config.eos_token_id))
        elapsed_s = (time.monotonic() - started_s) / len(batch)
        replies: list[ChatReply] = []
        for row_L, mask_L in zip(new_BL.tolist(), inputs["attention_mask"], strict=True):
            length = next((i for i, token in enumerate(row_L) if token in ends), len(row_L))
            cut_off = length == len(row_L)
            replies.append(
                ChatReply(
                    Outcome.TRUNCATED if cut_off else Outcome.SUCCESS,
                    f"no end within {self.config.max_new_tokens} tokens" if cut_off else "",
                    self._processor.tokenizer.decode(row_L[:length], skip_special_tokens=True),
                    # Without padding.
                    tokens_in=int(mask_L.sum()),
                    tokens_out=length,
                    # Its share of the batch's time.
                    latency_s=elapsed_s,
                )
            )
        return replies


def for_stills(processor_class: Any) -> Any:
    """A processor without its part for videos, which would need torchvision.

    Frames are shown as pictures, each with its time, so that part is never asked.

    Args:
        processor_class: of ``transformers``, e.g. ``SmolVLMProcessor``.
    """

    class StillsProcessor(processor_class):
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != "video_processor"]

        @classmethod
        def _get_arguments_from_pretrained(cls, *where: Any, **more: Any) -> list[Any]:
            parts = super()._get_arguments_from_pretrained(*where, **more)
            # The constructor still has a place for it, after all others.
            return [*parts, None] if "video_processor" in super().get_attributes() else parts

    # Saved models name their processor's class.
    StillsProcessor.__name__ = processor_class.__name__
    return StillsProcessor


_REASON_CHARS: Final = 500


def _conversation(request: VlmRequest) -> list[dict[str, Any]]:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in request.parts
    ]
    system = {"role": "system", "content": [{"type": "text", "text": request.system}]}
    return [*([system] if request.system else []), {"role": "user", "content": content}]


def _as_list(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
