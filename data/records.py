"""Frozen records that the stages exchange and from which table rows are made.

Shapes: T frames of a track at 20 fps, J = 22 joints (see :mod:`data.motion.skeleton`).
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from data.arrays import BoolArray, FloatArray
from data.errors import ItemError, Reason, Stage
from data.plain_text import plain_text

CLIP_ID_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class VideoProbe:
    """Properties of a video file, found by a packet scan without decoding.

    Attributes:
        path: the file.
        size_bytes: its size.
        container: demuxer name, e.g. ``mov,mp4,m4a,3gp,3g2,mj2``.
        codec: codec name, e.g. ``h264``.
        width_px, height_px: size as displayed, after rotation.
        rotation_deg: clockwise rotation that makes the video upright: 0, 90, 180 or 270.
        fps: exact average rate of the packets.
        start_offset_s: time of the first frame according to the container. Everywhere else in this
            project the first frame of a video is at time 0.
        duration_s: time from the first frame to the end of the last, according to the packets.
        num_packets: number of video packets.
        constant_rate: whether all frame intervals are equal within half a frame.
        issues: problems of the file, e.g. ``corrupt_packets:3``; empty for a healthy file.
    """

    path: Path
    size_bytes: int
    container: str
    codec: str
    width_px: int
    height_px: int
    rotation_deg: int
    fps: Fraction
    start_offset_s: float
    duration_s: float
    num_packets: int
    constant_rate: bool
    issues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame.

    Attributes:
        index: 0-based position among all decoded frames of the video, in display order.
        pts_s: display time in seconds; the first frame of the video is at 0.
        image: (H, W, 3) uint8 RGB, upright.
    """

    index: int
    pts_s: float
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shot:
    """A contiguous range of frames between two cuts.

    Attributes:
        start_frame, end_frame: half-open range of frame indices.
        start_s, end_s: PTS of the first frame, and time at which the last frame ends.
        brightness: mean luma, 0 (black) to 1 (white).
        camera: ``static`` or ``moving``.
        camera_speed: median global image motion, in image widths per second.
    """

    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    brightness: float
    camera: str
    camera_speed: float


@dataclass(frozen=True, slots=True)
class VideoScan:
    """Result of decoding a whole video once.

    Attributes:
        num_frames: number of decoded frames.
        duration_s: time from the first frame to the end of the last.
        shots: at least one, contiguous, covering all frames.
        issues: problems while decoding, e.g. ``decode_errors:3``.
    """

    num_frames: int
    duration_s: float
    shots: tuple[Shot, ...]
    issues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """A window of at most ``max_clip_s`` within one shot: the unit of annotation.

    Attributes:
        clip_id: hash of the video's content hash and the span; independent of path and order.
        video_id: content hash of the video.
        shot_index: index of the shot in the video.
        start_frame, end_frame: half-open range of frame indices.
        start_s, end_s: span in the time of the video (first frame = 0).
        brightness, camera, camera_speed: properties of the shot, see :class:`Shot`.
    """

    clip_id: str
    video_id: str
    shot_index: int
    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    brightness: float
    camera: str
    camera_speed: float


def clip_id_of(video_id: str, start_frame: int, end_frame: int) -> str:
    """Return the id of a clip, which depends only on the content of the video and the span."""
    span = f"{video_id}:{start_frame}:{end_frame}"
    return hashlib.sha256(span.encode()).hexdigest()[:CLIP_ID_LENGTH]


@dataclass(frozen=True, slots=True)
class ObjectSpan:
    """An object that is seen surely, and when.

    Attributes:
        name: label of COCO, e.g. ``bicycle``; ``ball`` for a sports ball or a frisbee.
        start_s, end_s: span in the time of the video.
        score: confidence of the detectors over the span, 0..1.
        near: joint of the person that the object is near, e.g. ``right_wrist``; empty for an
            object of the scene.
    """

    name: str
    start_s: float
    end_s: float
    score: float
    near: str = ""


