"""Assign motions to splits by groups: motions that resemble each other stay in one split.

A group is what could leak from training into a test:

- the takes of one subject of a database that names its subjects (``cmu/07``),
- the takes of one content in one style of Bandai-Namco (``bandai-namco/walk-turn-side/active``);
  left and right are one content, because the mirror image of the one is a take of the other,
- the clips of one video (``video/`` and its id),
- else a motion alone (its ``motion_id``), with its parts and its mirror image.

**The rule.** The name of a group is hashed to a place in [0, 1), which selects the split. This
needs no knowledge of other groups. With few groups, however, it may give a source no motions to
test on. Therefore :class:`Splitter` corrects new groups: if a source has enough groups for a
split (``share * groups >= 1``, i.e. 7 groups at a test share of 15 %) but the split has less than
half of its share of the motions or of the groups, new training groups move there in the order of
their places, up to twice its share of the motions. The groups with human texts are corrected among
themselves first, so that texts can be tested too.

**Stability.** Groups that a dataset has keep their split, also for motions that come later; only
new groups are placed. Adding data therefore never moves a motion, and the same imports in the same
order give the same splits. Other datasets of the same groups differ only where a correction did.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from pydantic import Field, model_validator

from data.config import Config

Split = Literal["train", "val", "test"]

_SALT: Final = "avatargpt-split-1"
_HELD_OUT: Final[tuple[Split, ...]] = ("test", "val")
_LEAST: Final = 0.5
"""Part of a split's share below which a correction begins."""
_MOST: Final = 2.0
"""Part of a split's share that no correction exceeds."""

_TAKES: Final = {
    "cmu": re.compile(r"(?:.*\D)?(\d+)_\d+"),
    "lafan1": re.compile(r".*(subject\d+).*"),
}
"""Subject in the names of the takes of a database."""
_CMU_ARRAY: Final = re.compile(r"cmu_(\d+)_\d+", re.IGNORECASE)
_CMU_CLASS: Final = re.compile(r"cmuexp_(?:train|test)_(.+)_\d+", re.IGNORECASE)
"""CMU takes by class of action, as motion prediction uses them, without their subjects."""
_BANDAI: Final = re.compile(r"dataset-\d+_([^_]+)_([^_]+)_\d+", re.IGNORECASE)
_SIDE: Final = re.compile(r"\b(left|right)\b")


class SplitConfig(Config):
    """Shares of the splits. The defaults are close to those of HumanML3D."""

    train: float = Field(default=0.80, ge=0, le=1)
    val: float = Field(default=0.05, ge=0, le=1)
    test: float = Field(default=0.15, ge=0, le=1)

    @model_validator(mode="after")
    def _check_sum(self) -> "SplitConfig":
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"splits: expected shares that sum to 1, found {total:g}. "
                "Remedy: correct train, val and test."
            )
        return self


@dataclass(frozen=True, slots=True)
class SplitGroup:
    """Motions that stay in one split.

    Attributes:
        name: name of the group, e.g. ``cmu/07``.
        source: database or kind of source that the group is one of.
        motions: number of motions, without mirror images.
        described: whether people have described one of the motions.
        split: split that the source or the dataset gives it; None if the rule decides.
    """

    name: str
    source: str
    motions: int
    described: bool = False
    split: Split | None = None

    def joined(self, other: "SplitGroup") -> "SplitGroup":
        """Return this group with the motions of another piece of it."""
        return replace(
            self,
            motions=self.motions + other.motions,
            described=self.described or other.described,
            split=self.split or other.split,
        )


def split_of(group: str, config: SplitConfig) -> Split:
    """Return the split of a group by its hash alone.

    Args:
        group: name of the group, e.g. ``cmu/07``, ``video/4f…`` or a ``motion_id``.
        config: shares of the splits.
    """
    place = _place(group)
    if place < config.test:
        return "test"
    return "val" if place < config.test + config.val else "train"


