"""A motion on its way into a dataset: found, read, with its texts.

Shapes: T frames, J = 22 joints (see :mod:`data.motion.skeleton`), D = 263 features.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from data.arrays import BoolArray, FloatArray
from data.errors import UnexpectedItemError
from data.motion.splits import Split
from data.records import Rejection

MotionSource = Literal["video", "bvh", "humanml3d", "joints", "features", "procedural"]


HUMAN_TEXTS: Final = frozenset(("humanml3d", "kit-ml"))
"""Authors of texts that people wrote while they saw the motion, see :class:`MotionText`."""

ID_LENGTH = 16


@dataclass(frozen=True, slots=True)
class MotionText:
    """A text that describes a motion or a part of it.

    Attributes:
        text: the text.
        start_s: begin of the described part, in the time of the motion.
        end_s: end of the described part.
        level: ``coarse``, ``medium`` or ``fine``; captions of other datasets are ``medium``.
        source: author of the text, e.g. ``humanml3d``, ``kit-ml``, ``rules``.
    """

    text: str
    start_s: float
    end_s: float
    level: str
    source: str


@dataclass(frozen=True, slots=True)
class ImportedMotion:
    """A motion that an importer read.

    Attributes:
        motion_id: hash of the source's content; independent of its path.
        source: kind of the importer.
        source_path: file, or folder of a dataset.
        source_id: name within the source, e.g. ``07_01``.
        fps: exact frame rate of ``joints_TJ3`` or ``features_TD``.
        joints_TJ3: (T, 22, 3) meters, y up; None if the source has only features.
        features_TD: (T, 263), not normalized; None if they are computed from joints.
        group: what must stay in one split with others, such as a subject or a video
            (:mod:`data.motion.splits`); else empty.
        split: split of the source, if it has one.
        labels: activity labels of the source.
        style: how the activity is done, if the source says so, e.g. ``tired``.
        texts: texts of the motion.
        license: license of the source; empty if unknown.
        mirrored_of: ``motion_id`` of the original of a mirrored motion, else empty.
        quality: confidence of the pose estimate, 0..1; 1 for motion capture.
        video_id: id of the video, for motions from video, else empty.
        clip_id: id of the clip, likewise.
        track_id: id of the track, likewise.
        credible_TJ: (T, 22) joints that were seen and not guessed, at ``fps``; None if all were
            (motion capture).
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
    style: str = ""
    texts: tuple[MotionText, ...] = ()
    license: str = ""
    mirrored_of: str = ""
    quality: float = 1.0
    video_id: str = ""
    clip_id: str = ""
    track_id: int = 0
    credible_TJ: BoolArray | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A motion that was found but not read; motions that the dataset has are never read.

    Attributes:
        motion_id: id of the motion.
        source_id: name of the motion, see :class:`ImportedMotion`.
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
    """A file on which an importer raised an unexpected exception.

    Attributes:
        item_id: id of the file.
        item: path of the file.
        error: the exception.
    """

    item_id: str
    item: str
    error: UnexpectedItemError


Found = Iterator[Pending | Rejection | Unforeseen]


class ContentId:
    """A content id that can be extended by further parts.

    Args:
        parts: parts of the content; a large part is an iterator of chunks.
    """

    def __init__(self, *parts: bytes | str | Iterator[bytes | memoryview]) -> None:
        self._digest = hashlib.sha256()
        self._add(parts)

    def with_parts(self, *parts: bytes | str | Iterator[bytes | memoryview]) -> str:
        """Return the id of the content with further parts."""
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
    """Return the id of content; a large part is an iterator of chunks."""
    return ContentId(*parts).with_parts()
