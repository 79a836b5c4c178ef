"""What English texts claim, in the many ways in which people write."""

import pytest

from annotators.grounding.claims import Claim, parse_claims
from annotators.grounding.lexicon import Action, Pace
from annotators.motion.events import Direction, Part, Side


def _only(text: str, action: Action) -> Claim:
    (claim,) = [c for c in parse_claims(text) if c.action is action]
    return claim


@pytest.mark.parametrize(
    ("text", "action", "direction"),
    [
        ("A man makes a left turn.", Action.TURN, Direction.LEFT),
        ("She takes a right at the door.", Action.TURN, Direction.RIGHT),
        ("The child spins anti-clockwise.", Action.TURN, Direction.LEFT),
        ("The person walks round a right-hand bend.", Action.TURN, Direction.RIGHT),
        ("walking an arc that bends to the left", Action.TURN, Direction.LEFT),
        ("He steps back.", Action.WALK, Direction.BACKWARD),
        ("The waiter backs away from the table.", Action.MOVE, Direction.BACKWARD),
        ("The skater leans back.", Action.LEAN, Direction.BACKWARD),
        ("He turns and walks back to his seat.", Action.WALK, None),
        ("She walks in a straight line backwards.", Action.WALK, Direction.BACKWARD),
        ("He steps back and kneels.", Action.WALK, Direction.BACKWARD),
        ("He walks back and forth.", Action.WALK, None),
    ],
)
def test_directions(text: str, action: Action, direction: Direction | None) -> None:
    assert _only(text, action).direction is direction


@pytest.mark.parametrize(
    ("text", "action", "side"),
    [
        ("a right-footed kick", Action.KICK, Side.RIGHT),
        ("three left jabs", Action.PUNCH, Side.LEFT),
        ("The boxer jabs with the left.", Action.PUNCH, Side.LEFT),
        ("She raises the right and keeps looking.", Action.RAISE, Side.RIGHT),
        ("Both arms are lifted.", Action.RAISE, Side.BOTH),
        ("a two-handed wave", Action.WAVE, Side.BOTH),
        ("He hops on his left leg.", Action.JUMP, Side.LEFT),
        ("She raises her left hand to her right ear.", Action.RAISE, Side.LEFT),
        ("A pupil lifts a hand.", Action.RAISE, None),
    ],
)
def test_sides(text: str, action: Action, side: Side | None) -> None:
    assert _only(text, action).side is side


def test_one_side_only() -> None:
    assert _only("He waves with only his left hand.", Action.WAVE).only
    assert _only("Just the right arm is raised.", Action.RAISE).only
    assert not _only("He waves his left hand just once.", Action.WAVE).only


@pytest.mark.parametrize(
    ("text", "action", "count"),
    [
        ("She does four squats.", Action.SQUAT, 4),
        ("two quick kicks with the left foot", Action.KICK, 2),
        ("He bows twice.", Action.BEND, 2),
        ("a single jump", Action.JUMP, 1),
        ("She stands on one leg and kicks.", Action.KICK, 0),
        ("He claps again and again.", Action.CLAP, -1),
        ("a series of punches", Action.PUNCH, -1),
        ("He walks several meters.", Action.WALK, 0),
    ],
)
def test_counts(text: str, action: Action, count: int) -> None:
    assert _only(text, action).count == count


def test_steps_are_counted_as_steps() -> None:
    claim = _only("The woman takes five steps forward.", Action.WALK)
    assert (claim.count, claim.counts_steps) == (5, True)
    assert not _only("He walks up and down twice.", Action.WALK).counts_steps


def test_pace_and_place() -> None:
    assert _only("He walks forward slowly.", Action.WALK).pace is Pace.SLOW
    assert _only("a very slow walk", Action.WALK).pace is Pace.VERY_SLOW
    assert _only("He is very quickly and calmly walking on.", Action.WALK).pace is Pace.FAST
    assert _only("She hurriedly walks to the door.", Action.WALK).pace is Pace.FAST
    assert _only("A man slowly raises his arm.", Action.RAISE).pace is None
    assert _only("The soldier marches on the spot.", Action.WALK).on_spot
    assert parse_claims("She stays in place while waving.")[-1].action is Action.STAY


@pytest.mark.parametrize(
    "text",
    [
        "A player bounces a ball.",
        "He looks like a runner.",
        "The woman scratches her back.",
        "A man plays chess as if dancing.",
        "She crosses her arms.",
        "The steps of the staircase are wet.",
        "He is in a running position.",
        "She moves it to the left.",
    ],
)
def test_what_claims_nothing(text: str) -> None:
    assert parse_claims(text) == ()


def test_a_simile_is_no_claim() -> None:
    (claim,) = parse_claims("Like a bird that jumps, he waves both arms.")
    assert claim.action is Action.WAVE
    (claim,) = parse_claims("She crouches as if to leap over a fence.")
    assert claim.action is Action.SQUAT
    # What somebody seems to do is claimed.
    assert _only("It looks like he is jumping.", Action.JUMP)


def test_bent_arms_are_no_bent_trunk() -> None:
    bends = [c for c in parse_claims("He walks with his elbows bent.") if c.action is Action.BEND]
    assert [c.part for c in bends] in ([], [Part.ARM])


@pytest.mark.parametrize(
    ("text", "main", "beside"),
    [
        ("While standing, he kicks.", {"kick"}, {"stand"}),
        ("She walks, waving her hand.", {"walk"}, {"wave"}),
        ("He stands and plays the guitar.", set[str](), {"stand"}),
        ("He stands.", {"stand"}, set[str]()),
        ("She greets us by waving.", {"wave"}, set[str]()),
        ("After sitting down he claps.", {"sit_down", "clap"}, set[str]()),
    ],
)
def test_main_claims(text: str, main: set[str], beside: set[str]) -> None:
    claims = parse_claims(text)
    assert {c.action.value for c in claims if c.main} == main
    assert {c.action.value for c in claims if not c.main} == beside


@pytest.mark.parametrize(
    "text",
    [
        "He bows, then jumps.",
        "He bows before jumping.",
        "He jumps after bowing.",
        "After a bow he jumps.",
        "He bows, after which he jumps.",
        "A bow is followed by a jump.",
    ],
)
def test_order(text: str) -> None:
    claims = parse_claims(text)
    bow = next(n for n, c in enumerate(claims) if c.action is Action.BEND)
    jump = next(c for c in claims if c.action is Action.JUMP)
    assert jump.after == (bow,)


def test_negation() -> None:
    assert _only("She never jumps.", Action.JUMP).negated
    assert _only("He walks without turning.", Action.TURN).negated
    assert not _only("He walks without turning.", Action.WALK).negated
    assert _only("They neither walk nor run.", Action.RUN).negated


def test_a_limb_that_rests() -> None:
    claim = _only("He waves with the left hand while the right arm hangs down.", Action.REST)
    assert (claim.part, claim.side, claim.main) == (Part.ARM, Side.RIGHT, False)


def test_a_limb_that_does_what_joints_do_not_show() -> None:
    claim = _only("She wipes the table with her left hand.", Action.USE)
    assert (claim.part, claim.side) == (Part.ARM, Side.LEFT)


def test_shared_limbs() -> None:
    claims = parse_claims("He lifts and lowers the left leg.")
    assert [(c.action, c.part, c.side) for c in claims] == [
        (Action.RAISE, Part.LEG, Side.LEFT),
        (Action.LOWER, Part.LEG, Side.LEFT),
    ]
