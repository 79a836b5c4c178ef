"""Previews show the skeletons of the people in the requested clip."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from annotators.chat.model import NO_MODELS
from annotators.config import AnnotateConfig
from annotators.pictures.preview import best_clip, clip_figure, draw_skeleton, pose_strip
from annotators.stages.shards import annotate_dataset
from data.motion.skeleton import NUM_JOINTS
from data.store.dataset import Dataset
from data.workers.workers import WorkerConfig, Workers
from flows.commands.datasets import picture


def test_only_seen_joints_are_drawn() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    joints_J2 = np.full((NUM_JOINTS, 2), 50.0)
    draw_skeleton(image, joints_J2, [False] * NUM_JOINTS)
    assert not image.any()
    draw_skeleton(image, joints_J2, [True] * NUM_JOINTS)
    # All joints are at one pixel, where a circle is drawn; corners stay black.
    assert image[50, 50].tolist() == [0, 170, 255]
    assert not image[0, 0].any()


def test_pictures_of_a_dataset(
    walk_clip: Path, pose_model_path: Path, detectors_path: Path, tmp_path: Path
) -> None:
    config = AnnotateConfig(videos=(str(walk_clip),), dataset=tmp_path / "dataset")
    with Workers(WorkerConfig()) as workers:
        annotate_dataset(
            config, pose_model_path, workers, NO_MODELS, object_detectors=detectors_path
        )
    dataset = Dataset(config.dataset)
    clip = best_clip(dataset)
    assert clip is not None
    strip = pose_strip(clip)
    # Five frames of 480 x 270, at most 240 high.
    assert strip.shape == (240, 5 * 427, 3)
    figure = clip_figure(clip)
    np.testing.assert_array_equal(figure[:240], strip)
    # Dark letters on white.
    assert (figure[240:].min(), figure[240:].max()) == (20, 255)
    assert best_clip(dataset, "no such clip") is None
    picture(config.dataset, tmp_path / "clip.png", clip.annotation["clip_id"])
    assert PIL.Image.open(tmp_path / "clip.png").width == strip.shape[1]
    with pytest.raises(ValueError, match="found none"):
        picture(config.dataset, tmp_path / "none.png", "no such clip")
