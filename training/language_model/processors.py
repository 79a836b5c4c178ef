"""What the ids of an answer may be, step by step: its length and its end.

``generate`` of transformers calls these before it applies a temperature and chooses the next ids.

Shapes: B is the number of rows, L the number of ids so far, W the number of logits.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from transformers import LogitsProcessor

from training.instructions.vocabulary import TEXT_END, TEXT_PAD
from training.language_model.decoding import START_ID

_MONOTONOUS_TOKENS: Final = 30
_MONOTONOUS_KINDS: Final = 5
_MONOTONOUS_END: Final = 0.1
"""Of the real motions whose last 30 tokens (6 s) are of at most 5 kinds, about one in ten ends with
each token (docs/benchmarks.md)."""


class Lengths(LogitsProcessor):
    """Enforces the minimum and maximum length of each answer, and excludes ids that are not used.

    Args:
        motion_B: (B,) bool, which answers are motions.
        shortest: minimum number of tokens of each answer, without its end.
        longest: maximum number.
        num_pieces: number of text pieces. The logits of a T5 may have more columns.
    """

    def __init__(
        self, motion_B: Tensor, shortest: Sequence[int], longest: Sequence[int], num_pieces: int
    ) -> None:
        self._min_B = torch.tensor(shortest)
        self._max_B = torch.tensor(longest)
        self._motion_B = motion_B
        self._num_pieces = num_pieces

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the scores of the next ids, (B, W), of B answers or of all their beams."""
        length = input_ids.shape[1] - 1
        repeats = len(scores) // len(self._motion_B)
        motion_B, min_B, max_B = (
            values.to(scores.device).repeat_interleave(repeats)
            for values in (self._motion_B, self._min_B, self._max_B)
        )
        scores[:, self._num_pieces :].masked_fill_(~motion_B[:, None], -torch.inf)
        # Start and pad never occur inside a motion.
        scores[:, [TEXT_PAD, START_ID]] = scores[:, [TEXT_PAD, START_ID]].masked_fill(
            motion_B[:, None], -torch.inf
        )
        scores[:, TEXT_END].masked_fill_(length < min_B, -torch.inf)
        over_B = length >= max_B
        scores.masked_fill_(over_B[:, None], -torch.inf)
        scores[:, TEXT_END].masked_fill_(over_B, 0.0)
        return scores


class OwnEnds(LogitsProcessor):
    """Ends each motion as often as the model would, however its other tokens are chosen.

    A motion can end at many places, so its end is hardly ever the likeliest token: greedy decoding
    never chooses it, and a low temperature or ``top_p`` exclude it. Here a motion ends as soon as
    the probability that it has ended by now, according to the model, exceeds a random number; in
    greedy decoding one half, which gives the median length. Without temperature and ``top_p``, the
    lengths have the same distribution as those of plain sampling.

    A model can get stuck in a pose or a short cycle, which it then hardly ever ends. A motion whose
    last tokens are nearly all alike therefore ends at least as often as real ones do.

    Args:
        motion_B: (B,) bool, which answers are motions. Others are not changed.
        greedy: whether every other token is the most likely one.
    """

    def __init__(self, motion_B: Tensor, *, greedy: bool) -> None:
        self._motion_B = motion_B
        limit_B = torch.full(motion_B.shape, 0.5) if greedy else torch.rand(len(motion_B))
        self._limit_B = limit_B.log().to(motion_B.device)
        self._going_on_B = torch.zeros_like(self._limit_B)
        """Logarithm of the probability that a motion has not ended yet."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the scores of the next ids, (B, W)."""
        end_B = scores.float().softmax(-1)[:, TEXT_END]
        if input_ids.shape[1] > _MONOTONOUS_TOKENS:
            recent_BL = input_ids[:, -_MONOTONOUS_TOKENS:].sort(dim=1).values
            kinds_B = 1 + (recent_BL.diff(dim=1) != 0).sum(1)
            monotonous_B = (kinds_B <= _MONOTONOUS_KINDS) & (end_B > 0)
            end_B = torch.where(monotonous_B, end_B.clamp(min=_MONOTONOUS_END), end_B)
        self._going_on_B = self._going_on_B + torch.log1p(-end_B)
        over_B = self._going_on_B <= self._limit_B
        scores[:, TEXT_END].masked_fill_(self._motion_B & ~over_B, -torch.inf)
        ended_B = self._motion_B & over_B
        scores.masked_fill_(ended_B[:, None], -torch.inf)
        scores[:, TEXT_END].masked_fill_(ended_B, 0.0)
        return scores
