"""Errors of single items, and the stages and reasons under which they are recorded.

A bad configuration raises ``ValueError`` before any work starts. A bad *item* (a file, a clip)
raises :class:`ItemError`, which the calling stage turns into one row of ``rejections``. Any other
exception on one item becomes an :class:`UnexpectedItemError`: the run continues and fails at its
end (:mod:`data.workers.unexpected`). Exceptions outside of items propagate.
"""

import traceback
from enum import StrEnum
from typing import Final

from data.plain_text import MAX_MESSAGE_CHARS, plain_text


class Stage(StrEnum):
    """The stage of the pipeline that rejected an item."""

    INGEST = "ingest"
    CLIPS = "clips"
    POSES = "poses"
    CAPTIONS = "captions"
    ANNOTATIONS = "annotations"
    IMPORT = "import"


class Reason(StrEnum):
    """Why an item was rejected. The codes are stable: users filter and count by them."""

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
    POORLY_SEEN = "poorly_seen"
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
    DOWNLOAD_FAILED = "download_failed"
    OUT_OF_MEMORY = "out_of_memory"
    ESTIMATOR_FAILED = "estimator_failed"
    ESTIMATOR_TIMEOUT = "estimator_timeout"
    UNEXPECTED = "unexpected"


RETRYABLE: Final = frozenset(
    {
        Reason.DECODE_TIMEOUT,
        Reason.OUT_OF_MEMORY,
        Reason.WORKER_CRASHED,
        Reason.ESTIMATOR_FAILED,
        Reason.ESTIMATOR_TIMEOUT,
        Reason.UNEXPECTED,
    }
)
"""Reasons that may not apply on another machine or with another version of this code;
``retry_rejected`` processes these items again."""


class ItemError(Exception):
    """One item cannot be processed; the run continues without it.

    Args:
        reason: the stable code.
        detail: what was expected and what was found.
        remedy: what the user can do.
    """

    def __init__(self, reason: Reason, detail: str, remedy: str) -> None:
        # The detail quotes file names and messages of other programs.
        detail = plain_text(detail, MAX_MESSAGE_CHARS)
        super().__init__(f"{reason.value}: {detail} Remedy: {remedy}")
        self.reason = reason
        self.detail = detail
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["ItemError"], tuple[Reason, str, str]]:
        # Pickling passes `args` (here the message) to the constructor, which takes other arguments.
        return (ItemError, (self.reason, self.detail, self.remedy))


class UnexpectedItemError(ItemError):
    """An unexpected exception on one item: a defect of this code or of a library.

    Args:
        detail: type and message of the exception.
        trace: traceback, for the log.
    """

    def __init__(self, detail: str, trace: str) -> None:
        super().__init__(
            Reason.UNEXPECTED,
            detail,
            "Report it with the traceback from the log; leave the item out until it is fixed.",
        )
        self.trace = trace

    @classmethod
    def of(cls, error: Exception) -> "UnexpectedItemError":
        """Wrap an exception that an item raised."""
        trace = "".join(traceback.format_exception(error))
        return cls(f"{type(error).__name__}: {error}", plain_text(trace))

    def __reduce__(self) -> tuple[type["UnexpectedItemError"], tuple[str, str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (UnexpectedItemError, (self.detail, self.trace))
