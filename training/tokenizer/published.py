"""Converts the weights of released motion VQ-VAEs, which were trained with other code.

Three layouts are known, which hold the same network. T2M-GPT's files have one state dict under
``net``, with or without the prefix ``vqvae.``. Lightning checkpoints such as MotionGPT's have one
under ``state_dict``, with the prefix ``vae.`` beside the tensors of other networks. AvatarGPT's
have three state dicts, ``body_vqencoder``, ``body_vqdecoder`` and ``body_quantizer``.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from training.tokenizer.vqvae import MotionVqvae, MotionVqvaeConfig

_PARTS: Final[Mapping[str, str]] = {
    "body_vqencoder": "encoder",
    "body_vqdecoder": "decoder",
    "body_quantizer": "quantizer",
}
"""State dicts of AvatarGPT's files, and the part of the network that each holds."""
_NESTS: Final = ("net", "state_dict")
"""Keys under which T2M-GPT and Lightning put the state dict."""
_PREFIXES: Final = ("vqvae.", "vae.")
"""Prefixes of the network's tensors; tensors without the prefix belong to other networks."""
_WRAPPER: Final = "module."
"""Prefix that training on several GPUs adds to every name."""


def read_published(path: Path) -> dict[str, Tensor]:
    """Read the tensors of the VQ-VAE in a released file, without unpickling anything else.

    Args:
        path: ``.pth``, ``.ckpt`` or ``.tar`` file in one of the layouts above, or a safetensors
            file with the same names.

    Returns:
        Tensors whose names start with ``encoder.``, ``decoder.`` or ``quantizer.``, if the layout
        is a known one.

    Raises:
        ValueError: the file cannot be read, or holds objects that are not tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return _tensors_of(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        raise ValueError(
            f"{path}: expected a file of tensors, found: {str(error).splitlines()[0]} "
            "Remedy: use the released file, or convert it to safetensors."
        ) from error
    if not isinstance(loaded, dict):
        raise ValueError(
            f"{path}: expected a state dict, found {type(loaded).__name__}. "
            "Remedy: use the released file, or convert it to safetensors."
        )
    return _tensors_of(loaded)


def _tensors_of(loaded: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of the network in a file of any layout, named as T2M-GPT names them."""
    if any(key in loaded for key in _PARTS):
        flat = {
            f"{_PARTS[key]}.{name.removeprefix(_WRAPPER)}": value
            for key in _PARTS
            for name, value in loaded.get(key, {}).items()
        }
    else:
        nest = next((key for key in _NESTS if key in loaded), None)
        inner = loaded if nest is None else loaded[nest]
        if not isinstance(inner, Mapping):
            return {}
        flat = {name.removeprefix(_WRAPPER): value for name, value in inner.items()}
        prefix = next((p for p in _PREFIXES if any(name.startswith(p) for name in flat)), "")
        flat = {
            name.removeprefix(prefix): value
            for name, value in flat.items()
            if name.startswith(prefix)
        }
    return {name: value for name, value in flat.items() if isinstance(value, Tensor)}


def from_published(config: MotionVqvaeConfig, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights in the layout of T2M-GPT's releases to a state dict of this model.

    In that layout encoder and decoder are nested sequences: ``encoder.model.0`` is the first
    convolution, ``encoder.model.{2 + i}.0`` the strided convolution of stage i and
    ``encoder.model.{2 + i}.1.model.{b}.conv1`` a convolution of its blocks. In the decoder,
    ``decoder.model.{2 + i}.0.model.{b}.conv1`` is a convolution of the blocks, which are followed
    by an upsampling and the convolution ``decoder.model.{2 + i}.2``. The codebook is
    ``quantizer.codebook``.

    Args:
        config: architecture of this model. Its sizes must be those of the weights.
        published: tensors by name, from :func:`read_published`.

    Returns:
        A state dict of :class:`MotionVqvae`.

    Raises:
        ValueError: tensors are missing or unknown, or have another shape.
    """
    names = _published_names(config)
    # The moving averages of the codebook are needed only to continue training, and not every
    # release contains them.
    optional = {"quantizer.code_sum": "sums_KC", "quantizer.code_count": "counts_K"}
    model = MotionVqvae(config)
    own = model.state_dict()
    missing = sorted(set(names.values()) - set(published))
    unknown = sorted(set(published) - set(names.values()) - set(optional))
    if len(missing) == len(names):
        found = sorted({".".join(name.split(".")[:2]) for name in published}) or ["no tensors"]
        raise ValueError(
            f"published weights: expected the layout of T2M-GPT (state dict under net), Lightning "
            f"(state_dict, prefix vae.) or AvatarGPT ({', '.join(_PARTS)}), found {found[:6]}. "
            "Remedy: give the file of the VQ-VAE."
        )
    if missing or unknown:
        raise ValueError(
            f"published weights: expected the {len(names)} tensors of this configuration, found "
            f"{len(missing)} missing {missing[:3]} and {len(unknown)} unknown {unknown[:3]}. "
            "Remedy: set down_stages and depth to the values that the weights were trained with."
        )
    for name, published_name in names.items():
        if own[name].shape != published[published_name].shape:
            raise ValueError(
                f"published weights: expected {tuple(own[name].shape)} for {published_name}, found "
                f"{tuple(published[published_name].shape)}. Remedy: change width, code_dim or "
                "num_codes."
            )
        own[name] = published[published_name].clone()
    # Where the averages are missing, each code counts as used once.
    own["quantizer.sums_KC"] = own["quantizer.codebook_KC"].clone()
    for published_name, name in optional.items():
        if published_name in published:
            own[f"quantizer.{name}"] = published[published_name].clone()
    own["quantizer.updates"] = torch.ones((), dtype=torch.int64)
    return own


def _published_names(config: MotionVqvaeConfig) -> dict[str, str]:
    """Return the name in the published layout of each tensor of this model."""
    pairs = {"encoder.first": "encoder.model.0", "decoder.first": "decoder.model.0"}
    for stage in range(config.down_stages):
        outer = 2 + stage
        pairs[f"encoder.downs.{stage}"] = f"encoder.model.{outer}.0"
        pairs[f"decoder.ups.{stage}"] = f"decoder.model.{outer}.2"
        for block in range(config.depth):
            for conv in ("conv1", "conv2"):
                own = f"stages.{stage}.blocks.{block}.{conv}"
                pairs[f"encoder.{own}"] = f"encoder.model.{outer}.1.model.{block}.{conv}"
                pairs[f"decoder.{own}"] = f"decoder.model.{outer}.0.model.{block}.{conv}"
    after = 2 + config.down_stages
    pairs["encoder.last"] = f"encoder.model.{after}"
    pairs["decoder.middle"] = f"decoder.model.{after}"
    pairs["decoder.last"] = f"decoder.model.{after + 2}"
    names = {
        f"{own}.{kind}": f"{published}.{kind}"
        for own, published in pairs.items()
        for kind in ("weight", "bias")
    }
    return names | {"quantizer.codebook_KC": "quantizer.codebook"}
