"""Generates answers of the motion language model, text or motion, in batches with a KV cache.

``generate`` of transformers does the decoding. This module adds batches of both kinds of answers,
limits on the length of each answer, and seeds. It can also sample several motions for a text and
rank them with the model itself, which is trained to describe motions too: the best motion is the
one that the model is most likely to describe with that text. If the caller can measure whether a
motion shows a text, that decides too; the model reads its own residual codes badly.

If the motion tokenizer has residual codebooks, ``generate`` gives the base codes of a motion. One
pass of the residual decoder per codebook then gives its residual codes, for all motions of a batch.

Shapes: B is the number of rows, S the length of the prompts, L the length of the answers, Q the
number of codes of a motion token, R = Q - 1.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.modeling_outputs import BaseModelOutput

from training.checkpoints import Checkpoint, read_checkpoint, reading
from training.instructions.tasks import (
    Codes,
    Instruction,
    Prompt,
    Task,
    codes_of,
    cut_loop,
    prompt_of,
)
from training.instructions.vocabulary import TEXT_END, TEXT_PAD, TextTokenizer
from training.language_model.batches import InstructionEncoder, pad_prompts, pad_residual
from training.language_model.config import KIND, MotionLmConfig, Sampling
from training.language_model.decoding import (
    FIRST_CODE_ID,
    START_ID,
    AnsweringT5,
    AnswerKinds,
    BothPrompts,
)
from training.language_model.model import T5_FILE, TOKENIZER_FILE, MotionLm
from training.language_model.processors import Lengths, OwnEnds

MAX_TEXT: Final = 192
"""Maximum number of pieces of a text answer, unless a request sets another one."""
MAX_MOTION: Final = 98
"""Maximum number of tokens of a motion answer, unless a request sets another one: 19.6 s, which is
twice the longest motion of HumanML3D."""


CodesJudge = Callable[[Sequence[Codes], Sequence[str]], Sequence[float]]
"""Returns how well each of several motions, given as codes, shows its caption, 0..1."""
JUDGED: Final = 3.0
"""Weight of what is measured, relative to the mean log-likelihood of a caption: chosen on the
validation split (docs/benchmarks.md)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, with the kind and the length of its answer.

    Attributes:
        prompt: prompt from :func:`training.instructions.tasks.prompt_of`.
        motion: whether the answer is a motion.
        min_length: minimum number of tokens of the answer, without its end token.
        max_length: maximum number of tokens; 0: the default of the kind. If it equals
            ``min_length``, the answer has exactly this length.
        caption: caption of the requested motion, which :attr:`Sampling.best_of` requires.
        plain: the prompt with the plain form of the caption (:attr:`Sampling.plain`), if there is
            another one.
    """

    prompt: Prompt
    motion: bool
    min_length: int = 0
    max_length: int = 0
    caption: str = ""
    plain: Prompt | None = None

    @property
    def longest(self) -> int:
        """Maximum number of tokens of the answer."""
        return self.max_length or (MAX_MOTION if self.motion else MAX_TEXT)


class MotionLanguageModel:
    """A trained language model that answers prompts.

    Args:
        model: trained model. It is set to evaluation mode and moved to ``device``.
        text: text tokenizer of the model.
        tokenizer_id: id of the motion tokenizer that the model was trained with.
        device: device to compute on.
    """

    def __init__(
        self, model: MotionLm, text: TextTokenizer, tokenizer_id: str, device: torch.device
    ) -> None:
        self.model = model.eval().to(device)
        self.text = text
        self.tokenizer_id = tokenizer_id
        self.device = device
        self._encoder = InstructionEncoder(text, model.vocabulary, 0, 0)
        self._t5 = AnsweringT5(self.model).eval()

    def answer(
        self,
        requests: Sequence[Request],
        sampling: Sampling | None = None,
        *,
        batch_size: int = 32,
        judge: CodesJudge | None = None,
    ) -> list[str | Codes]:
        """Answer requests of both kinds, in batches of similar lengths.

        The same requests, sampling and batch size result in the same answers.

        Args:
            requests: requests to answer.
            sampling: decoding parameters; None: greedy decoding.
            batch_size: number of answers that are generated at a time.
            judge: measures how well a motion shows its caption, which then decides together with
                what the model says of it (:attr:`Sampling.best_of`).

        Returns:
            A text or motion codes for each request, in order.

        Raises:
            ValueError: ``best_of`` is above 1 and a request has no caption.
        """
        sampling = sampling or Sampling()
        each = sampling.best_of
        if each == 1:
            return self._drawn(requests, sampling, batch_size)
        if not all(request.motion and request.caption for request in requests):
            raise ValueError(
                "best_of: expected 1 for answers that are not motions with a caption, because the "
                f"model cannot rank them, found {each}. Remedy: set best_of to 1."
            )
        repeated = [request for request in requests for _ in range(each)]
        drawn = self._drawn(repeated, sampling, batch_size)
        motions = [answer for answer in drawn if not isinstance(answer, str)]
        captions = [request.caption for request in repeated]
        scores = self.caption_scores(motions, captions, batch_size=batch_size)
        if judge is not None:
            scores = [
                score + JUDGED * shown
                for score, shown in zip(scores, judge(motions, captions), strict=True)
            ]
        ranks = [
            (_has_ended(request, codes), score)
            for request, codes, score in zip(repeated, motions, scores, strict=True)
        ]
        starts = range(0, len(repeated), each)
        return [motions[max(range(i, i + each), key=ranks.__getitem__)] for i in starts]

    def caption_scores(
        self, motions: Sequence[Codes], captions: Sequence[str], *, batch_size: int = 32
    ) -> list[float]:
        """Return how likely the model is to describe each motion with its caption.

        Args:
            motions: codes of each motion.
            captions: caption of each motion.
            batch_size: number of motions that are scored at a time.

        Returns:
            Mean log-likelihood of the pieces of each caption and its end, which is at most 0; minus
            infinity for a motion without codes.
        """
        scores = [-math.inf] * len(motions)
        asked = {
            index: Instruction(
                Task.M2T, prompt_of(Task.M2T, codes=codes), " ".join(caption.split()), ""
            )
            for index, (codes, caption) in enumerate(zip(motions, captions, strict=True))
            if codes
        }
        found = self.scores(list(asked.values()), batch_size=batch_size)
        for index, score in zip(asked, found, strict=True):
            scores[index] = score
        return scores

    @torch.no_grad()
    def scores(self, instructions: Sequence[Instruction], *, batch_size: int = 32) -> list[float]:
        """Return how likely the model is to answer each instruction with its answer.

        Args:
            instructions: instructions with their answers. Residual codes of an answer do not count.
            batch_size: number of instructions that are scored at a time.

        Returns:
            Mean log-likelihood of the tokens of each answer and its end, which is at most 0.
        """
        rows = [self._encoder.encode(one) for one in instructions]
        scores: dict[int, float] = {}
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].prompt))
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            batch = self._encoder.batch([[rows[index] for index in chosen]]).to(self.device)
            for index, loss in zip(chosen, self.model(batch).losses_B.tolist(), strict=True):
                scores[index] = -loss
        return [scores[index] for index in range(len(rows))]

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Encode a prompt into ids."""
        return self._encoder.prompt_ids(prompt)

    def _drawn(
        self, requests: Sequence[Request], sampling: Sampling, batch_size: int
    ) -> list[str | Codes]:
        """Return one answer to each request."""
        prompts = [self._encoder.prompt_ids(request.prompt) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: (len(prompts[i]), i))
        answers: dict[int, str | Codes] = {}
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(sampling.seed)
            for first in range(0, len(order), batch_size):
                chosen = order[first : first + batch_size]
                found = self._generate(
                    [prompts[i] for i in chosen], [requests[i] for i in chosen], sampling
                )
                answers |= dict(zip(chosen, found, strict=True))
        return [answers[index] for index in range(len(requests))]

    @torch.no_grad()
    def _generate(
        self, prompts: list[list[int]], requests: list[Request], sampling: Sampling
    ) -> list[str | Codes]:
        asked = [request.prompt for request in requests]
        both = sampling.plain > 0 and any(request.plain for request in requests)
        if both:
            asked += [request.plain or request.prompt for request in requests]
            prompts = [*prompts, *map(self.prompt_ids, asked[len(requests) :])]
        prompts_BS, mask_BS = (part.to(self.device) for part in pad_prompts(prompts))
        residual = pad_residual([self._encoder.prompt_residual(prompt) for prompt in asked])
        states_BSD = self.model.encode(prompts_BS, mask_BS, residual.to(self.device))[0]
        both_prompts = BothPrompts(states_BSD, mask_BS, sampling.plain) if both else None
        states_BSD, mask_BS = states_BSD[: len(requests)], mask_BS[: len(requests)]
        motion_B = torch.tensor([request.motion for request in requests], device=self.device)
        longest = max(request.longest for request in requests)
        t5: Any = self._t5  # the type of generate does not allow our keywords
        out_BL: Tensor = t5.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states_BSD),
            attention_mask=mask_BS,
            decoder_kinds=AnswerKinds(self.model, motion_B),
            decoder_both=both_prompts,
            generation_config=self._settings(sampling, longest, motion_B),
            logits_processor=self._processors(requests, sampling, motion_B),
        )
        answers = [
            self._answer_of(ids, request.motion, cut_loops=sampling.cut_loops)
            for ids, request in zip(out_BL[:, 1:].tolist(), requests, strict=True)
        ]
        return self._completed(answers, states_BSD, mask_BS > 0, sampling)

    def _completed(
        self,
        answers: list[str | Codes],
        states_BSD: Tensor,
        seen_BS: Tensor,
        sampling: Sampling,
    ) -> list[str | Codes]:
        """Add the residual codes to the motions among answers with base codes."""
        decoder = self.model.residual
        bases = {
            row: torch.tensor(answer, device=self.device)
            for row, answer in enumerate(answers)
            if answer and not isinstance(answer, str)
        }
        if decoder is None or not bases:
            return answers
        rows = list(bases)
        codes_BLQ = decoder.complete(
            pad_sequence(list(bases.values()), batch_first=True, padding_value=-1),
            states_BSD[rows],
            seen_BS[rows],
            sampling.residual_temperature,
        ).cpu()
        for row, codes_LQ in zip(rows, codes_BLQ, strict=True):
            answers[row] = codes_of(codes_LQ[: len(bases[row])].numpy())
        return answers

    def _processors(
        self, requests: Sequence[Request], sampling: Sampling, motion_B: Tensor
    ) -> LogitsProcessorList:
        shortest = [request.min_length for request in requests]
        longest = [request.longest for request in requests]
        found = LogitsProcessorList([Lengths(motion_B, shortest, longest, self.text.num_pieces)])
        if sampling.own_ends and sampling.beams == 1:
            found.append(OwnEnds(motion_B, greedy=not sampling.temperature))
        return found

    def _settings(self, sampling: Sampling, longest: int, motion_B: Tensor) -> GenerationConfig:
        how: dict[str, Any] = {"do_sample": False}
        if sampling.temperature:
            how = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
            }
        return GenerationConfig(
            max_new_tokens=longest + 1,
            num_beams=sampling.beams,
            pad_token_id=TEXT_PAD,
            eos_token_id=TEXT_END,
            decoder_start_token_id=torch.where(motion_B, START_ID, TEXT_PAD).tolist(),
            use_cache=True,
            **how,
        )

    def _answer_of(self, ids: list[int], motion: bool, *, cut_loops: bool) -> str | Codes:
        own = ids[: ids.index(TEXT_END)] if TEXT_END in ids else ids
        if not motion:
            answer = self.text.decode(own)
            return cut_loop(answer) if cut_loops else answer
        return tuple(i - FIRST_CODE_ID for i in own if i >= FIRST_CODE_ID)


