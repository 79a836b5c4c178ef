"""The items of an evaluation with their real motions, and the training examples nearest to them.

Shapes: T frames, D = 263 features (see :mod:`data.motion.features`), N test items, M training
examples.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from data.importers.humanml3d import KNOWN_BAD
from data.motion.splits import Split
from data.store.dataset import Dataset
from evaluation.duplicates import motion_descriptor, nearest_texts
from evaluation.evaluators.pairs import PairDataConfig, read_pairs
from evaluation.evaluators.results import PROTOCOL_FRAMES, is_humanml3d_test
from evaluation.metrics.texts import words_of
from evaluation.model_report.tables import LeftOut
from training.inference.motion_model import Features, MotionModel
from training.instructions.mixture import Mixture, evenly
from training.instructions.tasks import FRAMES_PER_CODE, Codes, Instruction, Task
from training.language_model.config import TrainMotionLmConfig
from training.language_model.train import read_mixture
from training.tokenizer.windows import MotionArray, MotionDataConfig, PreparedData, prepare_data

MOTION_TASKS: Final = (Task.T2M, Task.M2T, Task.M2M, Task.PREDICT, Task.L2M)
"""Tasks whose instructions are made from motions, and not from plans."""
_SHOWN: Final = 5
_POOL: Final = 4000
"""Maximum number of training motions among which the nearest is looked for."""


class Material:
    """What a model is evaluated on.

    Args:
        model: the model.
        training: configuration of the language model's training, which names the data.
        cache: folder of cached features; that of the tokenizer's run already has them.
        humanml3d_protocol: whether mirror images are test items too, and captions are those of
            motions of 40 to 199 frames.

    Attributes:
        data: motions of all splits.
        test: instructions of the test split.
        train: instructions of the training split.
        left_out: annotations of the test split that are not used, by reason.

    Raises:
        ValueError: a split is empty, or motions have no tokens.
    """

    def __init__(
        self,
        model: MotionModel,
        training: TrainMotionLmConfig,
        cache: Path,
        *,
        humanml3d_protocol: bool = False,
    ) -> None:
        chosen = MotionDataConfig(
            dataset=training.dataset,
            min_quality=training.min_quality,
            mirrored_test=humanml3d_protocol,
        )
        self.training = training
        self._frames = PROTOCOL_FRAMES if humanml3d_protocol else None
        self.data: PreparedData = prepare_data(chosen, cache)
        self.left_out = Counter[str]()
        self.test: Mixture = read_mixture(training, model.tokenizer, "test", self.left_out)
        self.train: Mixture = read_mixture(training, model.tokenizer, "train", Counter())
        self._places = {
            split: {motion_id: index for index, motion_id in enumerate(motions.ids)}
            for split, motions in self.data.splits.items()
        }
        self._originals: dict[str, str] = {}
        if humanml3d_protocol:
            rows = Dataset(training.dataset).rows("motions", ["motion_id", "mirrored_of"])
            self._originals = {row["motion_id"]: row["mirrored_of"] or "" for row in rows}
        self._sources = {
            motion_id: source
            for motions in self.data.splits.values()
            for motion_id, source in zip(motions.ids, motions.sources, strict=True)
        }

    @property
    def motions(self) -> MotionArray:
        """Motions of the test split."""
        return self.data.splits["test"]

    def asked(self, task: Task, limit: int) -> list[Instruction]:
        """Return instructions of a task of the test split, at even intervals."""
        return evenly(self.all_asked(task), limit)

    def all_asked(self, task: Task) -> list[Instruction]:
        """Return every instruction of a task of the test split.

        Mirror images are left out, unless the protocol has them: they would count the motions of
        the test split twice.
        """
        return [one for one in self.test.all_of(task) if self._is_asked(one)]

    def captioned(self, limit: int, seed: int) -> list[Instruction]:
        """Return text-to-motion instructions, each of another motion, with one of its captions.

        Args:
            limit: maximum number, taken at even intervals.
            seed: draws the captions.
        """
        by_motion: dict[str, list[Instruction]] = defaultdict(list)
        for one in self._all_captioned():
            by_motion[one.source_id].append(one)
        rng = np.random.default_rng(seed)
        return evenly([each[rng.integers(len(each))] for each in by_motion.values()], limit)

    def others(self, asked: Sequence[Instruction], seed: int) -> dict[int, Instruction]:
        """Return another test motion with the same caption, by the place of its instruction.

        Each motion is used once, as that of an instruction or as another one, because motions have
        an FID of 0 to themselves. Those that are not asked for are used first; where there are too
        few, half of the instructions give their motions. A mirror image is not another motion.

        Args:
            asked: text-to-motion instructions.
            seed: draws the motions.
        """
        by_caption: dict[str, list[Instruction]] = defaultdict(list)
        for one in self._all_captioned():
            by_caption[one.caption].append(one)
        asked_for = {self._recording(one) for one in asked}
        rng = np.random.default_rng(seed)
        used: set[str] = set()
        found: dict[int, Instruction] = {}
        for place in rng.permutation(len(asked)).tolist():
            own = self._recording(asked[place])
            if own in used:
                continue
            taken = used | {own}
            free = [
                one for one in by_caption[asked[place].caption] if self._recording(one) not in taken
            ]
            if not free:
                continue
            free = [one for one in free if self._recording(one) not in asked_for] or free
            found[place] = free[rng.integers(len(free))]
            used |= {own, self._recording(found[place])}
        return found

    def questions(self, task: Task, limit: int) -> list[tuple[Instruction, tuple[str, ...]]]:
        """Return prompts of the test split, each once, with all its answers that have words."""
        found = [
            (one, tuple(filter(words_of, answers)))
            for one, answers in self.test.questions_of(task)
            if self._is_asked(one)
        ]
        return evenly([(one, answers) for one, answers in found if answers], limit)

    def is_humanml3d_test(self, asked: Sequence[Instruction]) -> bool:
        """Whether instructions are about all clips of HumanML3D's test set, and about no others."""
        if self._frames is None:
            return False
        config = PairDataConfig(
            dataset=self.training.dataset,
            min_quality=self.training.min_quality,
            mirrored_test=True,
            min_frames=self._frames[0],
            max_frames=self._frames[1],
        )
        pairs = read_pairs(config, self.data, "test")
        wanted = sorted(clip.motion_id for clip in pairs.clips)
        return wanted == sorted(one.source_id for one in asked) and is_humanml3d_test(pairs, config)

    def source_of(self, one: Instruction) -> str:
        """Return the database or kind of source that the motion of an instruction is of."""
        return self._sources.get(_parts_of(one.source_id)[0], "")

    def source_of_motion(self, motion_id: str) -> str:
        """Return the database or kind of source of a motion."""
        return self._sources[motion_id]

    def real(self, one: Instruction, split: Split = "test") -> Features:
        """Return the features of the motion that an instruction is about, (T, D).

        They are cut to whole tokens.
        """
        motion_id, part = _parts_of(one.source_id)
        features_TD = self.data.splits[split].motion(self._places[split][motion_id])
        first, last = part or (0, len(features_TD) // FRAMES_PER_CODE)
        return np.asarray(features_TD[first * FRAMES_PER_CODE : last * FRAMES_PER_CODE])

    def nearest_by_text(
        self, task: Task, asked: Sequence[Instruction], seed: int
    ) -> list[Instruction]:
        """Return the training instruction with the nearest text of each instruction.

        Among equal texts, one is drawn. Without training instructions of the task, none is found.
        """
        by_text: dict[str, list[Instruction]] = defaultdict(list)
        for one in self.train.all_of(task):
            by_text[_told(one)].append(one)
        if not by_text:
            return []
        found = nearest_texts([_told(one) for one in asked], list(by_text))
        rng = np.random.default_rng(seed)
        chosen = [by_text[near.train] for near in found]
        return [each[rng.integers(len(each))] for each in chosen]

    def nearest_by_motion(self, asked: Sequence[Instruction]) -> list[Instruction]:
        """Return the m2t training instruction whose motion is nearest to each instruction's.

        Motions are compared as near-duplicates are (:mod:`evaluation.duplicates`).
        """
        pool = evenly(_one_of_each(self.train.all_of(Task.M2T)), _POOL)
        if not pool:
            return []
        train_MK = np.stack([motion_descriptor(self.real(one, "train")) for one in pool])
        found: list[Instruction] = []
        for one in asked:
            own_K = motion_descriptor(self.real(one))
            found.append(pool[int(np.square(train_MK - own_K).sum(axis=1).argmin())])
        return found

    def hashes(self, asked: Iterable[Instruction]) -> dict[str, str]:
        """Return hashes of the motions, of the test items, and of the training examples."""
        return {
            "motions": self.data.data_id,
            "test": _digest(asked),
            "train": self.train.content_id(),
        }

    def _all_captioned(self) -> list[Instruction]:
        """Return the text-to-motion instructions whose motions have the lengths of the protocol."""
        every = self.all_asked(Task.T2M)
        if self._frames is None:
            return every
        shortest, longest = self._frames
        return [one for one in every if shortest <= self._length(one) <= longest]

    def _recording(self, one: Instruction) -> str:
        """Return the motion that an instruction is about, or that it is the mirror image of."""
        motion_id, _ = _parts_of(one.source_id)
        return self._originals.get(motion_id) or motion_id

    def _length(self, one: Instruction) -> int:
        """Return the frames of the motion of a test instruction."""
        motion_id, part = _parts_of(one.source_id)
        if part is not None:
            return (part[1] - part[0]) * FRAMES_PER_CODE
        return len(self.motions.motion(self._places["test"][motion_id]))

    def _is_asked(self, one: Instruction) -> bool:
        is_of_plan = one.task not in MOTION_TASKS
        return is_of_plan or _parts_of(one.source_id)[0] in self._places["test"]

    def unused(self) -> tuple[LeftOut, ...]:
        """Return what the dataset's import, and the choice of test items, have left out."""
        dataset = Dataset(self.training.dataset)
        rejected: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in dataset.rows("rejections", ["item_id", "stage", "reason"]):
            rejected[row["stage"], row["reason"]].append(row["item_id"])
        found = [
            LeftOut(
                what=f"rejected at {stage}",
                reason=reason,
                count=len(ids),
                examples=tuple(sorted(ids)[:_SHOWN]),
            )
            for (stage, reason), ids in sorted(rejected.items())
        ]
        low = [
            row["motion_id"]
            for row in dataset.rows("motions", ["motion_id", "quality", "split"])
            if row["split"] == "test" and row["quality"] < self.training.min_quality
        ]
        if low:
            found.append(
                LeftOut(
                    what="test motions",
                    reason=f"pose confidence below {self.training.min_quality:g}",
                    count=len(low),
                    examples=tuple(low[:_SHOWN]),
                )
            )
        found += [
            LeftOut(what="test annotations", reason=reason, count=count)
            for reason, count in sorted(self.left_out.items())
        ]
        found += [
            LeftOut(what=f"test items of {task}", reason=reason.replace("_", " "), count=count)
            for (task, reason), count in sorted(self.test.dropped.items())
        ]
        return tuple(found)

    def known_bad(self) -> dict[str, str]:
        """Return the defective clips of the published datasets among the sources, with reasons."""
        return dict(KNOWN_BAD) if "humanml3d" in self._sources.values() else {}


def motion_codes(one: Instruction) -> Codes:
    """Return the answer of an instruction that answers with motion."""
    assert not isinstance(one.answer, str)  # noqa: S101 - it answers with motion
    return one.answer


def prompt_text(one: Instruction) -> str:
    """Return the texts of a prompt."""
    return " ".join(part for part in one.prompt if isinstance(part, str))


def _told(one: Instruction) -> str:
    return one.caption or prompt_text(one)


def _one_of_each(instructions: Iterable[Instruction]) -> list[Instruction]:
    return list({one.source_id: one for one in instructions}.values())


def _parts_of(source_id: str) -> tuple[str, tuple[int, int] | None]:
    """Return the motion of a source id, and the range of tokens if it is a part."""
    motion_id, mark, part = source_id.partition(":")
    if not mark:
        return motion_id, None
    first, last = part.split("-")
    return motion_id, (int(first), int(last))


def _digest(instructions: Iterable[Instruction]) -> str:
    digest = hashlib.sha256()
    for one in instructions:
        digest.update(repr((one.task.value, one.source_id, one.prompt, one.answer)).encode())
    return digest.hexdigest()[:16]
