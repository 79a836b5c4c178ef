"""Train the motion language model: ``python -m training.language_model.train config.json``.

Several processes are started with ``torchrun --nproc-per-node N -m training.language_model.train
config.json``, which is also what the Prefect flow ``train-motion-lm`` runs. The same command
resumes an interrupted training. All tasks are trained jointly: every update mixes them.

Shapes: B is the number of rows, K the number of codes, C the ``code_dim``.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from data.motion.splits import Split
from data.store.writer import write_text
from training.checkpoints import Checkpoint, read_checkpoint
from training.instructions.corruption import corrupt
from training.instructions.material import (
    read_motion_items,
    read_plan_items,
    read_video_splits,
)
from training.instructions.mixture import Mixture, build_instructions
from training.instructions.tasks import Instruction, Task, wordings_of
from training.instructions.vocabulary import TextTokenizer, train_text_tokenizer
from training.language_model.batches import (
    TASKS,
    Encoded,
    InstructionEncoder,
    cheapest_groups,
    with_noise,
)
from training.language_model.config import KIND, TrainMotionLmConfig
from training.language_model.model import (
    T5_FILE,
    TOKENIZER_FILE,
    LmOutput,
    MotionLm,
    base_tokenizer,
    build_t5,
)
from training.language_model.residual import ResidualOutput
from training.loop import (
    Learner,
    Ranks,
    TrainingError,
    TrainingResult,
    one_rank_first,
    start_ranks,
    train,
    train_from_file,
)
from training.tokenizer.motion_tokenizer import MotionTokenizer, load_tokenizer
from training.tokenizer.tokenize import read_motion_tokens

_VALIDATION_BATCH: Final = 32
_NOISE: Final = 2
"""Apart from the random numbers of instructions, and of those of span corruption."""


class LmLearner(Learner):
    """Adapts the motion language model to the training loop.

    Args:
        config: configuration of the training.
        tokenizer: motion tokenizer that the tokens of the dataset are from.

    Raises:
        ValueError: the motions have no tokens of this tokenizer, or a split has no instructions.
    """

    kind = KIND
    config_type = TrainMotionLmConfig
    # Once training motions are known by heart, the loss on others stays or rises, because the model
    # is too sure, while it still answers more of their tokens right.
    best_metric = "accuracy"
    higher_is_better = True
    stats = None

    def __init__(self, config: TrainMotionLmConfig, tokenizer: MotionTokenizer) -> None:
        self._config = config
        self.loop = config.loop
        self.config = config.model_dump(mode="json")
        self.left_out: Counter[str] = Counter()
        self._num_left_out = 0
        # The parts of the last step, because the parts of a step are requested one by one.
        self._step_parts: tuple[int, list[list[list[Encoded]]]] | None = None
        self._train = read_mixture(config, tokenizer, "train", self.left_out)
        # Mirror images would count the motions of the validation split twice.
        self._val = read_mixture(config, tokenizer, "val", Counter(), mirrored=False)
        torch.manual_seed(config.loop.seed)
        start = None if config.initial is None else read_checkpoint(config.initial, KIND)
        text = self._text_tokenizer(start)
        t5 = build_t5(config.model, text.num_pieces)
        self._t5_config = t5.config.to_dict() | {"scaled": t5.config.scale_decoder_outputs}
        quantizer = tokenizer.model.quantizer
        codebook_KC = quantizer.codebook().detach().cpu().float()
        residual_RKC = quantizer.residual_codebooks()
        if residual_RKC is not None:
            residual_RKC = residual_RKC.detach().cpu().float()
        self.module = self._lm = MotionLm(config.model, t5, codebook_KC, residual_RKC)
        if start is not None:
            self._lm.load_state_dict(start.model())
        self._encoder = InstructionEncoder(
            text, self._lm.vocabulary, config.max_prompt, config.max_answer
        )
        self.files = {TOKENIZER_FILE: text.serialized, T5_FILE: json.dumps(self._t5_config)}
        self._validation = {
            task: self._encoder.fitting(self._val.all_of(task, config.validation_items))
            for task in TASKS
        }
        if not any(self._validation.values()):
            raise ValueError(
                f"{config.dataset}: expected instructions in the val split, found none. "
                "Remedy: add motions or plans, or raise the share of the val split."
            )
        counts = {str(task): count for task, count in self._train.counts.items()}
        self.data = {
            "dataset": str(config.dataset),
            "tokenizer_id": tokenizer.tokenizer_id,
            "data_id": f"{tokenizer.tokenizer_id}-{self._train.content_id()}",
            "instructions": counts,
            "dropped": {
                f"{task}: {reason}": n for (task, reason), n in self._train.dropped.items()
            },
            "left_out": dict(self.left_out),
        }

    def _text_tokenizer(self, start: Checkpoint | None) -> TextTokenizer:
        """Load or train the text tokenizer of the run.

        It is stored in the run, because training it again may result in other pieces.
        """
        config = self._config
        file = config.run / TOKENIZER_FILE
        if file.exists():
            return TextTokenizer(file.read_text())
        if start is not None:
            text = TextTokenizer((start.folder / TOKENIZER_FILE).read_text())
        elif config.model.base:
            text = base_tokenizer(config.model.base)
        else:
            # Duplicates are removed, because the texts of a plan are used in several tasks.
            texts = dict.fromkeys(_texts(self._train))
            text = train_text_tokenizer(texts, config.model.scratch.num_pieces)
        write_text(file, text.serialized)
        return text

    def losses(
        self, model: nn.Module, step: int, part: int, ranks: Ranks
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of one part of the batch; all instructions of the step weigh the same."""
        batch = self._encoder.batch(self._parts(step, ranks)[part])
        noise = self._config.instructions.token_noise
        if noise:
            rng = np.random.default_rng((self.loop.seed, step, part, ranks.rank, _NOISE))
            batch = with_noise(batch, self._lm.vocabulary, noise, rng)
        output = model(batch.to(ranks.device))
        # The loop averages over the parts of all processes, but parts differ in size.
        parts = ranks.world * self.loop.accumulate
        total = output.losses_B.sum()
        residual: dict[str, Tensor] = {}
        if output.residual is not None:
            weight = self._config.model.residual.loss_weight
            total = total + weight * output.residual.losses_B.sum()
            residual = {"residual": _sums(output.residual).detach()}
        loss = total * (parts / self.loop.batch_size)
        rows_B = torch.stack(
            [
                output.losses_B.detach(),
                torch.ones_like(output.losses_B),
                output.correct_B,
                output.tokens_B,
            ],
            -1,
        )
        sums = torch.zeros(len(TASKS), 4, device=ranks.device)
        return loss, {"tasks": sums.index_add(0, batch.tasks_B, rows_B), **residual}

    def summarize(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the loss and token accuracy of each task, and of the residual codes.

        ``too_long`` is the number of instructions dropped for their length since the start.
        """
        metrics = task_metrics(sums["tasks"], sums.get("residual"))
        return {"too_long": float(self._num_left_out), **metrics}

    def validate(self, device: torch.device) -> dict[str, float]:
        """Return the loss and token accuracy of each task, with the main wordings of the prompts.

        ``loss`` and ``accuracy``, which selects the best checkpoint, are means over the tasks,
        which weigh as much as in training. Those of the residual codes are apart, so that they do
        not decide which checkpoint answers best.
        """
        metrics = task_losses(self._lm, self._encoder, self._validation, device)
        weights = self._config.instructions.weights
        asked = [task for task in TASKS if f"{task}_loss" in metrics]
        means = {
            name: sum(weights[task] * metrics[f"{task}_{name}"] for task in asked)
            / sum(weights[task] for task in asked)
            for name in ("loss", "accuracy")
        }
        return {**means, **metrics}

    def items_of(self, step: int) -> list[str]:
        """Return the ids of the motions and plans in the batch of a step."""
        return list(dict.fromkeys(one.instruction.source_id for one in self.rows_of(step)))

    def rows_of(self, step: int) -> list[Encoded]:
        """Return the instructions of a step, over all processes, sorted by length.

        Raises:
            TrainingError: all instructions of the step are too long.
        """
        loop = self.loop
        drawn = self._corrupted(self._train.sample(loop.seed, step, loop.batch_size), step)
        fitting = self._encoder.fitting(drawn)
        self._num_left_out += len(drawn) - len(fitting)
        if not fitting:
            raise TrainingError(
                f"step {step}: expected prompts of at most {self._config.max_prompt} ids and "
                f"answers of at most {self._config.max_answer} ids, found none. "
                "Remedy: raise max_prompt or max_answer."
            )
        # Others are repeated in place of those that are too long, to keep the size of the batch.
        return [fitting[i * len(fitting) // len(drawn)] for i in range(len(drawn))]

    def _parts(self, step: int, ranks: Ranks) -> list[list[list[Encoded]]]:
        """Return this process's share of a step: its parts, each in groups of similar lengths."""
        if self._step_parts is None or self._step_parts[0] != step:
            # The instructions are sorted by length. Taking every n-th one gives all ranks the same
            # amount of work.
            share = self.rows_of(step)[ranks.rank :: ranks.world]
            parts = self.loop.accumulate
            each = min(self._config.model.attention_groups, len(share) // parts)
            groups = cheapest_groups(share, parts * each)
            self._step_parts = step, [groups[i * each : (i + 1) * each] for i in range(parts)]
        return self._step_parts[1]

    def _corrupted(self, drawn: list[Instruction], step: int) -> list[Instruction]:
        if self._config.stage != "pretrain":
            return drawn
        return corrupt(drawn, self.loop.seed, step, self._encoder.text)


@torch.no_grad()
def task_losses(
    model: MotionLm,
    encoder: InstructionEncoder,
    rows: Mapping[Task, Sequence[Encoded]],
    device: torch.device,
) -> dict[str, float]:
    """Return the loss and token accuracy of each task and of residual codes, with teacher forcing.

    Args:
        model: language model in evaluation mode.
        encoder: encoder of the rows.
        rows: encoded instructions of each task, sorted by length.
        device: device of the model.
    """
    sums = torch.zeros(len(TASKS), 4)
    residual = torch.zeros(4)
    for task, asked in rows.items():
        for first in range(0, len(asked), _VALIDATION_BATCH):
            batch = encoder.batch([asked[first : first + _VALIDATION_BATCH]])
            output = model(batch.to(device))
            sums[TASKS.index(task)] += _sums(output).cpu()
            if output.residual is not None:
                residual += _sums(output.residual).cpu()
    return task_metrics(sums, residual)


def _sums(output: LmOutput | ResidualOutput) -> Tensor:
    """Return the sums of the losses, of the rows, of the correct tokens and of the tokens, (4,)."""
    rows = (output.tokens_B > 0).sum()
    return torch.stack([output.losses_B.sum(), rows, output.correct_B.sum(), output.tokens_B.sum()])


def task_metrics(sums: Tensor, residual: Tensor | None = None) -> dict[str, float]:
    """Compute metrics from sums of losses, rows, correct tokens and tokens.

    Args:
        sums: (number of tasks, 4) sums of each task.
        residual: (4,) sums of the residual codes; None if there are none.
    """
    named = dict(zip(map(str, TASKS), sums.tolist(), strict=True))
    if residual is not None:
        named["residual"] = residual.tolist()
    metrics: dict[str, float] = {}
    for name, (loss, rows, correct, tokens) in named.items():
        if rows:
            metrics[f"{name}_loss"] = loss / rows
            metrics[f"{name}_accuracy"] = correct / max(tokens, 1)
    return metrics


def read_mixture(
    config: TrainMotionLmConfig,
    tokenizer: MotionTokenizer,
    split: Split,
    left_out: Counter[str],
    *,
    mirrored: bool = True,
) -> Mixture:
    """Read the instructions of a split.

    Args:
        config: configuration of the training.
        tokenizer: motion tokenizer that the tokens of the dataset are from.
        split: split to read.
        left_out: counter of the annotations that are skipped, by reason.
        mirrored: whether to read mirror images of motions too.

    Raises:
        ValueError: motions have no tokens of this tokenizer, or the split has no instructions.
    """
    tokens = read_motion_tokens(config.dataset, tokenizer.tokenizer_id)
    motions = read_motion_items(
        config.dataset,
        tokens,
        split,
        config.min_quality,
        mirrored=mirrored,
        reviews=config.reviews,
    )
    plans = read_plan_items(
        (config.dataset, *config.plans),
        split,
        config.splits,
        videos=read_video_splits(config.dataset),
        min_grounding_score=config.min_grounding_score,
        left_out=left_out,
        reviews=config.reviews,
    )
    return build_instructions(motions, plans, config.instructions)


def _texts(mixture: Mixture) -> Iterator[str]:
    for task in TASKS:
        yield from wordings_of(task)
        for one in mixture.all_of(task):
            yield from (part for part in (*one.prompt, one.answer) if isinstance(part, str))


def train_motion_lm(config: TrainMotionLmConfig) -> TrainingResult:
    """Train in this process; see :func:`training.loop.train` for the errors it raises."""
    with start_ranks(config.loop) as ranks:
        tokenizer = load_tokenizer(config.tokenizer)
        # Rank 0 writes the text tokenizer of the run, and the other ranks read it.
        with one_rank_first(ranks):
            learner = LmLearner(config, tokenizer)
        return train(learner, config.loop, config.run, ranks, initial=False)


if __name__ == "__main__":
    train_from_file(TrainMotionLmConfig, train_motion_lm, sys.argv[1:])
