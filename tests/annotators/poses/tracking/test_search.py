"""Where people are searched, which proposals are dropped, and what a person looks like."""

import math

import numpy as np
import pytest

from annotators.objects.detector import PERSON, Boxes
from annotators.objects.scene import Sighting
from annotators.poses.networks.landmarks import Landmarks, Roi
from annotators.poses.tracking.appearance import appearance_distance, appearance_of, mixed
from annotators.poses.tracking.search import (
    Proposal,
    Refusals,
    body_box,
    body_squares,
    support,
    untracked,
)
from annotators.poses.tracking.tracklets import Observation

STANDING = np.array([100, 50, 200, 350], np.float32)


def body_in(box: tuple[float, float, float, float]) -> Landmarks:
    """A visible body whose landmarks fill a box: shoulders above hips above ankles."""
    left, top, right, bottom = box
    rows = {0: 0.05, 11: 0.2, 13: 0.35, 15: 0.5, 23: 0.5, 25: 0.75, 27: 1.0}
    points = np.full((33, 2), 0.5, np.float32)
    for landmark, row in rows.items():
        points[landmark] = 0.0, row
        points[landmark + 1 if landmark else 0] = 1.0 if landmark else 0.5, row
    points[1:11] = 0.5, 0.05
    points[[17, 18, 19, 20, 21, 22]] = 0.5, 0.5
    points[[29, 30, 31, 32]] = 0.5, 1.0
    at = points * np.array([right - left, bottom - top], np.float32) + np.array(
        [left, top], np.float32
    )
    size_px = 1.38 * (bottom - top)
    return Landmarks(
        presence=1.0,
        image_N2=at.astype(np.float32),
        world_N3=np.zeros((33, 3), np.float32),
        visibility_N=np.ones(33, np.float32),
        next_roi=Roi((left + right) / 2, (top + bottom) / 2, size_px, 0.0),
    )


def sighting(nanodet: list[np.ndarray], centernet: list[np.ndarray], step: int = 0) -> Sighting:
    first, second = (
        Boxes(
            np.full(len(boxes), PERSON, np.intp),
            np.full(len(boxes), 0.6, np.float32),
            np.array(boxes, np.float32).reshape(-1, 4),
        )
        for boxes in (nanodet, centernet)
    )
    return Sighting(step, step / 20, first, second)


def test_the_square_of_a_standing_person_is_around_the_hips() -> None:
    (square,) = body_squares(STANDING, 720)
    assert (square.x_px, square.y_px) == (150, pytest.approx(203, abs=1))
    assert square.size_px == pytest.approx(414, abs=1)
    assert square.rotation_rad == 0


def test_legs_below_the_picture_and_lying_people_have_squares_of_their_own() -> None:
    portrait = np.array([100, 100, 400, 478], np.float32)
    upper, whole = body_squares(portrait, 480)
    assert upper.y_px > 440
    assert upper.size_px > 1.8 * whole.size_px
    lying = body_squares(np.array([100, 300, 500, 420], np.float32), 720)
    assert [square.rotation_rad for square in lying] == [math.pi / 2, -math.pi / 2, 0]


def test_a_head_above_the_picture_is_looked_for_last() -> None:
    upright, headless = body_squares(np.array([200, 6, 620, 406], np.float32), 540)
    assert headless.size_px == pytest.approx(1440)
    assert (headless.x_px, headless.y_px) == (410, pytest.approx(46))
    assert upright.y_px > 200
    # Legs below the picture are likelier than a body without either end.
    both_ends = body_squares(np.array([200, 6, 620, 536], np.float32), 540)
    assert [round(square.y_px) for square in both_ends] == [499, 276]


def test_a_tracked_person_is_not_proposed_again() -> None:
    other = STANDING + np.array([300, 0, 300, 0], np.float32)
    seen = sighting([STANDING, other], [other])
    assert len(untracked(seen, [], 720)) == 2
    (left,) = untracked(seen, [body_in((105, 60, 195, 345))], 720)
    np.testing.assert_array_equal(left.box_4, other)
    assert left.is_sure
    (tracked_other,) = untracked(seen, [body_in((405, 60, 495, 345))], 720)
    assert not tracked_other.is_sure


