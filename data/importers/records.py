"""What an importer yields: a motion that is not yet in our features, or a rejection.

Shapes: T frames, J = 22 joints (see :mod:`data.motion.skeleton`), D = 263 features.
"""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from data.errors import ItemError, Reason, Stage, UnexpectedItemError
from data.motion.splits import Split
from data.records import FloatArray, Rejection
from data.video.sources import path_item_id

MotionSource = Literal["video", "bvh", "humanml3d", "joints", "features", "procedural"]

ID_LENGTH = 16

MAX_FOUND: Final = 250_000
"""Files of a folder, or motions of a file: what is found in a worker comes over in one piece."""


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
        joints_TJ3: (T, 22, 3) metres, y up; None where there are only features.
        features_TD: (T, 263), not normalised; None where they are to be made from joints.
        group: what must stay in one split: subject or video, else empty.
        split: the source's own, where it has one.
        labels: activity labels of the source.
        texts: on the motion.
        licence: of the source, as far as it is known.
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
    licence: str = ""
    mirrored_of: str = ""
    quality: float = 1.0
    video_id: str = ""
    clip_id: str = ""
    track_id: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """A motion that can be read: importers yield these, so that what is known need not be.

    Attributes:
        motion_id: of the motion.
        item: what a person calls it.
        read: reads it; raises :class:`~data.errors.ItemError` when it cannot be used.
        size_bytes: of the file that it reads, for its time limit.
    """

    motion_id: str
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


@dataclass(frozen=True, slots=True)
class Search:
    """A file or folder that is yet to be looked into; that is a worker's task, see :meth:`run`.

    Attributes:
        path: of the file or folder.
        find: the importer, a function that can be pickled; errors of
            :class:`~data.errors.ItemError` are rejections of the path.
        size_bytes: of the file, for the time limit.
    """

    path: Path
    find: Callable[[Path], Iterable[Any]]
    size_bytes: int = 0

    @classmethod
    def of(cls, path: Path, find: Callable[[Path], Iterable[Any]]) -> "Search":
        """The search of a file, whose size is looked up."""
        return cls(path, find, size_of(path))

    def run(self) -> list[Any]:
        """What is found there; a rejection alone where that is too much."""
        found = list(itertools.islice(find_in(self.path, self.find), MAX_FOUND + 1))
        if len(found) <= MAX_FOUND:
            return found
        error = ItemError(
            Reason.TOO_LARGE,
            f"expected at most {MAX_FOUND} files or motions in {self.path}, found more.",
            "Split it, and name the parts (the folders in a folder) as sources of their own.",
        )
        return [rejected(path_item_id(self.path), str(self.path), error)]


FoundItem = TypeVar("FoundItem")
Found = Iterator[Pending | Rejection | Unforeseen]


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where they cannot be told: whoever opens it says what is wrong."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def find_in(
    path: Path, find: Callable[[Path], Iterable[FoundItem]]
) -> Iterator[FoundItem | Rejection | Unforeseen]:
    """What an importer finds in a file or folder; an error there costs only that one.

    Args:
        path: the file or folder.
        find: the importer; errors of :class:`~data.errors.ItemError` are rejections of the path.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        item = os.fsencode(path).decode("utf-8", "backslashreplace")
        error = ItemError(
            Reason.UNREADABLE, "expected a name in UTF-8, found other bytes.", "Rename the file."
        )
        yield rejected(path_item_id(path), item, error)
        return
    try:
        yield from find(path)
    except ItemError as error:
        yield rejected(path_item_id(path), str(path), error)
    except OSError as error:
        problem = ItemError(
            Reason.UNREADABLE,
            f"expected to read {path}, found: {error.strerror or error}.",
            "Correct the path or its permissions, and check the disk.",
        )
        yield rejected(path_item_id(path), str(path), problem)
    except MemoryError:
        # The worker's affair: it says what to do.
        raise
    except Exception as error:  # noqa: BLE001 - becomes a rejection, and is logged
        yield Unforeseen(path_item_id(path), str(path), UnexpectedItemError.of(error))


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


def rejected(item_id: str, item: str, error: ItemError) -> Rejection:
    """The rejection of something that an importer cannot use."""
    return Rejection.of(item_id, item, Stage.IMPORT, error)
