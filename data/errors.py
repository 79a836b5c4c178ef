"""The typed ways in which an item can fail (DESIGN §5, the four fates of an error).

A bad configuration is a ``ValueError`` before any work. A bad *item* (a file, a clip) raises
:class:`ItemError`, which the calling stage turns into one row of the ``rejections`` table.
Everything else propagates.
"""

from enum import StrEnum


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


class ItemError(Exception):
    """One item cannot be carried through; the run goes on without it.

    Args:
        reason: the stable code.
        detail: what was expected and what was found, naming the item where that helps.
        remedy: what the user can do about it.
    """

    def __init__(self, reason: Reason, detail: str, remedy: str) -> None:
        super().__init__(f"{reason.value}: {detail} Remedy: {remedy}")
        self.reason = reason
        self.detail = detail
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["ItemError"], tuple[Reason, str, str]]:
        # Exceptions cross process borders by pickling their args, which here are not the message.
        return (ItemError, (self.reason, self.detail, self.remedy))