def test_a_second_person_behind_a_tracked_one_is_proposed() -> None:
    behind = STANDING + np.array([60, -20, 60, -20], np.float32)
    seen = sighting([STANDING, behind], [])
    (proposal,) = untracked(seen, [body_in((105, 60, 195, 345))], 720)
    np.testing.assert_array_equal(proposal.box_4, behind)


def test_a_body_elsewhere_is_not_the_one_that_was_proposed() -> None:
    proposal = Proposal(0.6, STANDING, ())
    assert proposal.fits(body_in((105, 60, 195, 345)))
    assert not proposal.fits(body_in((305, 60, 395, 345)))


def test_support_is_the_share_of_sightings_with_the_person() -> None:
    observations = [Observation(i, i / 20, body_in((105, 60, 195, 345))) for i in range(40)]
    seen = [
        sighting([STANDING], [STANDING], 0),
        sighting([STANDING], [], 10),
        sighting([], [], 20),
        sighting([STANDING + 300], [], 30),
        sighting([STANDING], [STANDING], 50),
    ]
    assert support(observations, seen) == (0.5, 0.25)
    assert support(observations, []) == (1, 0)


def test_a_place_is_tried_ever_less_and_more_strictly() -> None:
    refusals = Refusals()
    assert refusals.may_try(STANDING, 0)
    assert refusals.strictness(STANDING) == 1
    tried: list[float] = []
    for now_s in np.arange(0, 20, 0.5):
        if refusals.may_try(STANDING, now_s):
            tried.append(float(now_s))
            refusals.add(STANDING, now_s)
    assert tried == [0, 0.5, 1.5, 3.5, 7.5, 15.5]
    assert refusals.strictness(STANDING) == pytest.approx(0.4)
    # It is the place that is doubted, wherever it moves slowly; another one is not.
    assert not refusals.may_try(STANDING + 5, 16)
    assert refusals.may_try(STANDING + 300, 16)


def test_a_box_needs_visible_landmarks() -> None:
    body = body_in((105, 60, 195, 345))
    box = body_box(body)
    assert box is not None
    np.testing.assert_allclose(box, [89, 58, 211, 361], atol=3)
    hidden = Landmarks(1.0, body.image_N2, body.world_N3, np.zeros(33, np.float32), body.next_roi)
    assert body_box(hidden) is None


def test_people_are_told_apart_by_the_colors_of_their_parts() -> None:
    """The same two colors on shirt and trousers, exchanged, are another person."""
    body = body_in((105, 60, 195, 345))
    first = np.full((400, 300, 3), 120, np.uint8)
    first[60:200], first[200:360] = (130, 95, 95), (90, 95, 130)
    second = np.full((400, 300, 3), 120, np.uint8)
    second[60:200], second[200:360] = (90, 95, 130), (130, 95, 95)
    darker = (first * 0.8).astype(np.uint8)
    looks = [appearance_of(image, body) for image in (first, second, darker)]
    assert appearance_distance(looks[0], looks[0]) == pytest.approx(0)
    assert appearance_distance(looks[0], looks[1]) > 0.6
    assert appearance_distance(looks[0], looks[2]) < 0.3
    assert appearance_distance(looks[0], None) == 0.5


def test_hidden_parts_do_not_count_and_are_learned_later() -> None:
    whole = np.tile(np.array([100, 150, 150], np.float32), (13, 1))
    upper = whole.copy()
    upper[6:] = np.nan
    assert appearance_distance(whole, upper) == pytest.approx(0)
    both = mixed(upper, whole)
    assert both is not None
    assert np.isfinite(both).all()
    face = np.full((13, 3), np.nan, np.float32)
    face[12] = 100, 150, 150
    assert appearance_distance(whole, face) == 0.5
