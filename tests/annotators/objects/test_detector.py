"""The two detectors on real pictures, and the decoding of their feature maps."""

from pathlib import Path

import numpy as np
import pytest

from annotators.objects.detector import (
    LABELS,
    PERSON,
    ObjectDetectors,
    decode_centernet,
    decode_nanodet,
    overlap,
)
from data.arrays import ImageArray
from data.video.probe import probe_video
from data.video.reader import open_frames

MAN_4, WOMAN_4 = (534, 30, 725, 459), (1272, 546, 1493, 926)
"""Boxes of the two people of the sample clip at 2 s, drawn by eye."""


@pytest.fixture(scope="module")
def detectors(detectors_path: Path) -> ObjectDetectors:
    return ObjectDetectors.load(detectors_path)


def _picture(path: Path, time_s: float) -> ImageArray:
    with open_frames(path, probe_video(path), start_s=time_s, end_s=time_s + 0.2) as frames:
        return next(iter(frames)).image


def test_nanodet_sees_both_people(detectors: ObjectDetectors, sample_clip: Path) -> None:
    seen = detectors.nanodet(_picture(sample_clip, 2.0)).of(PERSON, 0.4)
    overlaps_NM = overlap(np.array([MAN_4, WOMAN_4], np.float32), seen.boxes_B4)
    assert overlaps_NM.shape == (2, 2)
    assert (overlaps_NM.max(axis=1) > 0.7).all()


def test_centernet_sees_the_woman_and_nobody_else(
    detectors: ObjectDetectors, sample_clip: Path
) -> None:
    seen = detectors.centernet(_picture(sample_clip, 2.0)).of(PERSON, 0.4)
    assert overlap(np.array([WOMAN_4], np.float32), seen.boxes_B4).tolist()[0] == [
        pytest.approx(0.85, abs=0.15)
    ]


def test_nobody_is_seen_where_nobody_is(detectors: ObjectDetectors, empty_scene_clip: Path) -> None:
    picture = _picture(empty_scene_clip, 1.0)
    for seen in (detectors.nanodet(picture), detectors.centernet(picture)):
        assert len(seen.of(PERSON, 0.4).scores_B) == 0


def test_distances_are_means_over_the_bins() -> None:
    scores, logits = np.zeros((80, 2, 3), np.float32), np.zeros((44, 2, 3), np.float32)
    scores[5, 1, 2] = 0.9
    for side, bin_ in enumerate((1, 0, 2, 3)):
        logits[11 * side + bin_, 1, 2] = 100
    labels, found, boxes = decode_nanodet(scores, logits, 8)
    assert (labels.tolist(), found.tolist()) == ([5], [pytest.approx(0.9)])
    # The cell's center is (20, 12).
    np.testing.assert_allclose(boxes, [[12, 12, 36, 36]])


def test_a_peak_is_an_object_and_its_slope_is_none() -> None:
    scores, distances = np.zeros((4, 4, 80), np.float32), np.zeros((4, 4, 4), np.float32)
    scores[2, 1, 7], scores[2, 2, 7], scores[0, 3, 7] = 0.9, 0.8, 0.5
    distances[2, 1] = (1, 2, 3, 4)
    labels, found, boxes = decode_centernet(scores, distances)
    assert labels.tolist() == [7, 7]
    np.testing.assert_allclose(found, [0.5, 0.9])
    np.testing.assert_allclose(boxes, [[12, 0, 12, 0], [3, 6, 7, 12]])


def test_there_are_80_labels() -> None:
    assert len(set(LABELS)) == 80
    assert LABELS[PERSON] == "person"


def test_another_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "detectors.zip"
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="avatargpt assets"):
        ObjectDetectors.load(path)
