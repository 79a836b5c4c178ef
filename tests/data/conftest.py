"""A dataset of people who need no video."""

from pathlib import Path

import numpy as np
import pytest

from data.motion.skeleton import FPS
from data.records import Annotation, Clip, FineStep, Grounding, Outcome, PoseTrack, Verdict
from data.schemas import Row, annotation_row, pose_row
from data.store.writer import open_writer, rows_table


@pytest.fixture
def people_root(tmp_path: Path) -> Path:
    """Three people: one described, one of whom only a part is seen, one whose model failed."""
    clip = Clip("c0", "v0", 0, 0, 45, 0.0, 1.5, 0.5, "", 0.0)
    draw = np.random.default_rng(0)

    def track(number: int) -> PoseTrack:
        return PoseTrack(
            track_id=number,
            pts_s=np.arange(30) / FPS,
            joints_3d=draw.normal(size=(30, 22, 3)).astype(np.float32),
            root_trajectory=draw.normal(size=(30, 3)).astype(np.float32),
            joints_2d=np.zeros((30, 22, 2), np.float32),
            confidence=np.ones((30, 22), np.float32),
            valid=np.ones(30, np.bool_),
            quality=0.5,
            boxes=np.ones((30, 4), np.float32) if number == 1 else None,
        )

    def annotation(number: int) -> Row:
        grounding = Grounding(Verdict.SUPPORTED, "pelvis travels 1 m", 0.0, 1.0)
        made = Annotation(
            clip_id="c0",
            video_id="v0",
            track_id=number,
            coarse="A scene.",
            medium=("A person walks.", "Somebody walks ahead."),
            medium_grounding=(grounding, grounding),
            fine=(FineStep("walk", 0.0, 1.0, grounding),),
            activity="walk",
            annotator="rules",
            model="",
            prompt_id="",
            outcome=Outcome.INVALID if number == 2 else Outcome.SUCCESS,
        )
        return annotation_row(made, clip)

    rows = {
        "poses": [pose_row(clip, track(number), "full") for number in range(3)],
        "annotations": [annotation(number) for number in range(3)],
    }
    with open_writer(tmp_path / "people", {"clips": 1}) as writer:
        writer.publish({name: rows_table(name, of_table) for name, of_table in rows.items()})
    return tmp_path / "people"
