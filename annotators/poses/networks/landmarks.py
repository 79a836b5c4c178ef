"""The two BlazePose networks, run with LiteRT: a person detector and a landmark network.

The detector proposes people as a face box and four alignment points. The landmark network places 33
landmarks in a square, upright crop of one person. This module implements all geometry around the
networks (anchors, decoding, non-maximum suppression, crops and back-projection), because
:mod:`annotators.poses.tracking` tracks several people with its own rules. Source: Bazarevsky et
al., "BlazePose", arXiv 2006.10204, and the model cards.

Shapes: H and W are the size of the image, P = 2254 anchors, D detections, N = 33 landmarks (39 with
6 auxiliary ones). Image coordinates are in pixels, x right, y down. Images are (H, W, 3) uint8 RGB.
"""

import math
import os
import sys
import zipfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from annotators.poses.networks.tflite_graph import without_outputs
from data.arrays import FloatArray, ImageArray

NUM_LANDMARKS: Final = 33
DETECTOR_MEMBER: Final = "pose_detector.tflite"
LANDMARKS_MEMBER: Final = "pose_landmarks_detector.tflite"
"""File names of the two networks in a MediaPipe ``.task`` archive."""

_NUM_WITH_AUXILIARY: Final = 39
_ROI_CENTER, _ROI_SCALE = 33, 34
"""Auxiliary landmarks: center of the hips, and a point on the circle around the whole body."""

_ROI_MARGIN: Final = 1.25
_NMS_OVERLAP: Final = 0.3
_MIN_HEAT: Final = 0.5
_HEAT_REACH: Final = 3

LEFT_RIGHT_PAIRS: Final = (
    *((1, 4), (2, 5), (3, 6), (7, 8), (9, 10)),
    *((left, left + 1) for left in range(11, NUM_LANDMARKS, 2)),
)
"""Landmarks of the left side and their counterparts on the right."""


def _mirrored_order() -> tuple[int, ...]:
    order = list(range(NUM_LANDMARKS))
    for left, right in LEFT_RIGHT_PAIRS:
        order[left], order[right] = right, left
    return tuple(order)


MIRRORED_LANDMARKS: Final = _mirrored_order()
"""Index of the landmark on the other side of the body."""


