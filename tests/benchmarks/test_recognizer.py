"""The judge of recognition accuracy names real motions that it did not see, and is right."""

import pytest

from benchmarks.support import recognizer
from benchmarks.support.recognizer import Labeled, Recognizer, fold_of
from data.motion.features import joints_to_features
from tests.support.motions import jumping, waving_right_hand


@pytest.fixture
def motions(monkeypatch: pytest.MonkeyPatch) -> list[Labeled]:
    monkeypatch.setattr(recognizer, "STEPS", 20)
    monkeypatch.setattr(recognizer, "WARMUP", 2)
    monkeypatch.setattr(recognizer, "BATCH", 8)
    made = {"wave": [waving_right_hand(n) for n in (2, 3, 4, 5)] * 2}
    made["jump"] = [jumping(0.1 * n) for n in (2, 3, 4, 5)] * 2
    return [
        Labeled(f"{label}-{n}", label, f"group {n % 2}", joints_to_features(motion))
        for label, of_label in made.items()
        for n, motion in enumerate(of_label)
    ]


def test_unseen_motions_are_named_right(motions: list[Labeled]) -> None:
    assert {fold_of(one.name) for one in motions if one.label == "wave"} == {0, 1}
    judge = Recognizer(motions)
    features = [one.features for one in motions]
    wanted = [one.label for one in motions]
    assert judge.names(features, [one.name for one in motions]) == wanted
    assert judge.names([None, features[0]], [None, None]) == ["", "wave"]


def test_a_recording_is_judged_by_the_network_that_did_not_see_it(motions: list[Labeled]) -> None:
    # Where one half of the recordings has its labels exchanged, the networks disagree.
    other = {"wave": "jump", "jump": "wave"}
    mixed = [
        Labeled(
            one.name, other[one.label] if fold_of(one.name) else one.label, one.group, one.features
        )
        for one in motions
    ]
    judge = Recognizer(mixed)
    found = judge.names([one.features for one in mixed], [one.name for one in mixed])
    assert found == [other[one.label] for one in mixed]