@dataclass(frozen=True, slots=True)
class ClipScene:
    """What a clip shows beside the tracks of its people.

    Attributes:
        clip_id: the clip.
        people_count: number of people that the detector counts at a time; None if it is not known.
        objects: objects of the scene.
    """

    clip_id: str
    people_count: int | None
    objects: tuple[ObjectSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class BodyEvent:
    """A measured action of one body part, as it is stored (``MotionEvent`` in annotators/motion).

    Attributes:
        kind: action, e.g. ``raise``.
        part: part that moves, e.g. ``arm``; ``body`` for the whole body.
        side: ``left``, ``right`` or ``both``, from the person's point of view; None for parts
            without a side.
        direction: direction of the movement relative to the body; None if it is irrelevant.
        level: height of a limb at the end, e.g. ``above_head``; None for other parts.
        posture: posture that a movement of the whole body leads into or out of, e.g. ``sitting``.
        object: object that takes part, e.g. ``ball``; None without one.
        count: number of repetitions, at least 1.
        magnitude: size of the movement, in ``unit``.
        unit: ``m`` or ``deg``.
        start_s, end_s: span in the time of the video.
        confidence: confidence of the joints that it was measured from, 0..1.
        partner: ``track_id`` of the other person in an event of two people, else None.
    """

    kind: str
    part: str
    side: str | None
    direction: str | None
    level: str | None
    posture: str | None
    object: str | None
    count: int
    magnitude: float
    unit: str
    start_s: float
    end_s: float
    confidence: float
    partner: int | None = None


@dataclass(frozen=True, slots=True)
class PoseTrack:
    """One person's movement through one clip, at 20 fps.

    Attributes:
        track_id: 0-based index in order of first appearance (ties: larger person first).
        pts_s: (T,) float64 times in the video, 1/20 s apart, inside the clip's span.
        joints_3d: (T, 22, 3) meters, y up, relative to the pelvis. The axes are those of the camera
            at the first frame of the clip, from which the tilt and the motion of the camera are
            removed: x points to the viewer's right and z toward the camera.
        root_trajectory: (T, 3) meters, pelvis position estimated from the image, in the space that
            all people of the clip share. y is the height above the ground, which is estimated from
            the feet; x and z are relative to the camera. The motion is
            ``joints_3d + root_trajectory[:, None]``.
        joints_2d: (T, 22, 2) pixels of the upright source frame, x right, y down.
        confidence: (T, 22) in 0..1, confidence of the pose model that the joint is visible.
        valid: (T,) whether the frame was measured; false where a gap was interpolated.
        quality: mean confidence over the measured frames, 0..1.
        objects: objects near the person.
        boxes: (T, 4) left, top, right, bottom in pixels of the upright source frame, of a person of
            whom only a part is seen, such as legs that walk past: the joints are not placed, so
            that no frame is valid and every confidence is 0. None for everybody else.
    """

    track_id: int
    pts_s: NDArray[np.float64]
    joints_3d: FloatArray
    root_trajectory: FloatArray
    joints_2d: FloatArray
    confidence: FloatArray
    valid: BoolArray
    quality: float
    objects: tuple[ObjectSpan, ...] = ()
    boxes: FloatArray | None = None

    @property
    def num_frames(self) -> int:
        """Number of frames, T."""
        return len(self.pts_s)

    @property
    def motion_TJ3(self) -> FloatArray:
        """Positions with the root trajectory applied, (T, 22, 3), meters, y up."""
        return self.joints_3d + self.root_trajectory[:, None, :]


class RejectionKey(NamedTuple):
    """The key of a rejection in a dataset.

    Attributes:
        item_id: id of the rejected item.
        stage: stage that rejected it.
    """

    item_id: str
    stage: Stage


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected item: a row of the ``rejections`` table.

    Attributes:
        item_id: clip_id, video_id, or a hash of the path if the content cannot be read.
        item: name of the item for people (a path, or a path and a span).
        stage: stage that rejected it.
        reason: the stable code.
        detail: what was expected and what was found.
        remedy: what the user can do.
    """

    item_id: str
    item: str
    stage: Stage
    reason: Reason
    detail: str
    remedy: str

    @property
    def key(self) -> RejectionKey:
        """Key of this rejection; it has the stage, because two stages may reject one item."""
        return RejectionKey(self.item_id, self.stage)

    @classmethod
    def of(cls, item_id: str, item: str, stage: Stage, error: ItemError) -> "Rejection":
        """Create the rejection of an item that failed with ``error``."""
        return cls(item_id, plain_text(item), stage, error.reason, error.detail, error.remedy)


class Outcome(StrEnum):
    """Outcome of one call of a captioner or annotator. A failed call is data, never ``None``."""

    SUCCESS = "success"
    TRUNCATED = "truncated"
    """The reply was cut off at the token limit, even after the limit was raised."""
    REFUSED = "refused"
    """The model declined."""
    FILTERED = "filtered"
    """A content filter of the service withheld the request or the reply."""
    INVALID = "invalid"
    """The reply does not have the requested form, even after a repair."""
    RATE_LIMITED = "rate_limited"
    """The service still answered "too many requests" to the last attempt."""
    UNAVAILABLE = "unavailable"
    """The service could not be reached, timed out or failed on every attempt."""
    BUDGET = "budget"
    """The call was not made because the budget of the run does not cover it."""
    ERROR = "error"
    """The service rejected the request itself."""
    SKIPPED = "skipped"
    """The call was not made because its input is missing."""


class Verdict(StrEnum):
    """Result of checking a statement against the measured motion."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_MEASURABLE = "not_measurable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of calls to a model.

    Attributes:
        tokens_in, tokens_out: tokens of the prompts and of the replies.
        cost_usd: price of the tokens; 0 for a local model.
        latency_s: time that the calls took.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    latency_s: float = 0.0


class CostFields(TypedDict):
    """The fields of :class:`Cost`, as keyword arguments of a record that has them."""

    tokens_in: int
    tokens_out: int
    cost_usd: float
    latency_s: float


def total_cost(*costs: Cost) -> CostFields:
    """Add up costs, as keyword arguments of the record that carries the sum."""
    return {
        "tokens_in": sum(cost.tokens_in for cost in costs),
        "tokens_out": sum(cost.tokens_out for cost in costs),
        "cost_usd": sum(cost.cost_usd for cost in costs),
        "latency_s": sum(cost.latency_s for cost in costs),
    }


@dataclass(frozen=True, slots=True)
class Caption(Cost):
    """One text of one captioner: a row of the ``captions`` table.

    Attributes:
        video_id: the video.
        clip_id: the clip, or None if the caption describes the whole video.
        captioner: ``kinematic``, ``openai``, …
        model: model name; for ``kinematic`` the pose model.
        prompt_id: id and hash of the prompt or of the rule set.
        text: the caption.
        outcome, reason: how the call ended, and why if it did not succeed.
        sample: 0-based index among the samples of one prompt.
        frame_times_s: times in the video of the frames that the model saw; empty for none.
        uses_motion: whether the prompt described the measured motion.
        request_id: the service's own id of the call that gave the text.
        track_id: the person whom the caption is about, or None if it is about all that is seen.
    """

    video_id: str
    clip_id: str | None
    captioner: str
    model: str
    prompt_id: str
    text: str
    outcome: Outcome
    reason: str = ""
    sample: int = 0
    frame_times_s: tuple[float, ...] = ()
    uses_motion: bool = False
    request_id: str = ""
    track_id: int | None = None


@dataclass(frozen=True, slots=True)
class Grounding:
    """The measurement that a statement was checked against.

    Attributes:
        verdict: result of the check.
        measurement: measured quantity with value and unit, e.g. ``left_wrist rises 0.52 m``.
        start_s, end_s: span of the measurement, in the time of the video.
    """

    verdict: Verdict
    measurement: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class FineStep:
    """One executable step, without appearance or environment; times of the video."""

    text: str
    start_s: float
    end_s: float
    grounding: Grounding


@dataclass(frozen=True, slots=True)
class Annotation(Cost):
    """Texts of one person in one clip at three levels: a row of the ``annotations`` table.

    Attributes:
        clip_id, video_id: the annotated clip.
        track_id: the person whose motion ``medium`` and ``fine`` describe.
        coarse: one sentence about the scene of the whole video.
        medium: up to 3 descriptions of the activity, at most 30 words each.
        fine: steps in temporal order.
        activity: activity label of ``medium``, e.g. ``walk``.
        annotator, model, prompt_id, outcome, reason, request_id: as in :class:`Caption`.
        sample: 0-based index among the annotations of one person in one clip.
        reply: last reply of the model if it could not be used, else empty.
        medium_grounding: grounding of each text of ``medium``.
        grounding_score: share of the measurable steps and medium texts that the motion supports,
            0..1; None if none is measurable.
        events: measured actions of the person, in order of time.
        objects: objects near the person.
        others: ``track_id`` of the people whom the events or texts involve.
    """

    clip_id: str
    video_id: str
    track_id: int
    coarse: str
    medium: tuple[str, ...]
    fine: tuple[FineStep, ...]
    activity: str
    annotator: str
    model: str
    prompt_id: str
    outcome: Outcome
    reason: str = ""
    request_id: str = ""
    reply: str = ""
    sample: int = 0
    medium_grounding: tuple[Grounding, ...] = ()
    grounding_score: float | None = None
    events: tuple[BodyEvent, ...] = ()
    objects: tuple[ObjectSpan, ...] = ()
    others: tuple[int, ...] = ()