@dataclass(frozen=True, slots=True)
class Roi:
    """A rotated square of the image that holds one person.

    Attributes:
        x_px, y_px: center of the square.
        size_px: side of the square.
        rotation_rad: clockwise rotation of the body from upright.
    """

    x_px: float
    y_px: float
    size_px: float
    rotation_rad: float

    @classmethod
    def around(cls, center_px: FloatArray, rim_px: FloatArray) -> "Roi":
        """Return the square around a circle, given its center and its rim point above the head."""
        dx, dy = (float(v) for v in rim_px - center_px)
        # For an upright body the rim point is above the center, at angle pi/2 in a y-up frame.
        rotation_rad = math.pi / 2 - math.atan2(-dy, dx)
        rotation_rad = (rotation_rad + math.pi) % (2 * math.pi) - math.pi
        size_px = max(2.0, 2 * _ROI_MARGIN * math.hypot(dx, dy))
        return cls(float(center_px[0]), float(center_px[1]), size_px, rotation_rad)

    def varied(self, *, shift: tuple[float, float], scale: float, turn_rad: float) -> "Roi":
        """Return this square shifted by shares of its size, scaled and rotated."""
        return Roi(
            self.x_px + shift[0] * self.size_px,
            self.y_px + shift[1] * self.size_px,
            self.size_px * scale,
            self.rotation_rad + turn_rad,
        )

    def distance_px(self, other: "Roi") -> float:
        """Return the distance between the centers of two squares."""
        return math.hypot(self.x_px - other.x_px, self.y_px - other.y_px)

    def to_crop(self, crop_px: int) -> FloatArray:
        """Return the affine map from image pixels to pixels of a ``crop_px`` wide crop, (2, 3)."""
        scale = crop_px / self.size_px
        cos, sin = math.cos(self.rotation_rad) * scale, math.sin(self.rotation_rad) * scale
        # Pixel centers are at half integers in both the image and the crop.
        x, y = self.x_px - 0.5, self.y_px - 0.5
        half = crop_px / 2 - 0.5
        return np.array(
            [[cos, sin, half - cos * x - sin * y], [-sin, cos, half + sin * x - cos * y]]
        )

    def to_image(self, points_K2: FloatArray) -> FloatArray:
        """Convert points in units of the square (0..1) to image pixels, (K, 2)."""
        cos, sin = math.cos(self.rotation_rad), math.sin(self.rotation_rad)
        x_K, y_K = (points_K2[:, 0] - 0.5) * self.size_px, (points_K2[:, 1] - 0.5) * self.size_px
        return np.stack(
            [self.x_px + cos * x_K - sin * y_K, self.y_px + sin * x_K + cos * y_K], axis=1
        ).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Detection:
    """A proposal of the person detector.

    Attributes:
        score: detector score, 0..1.
        box_4: left, top, right, bottom of the face box, pixels.
        roi: square around the whole body.
    """

    score: float
    box_4: FloatArray
    roi: Roi


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Output of the landmark network for one crop.

    Attributes:
        presence: probability that the crop shows a person, 0..1.
        image_N2: (33, 2) positions in pixels of the image.
        world_N3: (33, 3) meters, origin between the hips, x right, y down, z away from the camera.
        visibility_N: (33,) probability that the landmark is visible, 0..1; 0 outside the image.
        next_roi: square around the person, to crop the next frame.
    """

    presence: float
    image_N2: FloatArray
    world_N3: FloatArray
    visibility_N: FloatArray
    next_roi: Roi


class PoseModel:
    """Detector and landmark network. Use it as a context manager or call :meth:`close`.

    Args:
        detector: bytes of the ``.tflite`` file of the detector.
        landmarker: bytes of the ``.tflite`` file of the landmark network.
        num_threads: threads per network; 1 where worker processes share the cores.
    """

    def __init__(self, detector: bytes, landmarker: bytes, *, num_threads: int = 1) -> None:
        self._detector = _Network(detector, num_threads, {"scores": _is_scores, "boxes": _is_boxes})
        self._landmarker = _Network(
            without_outputs(landmarker, _is_mask),
            num_threads,
            {
                "landmarks": _is_landmarks,
                "world": _is_world,
                "presence": _is_presence,
                "heat": _is_heatmap,
            },
        )
        self._detector_px = self._detector.input_px
        self._crop_px = self._landmarker.input_px

    @classmethod
    def load(cls, task_path: Path, *, num_threads: int = 1) -> "PoseModel":
        """Open a MediaPipe pose landmarker ``.task`` file (lite, full or heavy).

        Raises:
            ValueError: the file is not a ``.task`` archive with both networks.
        """
        try:
            with zipfile.ZipFile(task_path) as task:
                return cls(
                    task.read(DETECTOR_MEMBER), task.read(LANDMARKS_MEMBER), num_threads=num_threads
                )
        except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ValueError(
                f"pose model: expected a .task archive with BlazePose networks {DETECTOR_MEMBER} "
                f"and {LANDMARKS_MEMBER} at {task_path}, found: {error}. Remedy: name a MediaPipe "
                "pose landmarker .task file, or remove the setting to use the fetched one."
            ) from error

    def close(self) -> None:
        """Free the networks. The model cannot be used afterwards."""
        self._detector.close()
        self._landmarker.close()

    def __enter__(self) -> "PoseModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def detect(
        self,
        image_HW3: ImageArray,
        windows_px: Sequence[tuple[int, int, int, int]],
        *,
        min_score: float,
    ) -> list[Detection]:
        """Detect people in windows of an image.

        Args:
            image_HW3: (H, W, 3) RGB image.
            windows_px: ``(left, top, right, bottom)`` of each window.
            min_score: smallest detector score of a proposal.

        Returns:
            Proposals in order of descending score. Several windows may propose the same person.
        """
        found: list[Detection] = []
        for left, top, right, bottom in windows_px:
            window = image_HW3[top:bottom, left:right]
            scale = self._detector_px / max(window.shape[:2])
            width, height = round(window.shape[1] * scale), round(window.shape[0] * scale)
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            small = cv2.resize(window, (width, height), interpolation=way)
            x0, y0 = (self._detector_px - width) // 2, (self._detector_px - height) // 2
            # Padding is black, which is -1 in the input range of the network.
            square = np.full((self._detector_px, self._detector_px, 3), -1, np.float32)
            square[y0 : y0 + height, x0 : x0 + width] = small * np.float32(1 / 127.5) - 1
            outputs = self._detector.run(square)
            scores_P, points_P62 = decode_detections(
                outputs["scores"], outputs["boxes"], self._detector_px
            )
            keep_P = scores_P >= min_score
            points_D62 = points_P62[keep_P] * self._detector_px - np.array([x0, y0], np.float32)
            points_D62 = points_D62 / np.float32(scale) + np.array([left, top], np.float32)
            found += [
                Detection(score, points[:2].reshape(4), Roi.around(points[2], points[3]))
                for score, points in merge_detections(scores_P[keep_P], points_D62)
            ]
        return sorted(found, key=lambda detection: -detection.score)

    def landmarks(self, image_HW3: ImageArray, roi: Roi, *, mirrored: bool = False) -> Landmarks:
        """Predict the landmarks of the person in a square of the image.

        Args:
            image_HW3: (H, W, 3) RGB image.
            roi: square around the person.
            mirrored: whether to run the network on the mirrored crop. The output is mirrored back,
                which gives a second, independent prediction.
        """
        size = self._crop_px
        crop = cv2.warpAffine(
            image_HW3,
            roi.to_crop(size),
            (size, size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if mirrored:
            crop = crop[:, ::-1]
        outputs = self._landmarker.run(crop * np.float32(1 / 255))
        points_N5 = outputs["landmarks"].reshape(-1, 5).copy()
        points_N5[:, :3] /= size
        heat = outputs["heat"][0]
        points_N5[:, :2] = refine_with_heatmap(points_N5[:, :2], heat)
        world_N3 = outputs["world"].reshape(-1, 3).copy()
        if mirrored:
            points_N5[:, 0] = 1 - points_N5[:, 0]
            world_N3[:, 0] *= -1
            order = [*MIRRORED_LANDMARKS, *range(NUM_LANDMARKS, _NUM_WITH_AUXILIARY)]
            points_N5, world_N3 = points_N5[order], world_N3[order]
        image_N2 = roi.to_image(points_N5[:, :2])
        cos, sin = math.cos(roi.rotation_rad), math.sin(roi.rotation_rad)
        turn_33 = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]], np.float32)
        height, width = image_HW3.shape[:2]
        inside_N = ((image_N2 >= 0) & (image_N2 < [width, height])).all(axis=1)
        # The network outputs two logits per landmark: visible (not hidden), and present (in the
        # crop).
        seen_N = _sigmoid(points_N5[:, 3]) * _sigmoid(points_N5[:, 4]) * inside_N
        return Landmarks(
            presence=float(outputs["presence"].reshape(())),
            image_N2=image_N2[:NUM_LANDMARKS],
            world_N3=world_N3[:NUM_LANDMARKS] @ turn_33,
            visibility_N=seen_N[:NUM_LANDMARKS].astype(np.float32),
            next_roi=Roi.around(image_N2[_ROI_CENTER], image_N2[_ROI_SCALE]),
        )


@contextmanager
def _without_startup_log() -> Generator[None]:
    """Suppress the output of LiteRT to standard error at start, which would break progress bars.

    Failures are not lost: LiteRT raises exceptions.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class _Network:
    """One TFLite network with a single image input.

    Args:
        content: bytes of the ``.tflite`` file.
        num_threads: number of threads.
        outputs: predicate on the output shape, by our name of the output. Outputs are identified
            by shape because their names differ between model versions.
    """

    def __init__(
        self,
        content: bytes,
        num_threads: int,
        outputs: Mapping[str, Callable[[tuple[int, ...]], bool]],
    ) -> None:
        with _without_startup_log():
            self._interpreter: Any = Interpreter(model_content=content, num_threads=num_threads)
            self._interpreter.allocate_tensors()
        image: dict[str, Any] = self._interpreter.get_input_details()[0]
        self._input: int = image["index"]
        self.input_px = int(image["shape"][1])
        shapes = {
            int(detail["index"]): tuple(int(v) for v in detail["shape"])
            for detail in self._interpreter.get_output_details()
        }
        self._outputs: dict[str, int] = {}
        for name, is_wanted in outputs.items():
            fitting = [index for index, shape in shapes.items() if is_wanted(shape)]
            if len(fitting) != 1:
                raise ValueError(f"no output for {name} among shapes {list(shapes.values())}")
            self._outputs[name] = fitting[0]

    def run(self, image_HW3: FloatArray) -> dict[str, FloatArray]:
        """Run the network on one image, (H, W, 3) float32, and return the outputs by name."""
        self._interpreter.set_tensor(self._input, image_HW3[None])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(at) for name, at in self._outputs.items()}

    def close(self) -> None:
        """Free the network."""
        self._interpreter = None