class Splitter:
    """Assigns the groups of a dataset to splits by the rule of this module.

    Args:
        config: shares of the splits.
    """

    def __init__(self, config: SplitConfig) -> None:
        self._config = config
        self._splits: dict[str, Split] = {}
        self._all: defaultdict[str, _Tally] = defaultdict(_Tally)
        self._described: defaultdict[str, _Tally] = defaultdict(_Tally)

    def assign(self, groups: Iterable[SplitGroup]) -> dict[str, Split]:
        """Return the split of each group, by name.

        Args:
            groups: motions that are added together. A group may be given in several pieces, and
                again in later calls: it keeps its split.
        """
        merged: dict[str, SplitGroup] = {}
        for group in groups:
            known = merged.get(group.name)
            merged[group.name] = group if known is None else known.joined(group)
        movable: defaultdict[str, list[SplitGroup]] = defaultdict(list)
        for group in merged.values():
            is_known = group.name in self._splits
            split = group.split or split_of(group.name, self._config)
            split = self._splits.setdefault(group.name, split)
            for tally in self._tallies(group):
                tally.groups[split] += not is_known
                tally.motions[split] += group.motions
            if not is_known and group.split is None and split == "train":
                movable[group.source].append(group)
        for source, candidates in movable.items():
            candidates.sort(key=lambda group: _place(group.name))
            described = [group for group in candidates if group.described]
            for split in _HELD_OUT:
                self._fill(split, self._described[source], described)
                self._fill(split, self._all[source], candidates)
        return {name: self._splits[name] for name in merged}

    def _tallies(self, group: SplitGroup) -> tuple["_Tally", ...]:
        tally = self._all[group.source]
        return (tally, self._described[group.source]) if group.described else (tally,)

    def _fill(self, split: Split, tally: "_Tally", candidates: Sequence[SplitGroup]) -> None:
        """Move new training groups to a split that has too few of the tally's motions."""
        share = self._config.test if split == "test" else self._config.val
        groups, total = tally.groups.total(), tally.motions.total()
        if share * groups < 1:
            return
        for group in candidates:
            enough = tally.motions[split] >= _LEAST * share * total
            if enough and tally.groups[split] >= _LEAST * share * groups:
                return
            fits = tally.motions[split] + group.motions <= _MOST * share * total
            if fits and self._splits[group.name] == "train":
                self._splits[group.name] = split
                for counted in self._tallies(group):
                    counted.groups.update({"train": -1, split: 1})
                    counted.motions.update({"train": -group.motions, split: group.motions})


@dataclass(slots=True)
class _Tally:
    """Groups of one source and their motions, by split."""

    groups: Counter[Split] = field(default_factory=Counter[Split])
    motions: Counter[Split] = field(default_factory=Counter[Split])


def _place(group: str) -> float:
    digest = hashlib.sha256(f"{_SALT}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


# -------------------------------------------------------------------------------- names of groups


def source_of_group(group: str, kind: str) -> str:
    """Return the database that a group is of, e.g. ``cmu``, or else the kind of its source."""
    database, mark, _ = group.partition("/")
    return database if mark else kind


def group_of_take(database: str, name: str) -> str:
    """Return the group of a take of a known database; empty if its name does not tell it.

    Args:
        database: ``cmu``, ``bandai-namco``, ``lafan1`` or another.
        name: name of the take, e.g. ``07_01`` or ``dataset-1_kick_normal_001``.
    """
    if database == "bandai-namco":
        return _bandai_group(name)
    found = _TAKES[database].fullmatch(name) if database in _TAKES else None
    return f"{database}/{found.group(1)}" if found else ""


def group_of_array(name: str, content: str = "", style: str = "", cmu_id: str = "") -> str:
    """Return the group of a motion of a NumPy file, equal to that of the same take as BVH.

    Args:
        name: name of the motion, e.g. ``cmu_07_04``.
        content: what is done, if the file says so.
        style: how it is done, if the file says so.
        cmu_id: number of the take in the CMU database, e.g. ``07_04``, if the file says so.

    Returns:
        The group; empty if nothing tells it.
    """
    if subject := group_of_take("cmu", cmu_id):
        return subject
    if found := _CMU_ARRAY.fullmatch(name):
        return f"cmu/{found.group(1)}"
    if found := _CMU_CLASS.fullmatch(name):
        return f"cmu/{found.group(1).casefold()}"
    if group := _bandai_group(name):
        return group
    return f"styles/{_one_side(content)}/{style.casefold()}" if content and style else ""


def _bandai_group(name: str) -> str:
    found = _BANDAI.fullmatch(name)
    if found is None:
        return ""
    content, style = found.groups()
    return f"bandai-namco/{_one_side(content)}/{style.casefold()}"


def _one_side(content: str) -> str:
    return _SIDE.sub("side", content.casefold())