def _has_ended(request: Request, codes: Codes) -> bool:
    """Return whether a motion ended by itself, or has exactly the requested length."""
    return len(codes) < request.longest or request.min_length == request.longest


def load_motion_lm(path: Path, device: str = "cpu") -> MotionLanguageModel:
    """Load the language model of a checkpoint, or of the best checkpoint of a run.

    Raises:
        training.checkpoints.CheckpointError: the checkpoint is missing or damaged.
    """
    with reading(path):
        return open_motion_lm(read_checkpoint(path, KIND), torch.device(device))


def open_motion_lm(checkpoint: Checkpoint, device: torch.device) -> MotionLanguageModel:
    """Build the language model of a checkpoint."""
    config = MotionLmConfig.model_validate(checkpoint.config["model"])
    values: dict[str, Any] = json.loads((checkpoint.folder / T5_FILE).read_text())
    scaled = values.pop("scaled")
    t5_config = T5Config.from_dict(values)
    t5_config.scale_decoder_outputs = scaled
    state = checkpoint.model()
    codebook_KC = state["t5.shared.codebook_KC"]
    # Only a checkpoint of a tokenizer with residual codebooks has them.
    residual_RKC = state.get("t5.shared.residual_RKC")
    model = MotionLm(config, T5ForConditionalGeneration(t5_config), codebook_KC, residual_RKC)
    model.load_state_dict(state)
    text = TextTokenizer((checkpoint.folder / TOKENIZER_FILE).read_text())
    return MotionLanguageModel(model, text, checkpoint.data["tokenizer_id"], device)
