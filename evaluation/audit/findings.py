"""What an audit finds: its kinds, one finding, and the Parquet file of all findings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa

from data.plain_text import MAX_MESSAGE_CHARS, plain_text


class Severity(StrEnum):
    """How bad a finding is. Only errors make the command exit with 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Fix(StrEnum):
    """What a cleaned copy does about a finding; empty if nothing is safe."""

    NONE = ""
    DROP_MOTION = "drop_motion"
    DROP_TEXT = "drop_text"
    SWAP_SIDES = "swap_sides"
    MIRROR_TEXT = "mirror_text"
    RETIME = "retime"
    EXCHANGE_SIDES = "exchange_sides"
    TO_TRAIN = "move_to_train"
    DROP_NAME = "drop_name"


class Kind(StrEnum):
    """What is wrong; stable codes."""

    TEXT_MISSING = "text_missing"
    MOTION_MISSING = "motion_missing"
    UNREADABLE = "unreadable"
    WRONG_SHAPE = "wrong_shape"
    JOINTS_DISAGREE = "joints_disagree"
    BAD_LINE = "bad_line"
    SPAN_OUTSIDE = "span_outside"
    NAME_WITHOUT_FILES = "name_without_files"
    NOT_IN_A_SPLIT = "not_in_a_split"
    IN_TWO_SPLITS = "in_two_splits"
    NON_FINITE = "non_finite"
    STATIC = "static"
    FROZEN = "frozen"
    T_POSE = "t_pose"
    SIDES_EXCHANGED = "sides_exchanged"
    TELEPORT = "teleport"
    JITTER = "jitter"
    LIMB_DRIFT = "limb_drift"
    SKATING = "skating"
    FLOATING = "floating"
    OFF_THE_FLOOR = "off_the_floor"
    SCALE = "scale"
    UP_AXIS = "up_axis"
    FRAME_RATE = "frame_rate"
    LENGTH = "length"
    CONTRADICTED = "contradicted"
    SIDE_SWAP = "side_swap"
    MIRRORED_TEXT = "mirrored_text"
    MIRRORED_MOTION = "mirrored_motion"
    OTHER_MOTION = "other_motion"
    EMPTY_TEXT = "empty_text"
    TEXT_LENGTH = "text_length"
    NOT_ENGLISH = "not_english"
    REPEATED_TEXT = "repeated_text"
    SPLIT_LEAK = "split_leak"
    NEAR_MOTION = "near_motion"
    DUPLICATE_MOTION = "duplicate_motion"
    SAME_MOTION_OTHER_TEXT = "same_motion_other_text"
    TEXT_IN_SPLITS = "text_in_splits"


@dataclass(frozen=True, slots=True)
class KindFacts:
    """What readers are told of a kind.

    Attributes:
        title: name on the page.
        severity: severity of its findings, unless a finding has another one.
        meaning: what was found, and how.
        remedy: what the user can do.
    """

    title: str
    severity: Severity
    meaning: str
    remedy: str