def _is_scores(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] == 1


def _is_boxes(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] == 12


def _is_landmarks(shape: tuple[int, ...]) -> bool:
    return shape == (1, _NUM_WITH_AUXILIARY * 5)


def _is_world(shape: tuple[int, ...]) -> bool:
    return shape == (1, _NUM_WITH_AUXILIARY * 3)


def _is_presence(shape: tuple[int, ...]) -> bool:
    return shape == (1, 1)


def _is_mask(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] == 1


def _is_heatmap(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] == _NUM_WITH_AUXILIARY


def _sigmoid(values: FloatArray) -> FloatArray:
    return (1 / (1 + np.exp(-np.clip(values, -80, 80)))).astype(np.float32)


@cache
def anchors(input_px: int) -> FloatArray:
    """Return the centers of the detector's anchors as shares of its input, (P, 2).

    The feature maps have strides 8, 16, 32, 32 and 32, with two anchors per cell each. Maps of
    equal stride are interleaved, so cells of stride 32 have six anchors.
    """
    layers: list[FloatArray] = []
    for stride, per_cell in ((8, 2), (16, 2), (32, 6)):
        cells = math.ceil(input_px / stride)
        center = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        y, x = np.meshgrid(center, center, indexing="ij")
        cells_K2 = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
        layers.append(np.repeat(cells_K2, per_cell, axis=0))
    return np.concatenate(layers)


