"""A visual language model in this process, run with ``transformers``.

It is meant for small models such as SmolVLM2 or Qwen3-VL. Prompts are padded on the left and
masked, so greedily decoded replies do not depend on the batch size.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from annotators.chat.cache import ChatReply
from annotators.chat.config import LocalVlmConfig
from data.arrays import ImageArray
from data.records import Outcome


@dataclass(frozen=True, slots=True)
class VlmRequest:
    """A request to a local model.

    Attributes:
        system: system prompt.
        parts: texts and (H, W, 3) uint8 RGB images, in order.
        sample: index among equal requests, which changes the seed of sampling.
    """

    system: str
    parts: tuple[str | ImageArray, ...]
    sample: int = 0


class LocalVlm:
    """A loaded visual language model.

    Args:
        config: model and generation settings.

    Raises:
        ValueError: the model cannot be loaded, or it does not accept images.
    """

    def __init__(self, config: LocalVlmConfig) -> None:
        # transformers takes seconds to import, and most runs use no local model.
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
                "Remedy: name a folder with such a model (SmolVLM2, Qwen3-VL, …), or a model on "
                "the Hugging Face Hub if it is reachable."
            ) from error
        if getattr(self._processor, "image_processor", None) is None:
            raise ValueError(
                "local_model.model: expected a model that accepts images, found one without an "
                f"image processor in {config.model!r}. Remedy: name an image-text-to-text model."
            )
        self._processor.tokenizer.padding_side = "left"
        self._model: Any = model.to(self.device).eval()

    def ask_many(self, requests: Sequence[VlmRequest]) -> list[ChatReply]:
        """Return the replies to requests in order.

        A batch that fails is split into halves, so that only the requests at fault fail.
        """
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
            # The tokenizer applies the template, because some processors would need their video
            # processor to apply it.
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
                    # Padding does not count.
                    tokens_in=int(mask_L.sum()),
                    tokens_out=length,
                    # Each request gets an equal share of the time of its batch.
                    latency_s=elapsed_s,
                )
            )
        return replies


def for_stills(processor_class: Any) -> Any:
    """Return a processor class without the video processor, which would need torchvision.

    Frames are passed as images with their times, so the video processor is not used.

    Args:
        processor_class: processor class of ``transformers``, e.g. ``SmolVLMProcessor``.
    """

    class StillsProcessor(processor_class):
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != "video_processor"]

        @classmethod
        def _get_arguments_from_pretrained(cls, *where: Any, **more: Any) -> list[Any]:
            parts = super()._get_arguments_from_pretrained(*where, **more)
            # The constructor still expects the video processor as its last argument.
            return [*parts, None] if "video_processor" in super().get_attributes() else parts

    # Saved models store the class name of their processor.
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
