"""A motion on its way into a dataset: found, read, with its texts.

Shapes: T frames, J = 22 joints (see :mod:`data.motion.skeleton`), D = 263 features.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from data.arrays import FloatArray
from data.errors import UnexpectedItemError
from data.motion.splits import Split
from data.records import Rejection

MotionSource = Literal["video", "bvh", "humanml3d", "joints", "features", "procedural"]


ID_LENGTH = 16


@dataclass(frozen=True, slots=True)
class MotionText:
    """A text on a motion.

    Attributes:
        text: the text.
        start_s: where in the motion it begins to hold.
        end_s: where it ends; the motion's length for the whole.
        level: ``coarse``, ``medium`` or ``fine``; captions of other datasets are ``medium``.
        source: who wrote it, e.g. ``humanml3d``, ``kit-ml``, ``rules``.
    """

    text: str
    start_s: float
    end_s: float
    level: str
    source: str


@dataclass(frozen=True, slots=True)
class ImportedMotion:
    """A motion as an importer found it.

    Attributes:
        motion_id: hash of the content that it came from; independent of its path.
        source: kind of importer.
        source_path: file, or folder of a dataset.
        source_id: name within the source, e.g. ``07_01``.
        fps: exact rate of ``joints_TJ3``, or of what ``features_TD`` were made from.
        joints_TJ3: (T, 22, 3) meters, y up; None where there are only features.
        features_TD: (T, 263), not normalized; None where they are to be made from joints.
        group: what must stay in one split: subject or video, else empty.
        split: the source's own, where it has one.
        labels: activity labels of the source.
        texts: on the motion.
        license: of the source, as far as it is known.
        mirrored_of: ``motion_id`` of the motion that this one mirrors, else empty.
        quality: 0..1, confidence of the estimate; 1 for motion capture.
        video_id: of a motion from video, else empty.
        clip_id: likewise.
        track_id: likewise.
    """

    motion_id: str
    source: MotionSource
    source_path: str
    source_id: str
    fps: Fraction
    joints_TJ3: FloatArray | None = None
    features_TD: FloatArray | None = None
    group: str = ""
    split: Split | None = None
    labels: tuple[str, ...] = ()
    texts: tuple[MotionText, ...] = ()
    license: str = ""
    mirrored_of: str = ""
    quality: float = 1.0
    video_id: str = ""
    clip_id: str = ""
    track_id: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """A motion that was found but not read; motions that the dataset has are never read.

    Attributes:
        motion_id: of the motion.
        source_id: of the motion, see :class:`ImportedMotion`.
        item: name of the motion in messages.
        read: reads the motion; raises :class:`~data.errors.ItemError` if it cannot be used.
        size_bytes: size of the file that ``read`` reads; the time limit grows with it.
    """

    motion_id: str
    source_id: str
    item: str
    read: Callable[[], ImportedMotion]
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Unforeseen:
    """A file on which an importer met an error that nobody foresaw.

    Attributes:
        item_id: of the file.
        item: its path.
        error: what it was.
    """

    item_id: str
    item: str
    error: UnexpectedItemError


Found = Iterator[Pending | Rejection | Unforeseen]


class ContentId:
    """The id of some content, of which more may follow.

    Args:
        parts: of the content; one that is large comes a little at a time.
    """

    def __init__(self, *parts: bytes | str | Iterator[bytes | memoryview]) -> None:
        self._digest = hashlib.sha256()
        self._add(parts)

    def with_parts(self, *parts: bytes | str | Iterator[bytes | memoryview]) -> str:
        """The id with further parts."""
        longer = ContentId()
        longer._digest = self._digest.copy()
        longer._add(parts)
        return longer._digest.hexdigest()[:ID_LENGTH]

    def _add(self, parts: Iterable[bytes | str | Iterator[bytes | memoryview]]) -> None:
        for part in parts:
            if isinstance(part, str):
                self._digest.update(part.encode())
            else:
                for chunk in (part,) if isinstance(part, bytes) else part:
                    self._digest.update(chunk)
            self._digest.update(b"\0")


def content_id(*parts: bytes | str | Iterator[bytes | memoryview]) -> str:
    """An id from content; a part that is large comes a little at a time."""
    return ContentId(*parts).with_parts()
