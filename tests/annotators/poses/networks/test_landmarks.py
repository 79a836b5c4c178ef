"""The pose networks and the geometry around them."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from annotators.poses.networks.landmarks import (
    LANDMARKS_MEMBER,
    MIRRORED_LANDMARKS,
    PoseModel,
    Roi,
    anchors,
    decode_detections,
    merge_detections,
    refine_with_heatmap,
)
from annotators.poses.networks.tflite_graph import without_outputs


def test_a_roi_maps_its_corners_to_the_crop_and_back() -> None:
    roi = Roi(300.0, 200.0, 120.0, 0.4)
    corners_42 = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    image_42 = roi.to_image(corners_42)
    to_crop = roi.to_crop(256)
    # Pixel centers are half a pixel from the corners in both grids.
    crop_42 = (image_42 - 0.5) @ to_crop[:, :2].T + to_crop[:, 2] + 0.5
    np.testing.assert_allclose(crop_42, corners_42 * 256, atol=1e-3)
    assert np.linalg.norm(image_42[0] - image_42[1]) == pytest.approx(120, abs=1e-3)


def test_a_roi_turns_with_the_body() -> None:
    center = np.array([100, 100], np.float32)
    upright = Roi.around(center, np.array([100, 40], np.float32))
    lying = Roi.around(center, np.array([160, 100], np.float32))
    assert upright.rotation_rad == pytest.approx(0, abs=1e-6)
    assert lying.rotation_rad == pytest.approx(math.pi / 2)
    assert upright.size_px == pytest.approx(1.25 * 2 * 60)


def test_anchors_are_those_of_the_detector() -> None:
    assert anchors(224).shape == (2254, 2)
    np.testing.assert_allclose(anchors(224)[0], [4 / 224, 4 / 224])


def test_detections_are_decoded_around_their_anchors() -> None:
    scores = np.full((1, 2254, 1), -100, np.float32)
    boxes = np.zeros((1, 2254, 12), np.float32)
    scores[0, 7] = 100
    boxes[0, 7, :4] = [22.4, 0, 44.8, 22.4]
    scores_P, points_P62 = decode_detections(scores, boxes, 224)
    assert scores_P[7] == pytest.approx(1)
    assert scores_P[0] == pytest.approx(0)
    np.testing.assert_allclose(points_P62[7, 1] - points_P62[7, 0], [0.2, 0.1], atol=1e-6)
    np.testing.assert_allclose(
        points_P62[7, :2].mean(axis=0), anchors(224)[7] + [0.1, 0], atol=1e-6
    )


def test_overlapping_detections_become_their_weighted_mean() -> None:
    box = np.array([[0, 0], [10, 10], [5, 5], [5, 0], [5, 3], [5, 0]], np.float32)
    scores = np.array([0.9, 0.3, 0.8], np.float32)
    merged = merge_detections(scores, np.stack([box, box + 1, box + 50]))
    assert [round(score, 3) for score, _ in merged] == [0.9, 0.8]
    np.testing.assert_allclose(merged[0][1], box + 0.25, atol=1e-5)
    assert merge_detections(scores[:0], np.stack([box])[:0]) == []


def test_a_sure_heat_map_moves_its_point_and_a_flat_one_does_not() -> None:
    heat = np.full((64, 64, 2), -20, np.float32)
    heat[30, 34, 0] = 20
    points = np.array([[0.5, 0.5], [0.5, 0.5]], np.float32)
    refined = refine_with_heatmap(points, heat)
    np.testing.assert_allclose(refined, [[34 / 64, 30 / 64], [0.5, 0.5]], atol=1e-6)


def test_the_network_without_its_mask_says_the_same(pose_model_path: Path) -> None:
    with zipfile.ZipFile(pose_model_path) as task:
        whole = task.read(LANDMARKS_MEMBER)
    pruned = without_outputs(whole, lambda shape: len(shape) == 4 and shape[3] == 1)
    image = np.random.default_rng(0).random((1, 256, 256, 3), dtype=np.float32)
    results: list[dict[tuple[int, ...], NDArray[np.float32]]] = []
    for content in (whole, pruned):
        interpreter: Any = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        results.append({tuple(o["shape"]): interpreter.get_tensor(o["index"]) for o in outputs})
    assert len(results[0]) == 5
    assert len(results[1]) == 4
    for shape, values in results[1].items():
        np.testing.assert_array_equal(values, results[0][shape])


@pytest.mark.parametrize("content", [b"", b"TFL3", bytes(64), b"\xff" * 64])
def test_what_is_no_network_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="expected a TFLite network"):
        without_outputs(content, lambda _: False)


def test_a_wrong_model_file_says_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "pose.task"
    with pytest.raises(ValueError, match=r"expected a \.task archive"):
        PoseModel.load(path)
    path.write_text("no archive")
    with pytest.raises(ValueError, match=r"expected a \.task archive"):
        PoseModel.load(path)
    with zipfile.ZipFile(path, "w") as task:
        task.writestr("pose_detector.tflite", b"TFL3")
        task.writestr(LANDMARKS_MEMBER, b"TFL3")
    with pytest.raises(ValueError, match=r"expected a \.task archive"):
        PoseModel.load(path)


def test_mirroring_twice_is_nothing() -> None:
    assert [MIRRORED_LANDMARKS[i] for i in MIRRORED_LANDMARKS] == list(range(33))