def decode_detections(
    scores_L: FloatArray, boxes_L: FloatArray, input_px: int
) -> tuple[FloatArray, FloatArray]:
    """Decode raw detector outputs to scores (P,) and points (P, 6, 2) as shares of the input.

    The points are the top left and bottom right corner of the box, the hip center, a point on the
    circle around the whole body, the shoulder center, and a point on the circle around the upper
    body.
    """
    centers_P12 = anchors(input_px)[:, None]
    values_P62 = boxes_L.reshape(-1, 6, 2) / np.float32(input_px)
    size_P12 = values_P62[:, 1:2]
    box_center_P12 = values_P62[:, 0:1] + centers_P12
    points_P62 = np.concatenate(
        [
            box_center_P12 - size_P12 / 2,
            box_center_P12 + size_P12 / 2,
            values_P62[:, 2:] + centers_P12,
        ],
        axis=1,
    )
    return _sigmoid(scores_L.reshape(-1)), points_P62


def merge_detections(
    scores_D: FloatArray, points_D62: FloatArray
) -> list[tuple[float, FloatArray]]:
    """Merge overlapping boxes into their score-weighted mean (weighted non-maximum suppression).

    Args:
        scores_D: (D,) scores.
        points_D62: (D, 6, 2) points, of which the first two are the corners of the box.

    Returns:
        ``(score, (6, 2) points)`` in order of descending score.
    """
    remaining = np.argsort(-scores_D)
    low_D2, high_D2 = points_D62[:, 0], points_D62[:, 1]
    area_D = np.prod(np.maximum(high_D2 - low_D2, 0), axis=1)
    merged: list[tuple[float, FloatArray]] = []
    while len(remaining) > 0:
        best = remaining[0]
        overlap_2 = np.minimum(high_D2[best], high_D2[remaining]) - np.maximum(
            low_D2[best], low_D2[remaining]
        )
        shared = np.prod(np.maximum(overlap_2, 0), axis=1)
        union = area_D[best] + area_D[remaining] - shared
        same = shared > _NMS_OVERLAP * np.maximum(union, 1e-9)
        same[0] = True
        weights = scores_D[remaining[same]]
        points = np.average(points_D62[remaining[same]], axis=0, weights=weights)
        merged.append((float(scores_D[best]), points.astype(np.float32)))
        remaining = remaining[~same]
    return merged


def refine_with_heatmap(points_K2: FloatArray, heatmap_HWK: FloatArray) -> FloatArray:
    """Move each point to the center of mass of its heat map near the point.

    Points whose heat map has a low maximum there are not moved.

    Args:
        points_K2: (K, 2) positions as shares of the crop.
        heatmap_HWK: (H, W, K) logits.

    Returns:
        (K, 2) positions as shares of the crop.
    """
    height, width, num_points = heatmap_HWK.shape
    column_K = (points_K2[:, 0] * width).astype(np.int64)
    row_K = (points_K2[:, 1] * height).astype(np.int64)
    reach = np.arange(-_HEAT_REACH, _HEAT_REACH + 1)
    rows_KR1 = (row_K[:, None] + reach)[:, :, None]
    columns_K1R = (column_K[:, None] + reach)[:, None, :]
    inside_KRR = ((rows_KR1 >= 0) & (rows_KR1 < height)) & (
        (columns_K1R >= 0) & (columns_K1R < width)
    )
    heat_KRR = _sigmoid(
        heatmap_HWK[
            np.clip(rows_KR1, 0, height - 1),
            np.clip(columns_K1R, 0, width - 1),
            np.arange(num_points)[:, None, None],
        ]
    )
    heat_KRR = np.where(inside_KRR, heat_KRR, 0)
    total_K = heat_KRR.sum(axis=(1, 2))
    safe_K = np.maximum(total_K, 1e-9)
    x_K = (heat_KRR * columns_K1R).sum(axis=(1, 2)) / safe_K / width
    y_K = (heat_KRR * rows_KR1).sum(axis=(1, 2)) / safe_K / height
    sure_K1 = ((heat_KRR.max(axis=(1, 2)) >= _MIN_HEAT) & (total_K > 0))[:, None]
    on_map_K1 = ((column_K >= 0) & (column_K < width) & (row_K >= 0) & (row_K < height))[:, None]
    refined_K2 = np.stack([x_K, y_K], axis=1)
    return np.where(sure_K1 & on_map_K1, refined_K2, points_K2).astype(np.float32)
