"""The typed ways in which an item can fail (DESIGN §5, the four fates of an error).

A bad configuration is a ``ValueError`` before any work. A bad *item* (a file, a clip) raises
:class:`ItemError`, which the calling stage turns into one row of ``rejections``. Any other
exception on one item becomes an :class:`UnexpectedItemError`: the run goes on, and its end tells
(:mod:`data.workers.unexpected`). Outside of items, everything else propagates.
"""

import traceback
from enum import StrEnum
from typing import Final

from data.plain_text import MAX_MESSAGE_CHARS, plain_text


class Stage(StrEnum):
    """The stage of the pipeline at which an item left it."""

    INGEST = "ingest"
    CLIPS = "clips"
    POSES = "poses"
    CAPTIONS = "captions"
    ANNOTATIONS = "annotations"
    IMPORT = "import"


class Reason(StrEnum):
    """Why an item was not carried through; stable codes that users filter and count by."""

    NOT_FOUND = "not_found"
    NOT_A_FILE = "not_a_file"
    EMPTY_FILE = "empty_file"
    UNREADABLE = "unreadable"
    NOT_A_VIDEO = "not_a_video"
    NO_VIDEO_STREAM = "no_video_stream"
    ZERO_FRAMES = "zero_frames"
    ABSURD_HEADER = "absurd_header"
    TRUNCATED = "truncated"
    DECODE_FAILED = "decode_failed"
    DECODE_TIMEOUT = "decode_timeout"
    WORKER_CRASHED = "worker_crashed"
    DUPLICATE = "duplicate"
    TOO_SHORT = "too_short"
    NO_PERSON = "no_person"
    WRONG_FORM = "wrong_form"
    CHATTER = "chatter"
    NO_STEPS = "no_steps"
    WRONG_SKELETON = "wrong_skeleton"
    NON_FINITE = "non_finite"
    TELEPORT = "teleport"
    LIMB_DRIFT = "limb_drift"
    COLLAPSED = "collapsed"
    KNOWN_BAD = "known_bad"
    FOOT_SKATE = "foot_skate"
    LOW_QUALITY = "low_quality"
    TOO_LARGE = "too_large"
    OUT_OF_MEMORY = "out_of_memory"
    UNEXPECTED = "unexpected"


RETRYABLE: Final = frozenset(
    {
        Reason.DECODE_TIMEOUT,
        Reason.OUT_OF_MEMORY,
        Reason.WORKER_CRASHED,
        Reason.UNEXPECTED,
    }
)
"""Reasons that may go away on a better machine, or with a better version of this code;
``retry_rejected`` tries these again."""


class ItemError(Exception):
    """One item cannot be carried through; the run goes on without it.

    Args:
        reason: the stable code.
        detail: what was expected and what was found, naming the item where that helps.
        remedy: what the user can do about it.
    """

    def __init__(self, reason: Reason, detail: str, remedy: str) -> None:
        # Names and messages of others stand in it.
        detail = plain_text(detail, MAX_MESSAGE_CHARS)
        super().__init__(f"{reason.value}: {detail} Remedy: {remedy}")
        self.reason = reason
        self.detail = detail
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["ItemError"], tuple[Reason, str, str]]:
        # Exceptions cross process borders by pickling their args, which here are not the message.
        return (ItemError, (self.reason, self.detail, self.remedy))


class UnexpectedItemError(ItemError):
    """An error on one item that nobody foresaw: a defect here, or in a library.

    Args:
        detail: the exception's type and message.
        trace: its traceback, for the log.
    """

    def __init__(self, detail: str, trace: str) -> None:
        super().__init__(
            Reason.UNEXPECTED,
            detail,
            "Report it with the traceback in the run's log; leave the item out until it is mended.",
        )
        self.trace = trace

    @classmethod
    def of(cls, error: Exception) -> "UnexpectedItemError":
        """What an exception on an item becomes."""
        trace = "".join(traceback.format_exception(error))
        return cls(f"{type(error).__name__}: {error}", plain_text(trace))

    def __reduce__(self) -> tuple[type["UnexpectedItemError"], tuple[str, str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (UnexpectedItemError, (self.detail, self.trace))
