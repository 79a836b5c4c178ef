"""Tokenize the motions of a dataset into its ``motion_tokens`` table.

The table has one row per motion and tokenizer. A row stores the id of its tokenizer, a hash of the
weights and statistics, so that tokens of another tokenizer are detected and not used. An
interrupted run continues with the motions that have no tokens yet.

Shapes: T is the number of frames, L the number of tokens, Q the codes per token.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from data.config import Config, ExpandedPath
from data.motion.features import NUM_FEATURES
from data.presets import HOME, Presets
from data.schemas import motion_tokens_row
from data.store.dataset import Dataset, open_part
from data.store.writer import open_published, rows_table
from training.tokenizer.motion_tokenizer import load_tokenizer


class TokenizeConfig(Config):
    """Selects the dataset to tokenize and the tokenizer."""

    dataset: ExpandedPath = Field(
        description="Folder of the dataset. It must have a motions table."
    )
    tokenizer: ExpandedPath = Field(
        description="Folder of a training run or checkpoint of a motion VQ-VAE."
    )
    device: str = Field(
        default="cpu", description="Torch device: cpu, cuda, or a specific GPU such as cuda:1."
    )
    batch_frames: int = Field(
        default=16_384, ge=64, description="Maximum number of frames, with padding, in a batch."
    )
    publish_every: int = Field(
        default=4096, ge=1, description="Number of motions after which the new rows are published."
    )


PRESETS: Final[Presets] = {
    "local": {"dataset": f"{HOME}/motions", "tokenizer": f"{HOME}/runs/vqvae-small"},
}
"""Presets of this configuration; a run overrides single fields of one (:mod:`data.presets`)."""


@dataclass(frozen=True, slots=True)
class TokenizeResult:
    """Counts of a finished tokenization.

    Attributes:
        tokenizer_id: id of the tokenizer.
        written: number of new rows.
        known: number of motions that already had tokens of this tokenizer.
        too_short: number of motions with fewer frames than one token covers. Their rows have no
            tokens.
    """

    tokenizer_id: str
    written: int
    known: int
    too_short: int


def tokenize_motions(
    config: TokenizeConfig, report: Callable[[int, int], None] | None = None
) -> TokenizeResult:
    """Write the tokens of every motion that has no tokens of this tokenizer yet.

    Args:
        config: dataset and tokenizer.
        report: called after each batch with the number of tokenized motions and the total.

    Raises:
        training.checkpoints.CheckpointError: the tokenizer is missing or damaged.
        data.store.manifest.DatasetError: ``config.dataset`` is not a dataset, or another process
            is writing to it.
    """
    tokenizer = load_tokenizer(config.tokenizer, torch.device(config.device))
    dataset = Dataset(config.dataset)
    known = _tokenized(dataset, tokenizer.tokenizer_id)
    total = dataset.manifest["tables"]["motions"]["rows"]
    written = too_short = 0
    with open_published(config.dataset) as writer:
        rows: list[dict[str, Any]] = []
        for batch in _batches(dataset, known, config.batch_frames):
            for (motion_id, features_TD), codes_LQ in zip(
                batch, tokenizer.encode([features for _, features in batch]), strict=True
            ):
                too_short += len(features_TD) < tokenizer.frames_per_token
                rows.append(
                    motion_tokens_row(
                        motion_id,
                        tokenizer.tokenizer_id,
                        codes_LQ,
                        num_codes=tokenizer.model.quantizer.num_codes,
                        frames_per_token=tokenizer.frames_per_token,
                    )
                )
            if len(rows) >= config.publish_every:
                writer.publish({"motion_tokens": rows_table("motion_tokens", rows)})
                written += len(rows)
                rows = []
            if report is not None:
                report(len(known) + written + len(rows), total)
        if rows:
            writer.publish({"motion_tokens": rows_table("motion_tokens", rows)})
            written += len(rows)
    return TokenizeResult(tokenizer.tokenizer_id, written, len(known), too_short)


def read_motion_tokens(root: Path, tokenizer_id: str) -> dict[str, NDArray[np.int64]]:
    """Return the tokens of the motions of a dataset, (L, Q) each, by ``motion_id``.

    Args:
        root: folder of the dataset.
        tokenizer_id: id of the tokenizer. Tokens of other tokenizers are not returned.

    Raises:
        ValueError: some motions have no tokens, or only stale tokens of another tokenizer.
    """
    dataset = Dataset(root)
    columns = ["motion_id", "num_quantizers", "codes"]
    tokens = {
        row["motion_id"]: np.asarray(row["codes"], np.int64).reshape(-1, row["num_quantizers"])
        for row in dataset.rows("motion_tokens", columns, {"tokenizer_id": [tokenizer_id]})
    }
    motions = {row["motion_id"] for row in dataset.rows("motions", ["motion_id"])}
    missing = motions - tokens.keys()
    if missing:
        others = sorted(set(dataset.counts("motion_tokens", "tokenizer_id")) - {tokenizer_id})
        stale = f"; there are stale tokens of {', '.join(others)}" if others else ""
        raise ValueError(
            f"{root}: expected tokens of {tokenizer_id} for {len(motions)} motions, found no "
            f"tokens for {len(missing)} motions ({min(missing)}, …){stale}. "
            f"Remedy: avatargpt tokenize-motions {root} --tokenizer RUN."
        )
    return {motion_id: codes for motion_id, codes in tokens.items() if motion_id in motions}


def _tokenized(dataset: Dataset, tokenizer_id: str) -> set[str]:
    own = {"tokenizer_id": [tokenizer_id]}
    return {row["motion_id"] for row in dataset.rows("motion_tokens", ["motion_id"], own)}


def _batches(
    dataset: Dataset, known: set[str], batch_frames: int
) -> Iterator[list[tuple[str, NDArray[np.float32]]]]:
    """Iterate over batches of motions without tokens, grouped by length within a part."""
    for part in dataset.parts("motions"):
        with open_part(part) as file:
            table = file.read(columns=["motion_id", "num_frames"])
        waiting = sorted(
            (length, index)
            for index, (motion_id, length) in enumerate(
                zip(table["motion_id"].to_pylist(), table["num_frames"].to_pylist(), strict=True)
            )
            if motion_id not in known
        )
        if not waiting:
            continue
        with open_part(part) as file:
            features = file.read(columns=["features"])["features"].combine_chunks()
        ids = table["motion_id"]
        batch: list[tuple[str, NDArray[np.float32]]] = []
        for length, index in waiting:
            if batch and length * (len(batch) + 1) > batch_frames:
                yield batch
                batch = []
            values = features[index].values.to_numpy()
            batch.append((ids[index].as_py(), values.reshape(length, NUM_FEATURES)))
        yield batch