_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
KINDS: Final[Mapping[Kind, KindFacts]] = {
    Kind.SIDE_SWAP: KindFacts(
        "Left and right swapped in a text",
        _ERROR,
        "The motion contradicts the text, and supports it with left and right swapped.",
        "Swap the sides in the text.",
    ),
    Kind.SIDES_EXCHANGED: KindFacts(
        "Left and right joints exchanged",
        _ERROR,
        "The toes point and the knees bend against the front that hips and shoulders define.",
        "Exchange the left and right joints of the motion.",
    ),
    Kind.MIRRORED_TEXT: KindFacts(
        "Mirrored motion with the text of its original",
        _ERROR,
        "The text of a mirrored copy names sides as the text of its original does.",
        "Swap the sides in the text of the copy.",
    ),
    Kind.MIRRORED_MOTION: KindFacts(
        "Mirrored copy that is no mirror image",
        _ERROR,
        "The motion of a mirrored copy differs from the mirror image of its original.",
        "Mirror the original again.",
    ),
    Kind.CONTRADICTED: KindFacts(
        "Texts that the motion contradicts",
        _WARNING,
        "A claim of the text would show in the measured joints, and something else shows.",
        "Look at the motion, and correct or drop the text.",
    ),
    Kind.OTHER_MOTION: KindFacts(
        "Texts of another motion",
        _WARNING,
        "The most similar motions have texts that agree with each other, and not with these.",
        "Look at the motion; it may have the text of the other one.",
    ),
    Kind.SAME_MOTION_OTHER_TEXT: KindFacts(
        "One motion with different texts",
        _ERROR,
        "The same recording is there twice, and the texts have little in common.",
        "Keep the one whose text is right.",
    ),
    Kind.STATIC: KindFacts(
        "Static motions",
        _ERROR,
        "No joint leaves its place.",
        "Drop the motion, or export it again.",
    ),
    Kind.T_POSE: KindFacts(
        "T-poses",
        _WARNING,
        "Arms stretched sideways and straight legs, held: a calibration and no motion.",
        "Cut these frames off, or drop the motion.",
    ),
    Kind.FROZEN: KindFacts(
        "Frozen frames",
        _WARNING,
        "Every joint keeps its place to a tenth of a millimeter for a while, as no body does.",
        "Cut the motion there.",
    ),
    Kind.NON_FINITE: KindFacts(
        "Values that are not numbers",
        _ERROR,
        "Some values are NaN or infinite.",
        "Compute the features again, or drop the motion.",
    ),
    Kind.TELEPORT: KindFacts(
        "Teleports",
        _WARNING,
        "A joint or the pelvis is faster than a person.",
        "Split the motion there, or track it again.",
    ),
    Kind.JITTER: KindFacts(
        "Jitter", _WARNING, "The mean jerk of the joints is high.", "Smooth the motion."
    ),
    Kind.LIMB_DRIFT: KindFacts(
        "Bones of changing length", _WARNING, "A bone changes its length.", "Check the tracking."
    ),
    Kind.SKATING: KindFacts(
        "Skating feet",
        _WARNING,
        "Toes on the floor move.",
        "Drop the motion, or place its root by the standing foot.",
    ),
    Kind.FLOATING: KindFacts(
        "Floating",
        _WARNING,
        "All joints are above the floor for longer than a jump lasts. Somebody who climbs or sits "
        "high shows the same.",
        "Look at it; correct the height of the root.",
    ),
    Kind.OFF_THE_FLOOR: KindFacts(
        "Floor at the wrong height",
        _WARNING,
        "The lowest joint of the whole motion is not at height 0.",
        "Move the motion onto the floor.",
    ),
    Kind.SCALE: KindFacts(
        "Wrong scale",
        _ERROR,
        "The bones make no person of a plausible height in meters.",
        "Convert to meters.",
    ),
    Kind.UP_AXIS: KindFacts(
        "Wrong up axis",
        _ERROR,
        "The head is above the feet along another axis than y.",
        "Turn the motion so that y is up.",
    ),
    Kind.FRAME_RATE: KindFacts(
        "Wrong frame rate",
        _WARNING,
        "The people of the dataset walk at a cadence that no one has at its frame rate.",
        "Resample to 20 frames per second.",
    ),
    Kind.LENGTH: KindFacts(
        "Length outliers", _INFO, "Shorter or longer than models are trained on.", "Crop or drop."
    ),
    Kind.SPLIT_LEAK: KindFacts(
        "Recordings in two splits",
        _ERROR,
        "A motion of one split is in another one, whole, in part or mirrored: frames agree.",
        "Move it into the training split.",
    ),
    Kind.NEAR_MOTION: KindFacts(
        "Motions near those of training",
        _INFO,
        "A test motion is near one of training on average. It measures memory.",
        "Split by subject or take.",
    ),
    Kind.DUPLICATE_MOTION: KindFacts(
        "Recordings that are there twice",
        _WARNING,
        "A motion of one split is there again, whole, in part or mirrored.",
        "Keep one of them.",
    ),
    Kind.TEXT_IN_SPLITS: KindFacts(
        "Texts in two splits", _INFO, "A held-out text is a training text.", "None is needed."
    ),
    Kind.MOTION_MISSING: KindFacts(
        "Texts without a motion",
        _ERROR,
        "There is a text file, and no motion of that name.",
        "Restore the motion, or drop the text.",
    ),
    Kind.TEXT_MISSING: KindFacts(
        "Motions without a text",
        _WARNING,
        "There is a motion, and no text of that name.",
        "Restore the text, or drop the motion.",
    ),
    Kind.UNREADABLE: KindFacts(
        "Unreadable files", _ERROR, "A file cannot be read.", "Restore the file."
    ),
    Kind.WRONG_SHAPE: KindFacts(
        "Wrong shapes", _ERROR, "An array has another shape.", "Export the motion again."
    ),
    Kind.JOINTS_DISAGREE: KindFacts(
        "Joints and feature vectors disagree",
        _ERROR,
        "The joints that the feature vectors give are not those of the file of joints.",
        "Find out which is right; compute the other one from it.",
    ),
    Kind.BAD_LINE: KindFacts(
        "Malformed lines",
        _ERROR,
        "A line is not 'caption#tagged words#start#end'.",
        "Correct the line.",
    ),
    Kind.SPAN_OUTSIDE: KindFacts(
        "Times outside of the motion",
        _ERROR,
        "A caption begins or ends after the motion.",
        "Correct the times.",
    ),
    Kind.NAME_WITHOUT_FILES: KindFacts(
        "Names without files", _WARNING, "A split lists a motion that is not there.", "Remove it."
    ),
    Kind.NOT_IN_A_SPLIT: KindFacts(
        "Motions in no split", _INFO, "No split lists the motion.", "Add it to a split."
    ),
    Kind.IN_TWO_SPLITS: KindFacts(
        "Names in two splits", _ERROR, "Two splits list one name.", "Remove it from one."
    ),
    Kind.EMPTY_TEXT: KindFacts("Empty texts", _WARNING, "A text has no words.", "Drop it."),
    Kind.TEXT_LENGTH: KindFacts(
        "Texts of unusual length", _INFO, "A text has few or many words.", "Look at it."
    ),
    Kind.NOT_ENGLISH: KindFacts(
        "Texts that are not English",
        _WARNING,
        "Most words are unknown, or characters were lost.",
        "Correct or drop the text.",
    ),
    Kind.REPEATED_TEXT: KindFacts(
        "Repeated texts", _WARNING, "One motion has the same text twice.", "Drop one."
    ),
}
"""The kinds in the order of the page."""
assert set(KINDS) == set(Kind)  # noqa: S101 - a table of this module against another


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what.
        item_id: motion: its id, or its name without suffix. ``""``: the dataset.
        measurement: what was measured, in words with units.
        split: split of the motion; empty without one.
        text_index: index of the text among those of the motion; -1 if the finding is on none.
        text: the text.
        field: file or column.
        value: measured number; None without one.
        threshold: number that it is compared with.
        start_s, end_s: span of the measurement in the motion, seconds.
        other_id: the other motion that it is about.
        confidence: 0..1; 1 for what is certain.
        fix: what a cleaned copy does.
        severity: of the kind, if None.
    """

    kind: Kind
    item_id: str
    measurement: str
    split: str = ""
    text_index: int = -1
    text: str = ""
    field: str = ""
    value: float | None = None
    threshold: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    other_id: str = ""
    confidence: float = 1.0
    fix: Fix = Fix.NONE
    severity: Severity | None = None

    def row(self) -> dict[str, Any]:
        """Return the row of the Parquet file."""
        facts = KINDS[self.kind]
        text = {
            name: plain_text(getattr(self, name), MAX_MESSAGE_CHARS)
            for name in ("measurement", "text", "field", "item_id", "other_id")
        }
        severity = self.severity or facts.severity
        return {**asdict(self), **text, "severity": severity, "remedy": facts.remedy}


FINDINGS: Final = pa.schema(
    [
        ("kind", pa.string()),
        ("severity", pa.string()),
        ("item_id", pa.string()),
        ("split", pa.string()),
        ("text_index", pa.int32()),
        ("text", pa.string()),
        ("field", pa.string()),
        ("measurement", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("other_id", pa.string()),
        ("remedy", pa.string()),
        ("fix", pa.string()),
        ("confidence", pa.float64()),
    ]
)
"""Columns of ``findings.parquet``; see :class:`Finding`."""


def findings_table(findings: Iterable[Finding]) -> pa.Table:
    """Return findings as a table."""
    return pa.Table.from_pylist([finding.row() for finding in findings], FINDINGS)


def in_page_order(findings: pa.Table) -> pa.Table:
    """Sort findings by kind, in the order of the page, the most certain ones first."""
    order: Sequence[Kind] = list(KINDS)
    places = {kind.value: number for number, kind in enumerate(order)}
    place = pa.array([places[kind] for kind in findings["kind"].to_pylist()], pa.int32())
    keyed = findings.append_column("place", place)
    keys = [("place", "ascending"), ("confidence", "descending"), ("item_id", "ascending")]
    return keyed.sort_by([*keys, ("text_index", "ascending")]).drop_columns(["place"])
