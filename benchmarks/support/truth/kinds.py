"""Which of our events and postures say what a label says, and the words that tell it.

Our kinds are named as :func:`benchmarks.support.truth.events.name_of` names them. Names of kinds
that the describer does not have (yet) do no harm.
"""

from collections.abc import Mapping
from typing import Final

_UP_ON_FEET: Final = frozenset({"rise", "get_up", "stand_up", "straighten_torso"})
_DOWN: Final = frozenset({"sink", "squatting", "squat", "crouch"})
_HELD: Final = frozenset(
    {
        *("plank", "side_plank", "all_fours", "hands_and_feet", "wide_stance", "lunge"),
        *("squatting", "kneeling", "sitting", "lying", "bending", "upside_down", "hold"),
    }
)

SAID_BY: Final[Mapping[str, frozenset[str]]] = {
    "walk": frozenset({"walk"}),
    "run": frozenset({"run"}),
    "step": frozenset({"step", "walk", "lunge", "side_step"}),
    "jump": frozenset({"jump", "hop", "jumping_jack", "skip", "leap"}),
    "jump_down": frozenset({"jump_down", "jump", "somersault", "leap"}),
    "land": frozenset({"land", *_DOWN}),
    "turn": frozenset({"turn"}),
    "stand": frozenset({"standing"}),
    "sit": frozenset({"sitting"}),
    "sit_down": frozenset({"sit_down", "sitting", "sink"}),
    "stand_up": _UP_ON_FEET,
    "get_up": _UP_ON_FEET,
    "rise": _UP_ON_FEET,
    "straighten_up": _UP_ON_FEET,
    "squat": frozenset({*_DOWN, "wide_stance", "lunge"}),
    "bend": frozenset({"bend_torso", "bending"}),
    "lean": frozenset({"lean_torso", "bend_torso"}),
    "kneel": frozenset({"kneeling", "kneel_down"}),
    "kneel_down": frozenset({"kneeling", "kneel_down", "sink"}),
    "lie": frozenset({"lying", "lie_down"}),
    "crawl": frozenset({"crawl", "all_fours"}),
    "push_up": frozenset({"press", "unpress", "push_up"}),
    "raise_arm": frozenset({"raise_arm"}),
    "raise_arms": frozenset({"raise_arm"}),
    "lower_arm": frozenset({"lower_arm"}),
    "raise_leg": frozenset({"raise_leg", "kick"}),
    "lower_leg": frozenset({"lower_leg"}),
    "kick": frozenset({"kick", "raise_leg", "juggle"}),
    "punch": frozenset({"punch"}),
    "wave": frozenset({"wave"}),
    "clap": frozenset({"clap"}),
    "throw": frozenset({"throw", "serve"}),
    "catch": frozenset({"catch"}),
    "reach": frozenset({"reach", "extend", "raise_arm"}),
    "pick_up": frozenset({"pick_up", "reach", "extend"}),
    "lift": frozenset({"lift", "raise_arm", "pick_up"}),
    "swing_bat_or_racket": frozenset({"swing", "serve"}),
    "climb": frozenset({"climb"}),
    "fall": frozenset({"fall"}),
    "dance": frozenset({"dance"}),
    "balance": frozenset({"one_leg", "balance"}),
    "hold": _HELD,
    "turn_head": frozenset({"turn_head", "raise_head", "lower_head"}),
}
"""Kinds of labels that a body alone can show, with our kinds that say the same."""

NEEDS_AN_OBJECT: Final = frozenset(
    {
        *("handle_object", "gesture_sign", "ride_bicycle", "juggle", "dribble", "talk", "other"),
        *("stretch_yoga", "martial_form"),
    }
)
"""Kinds that no joint tells: they need an object, or name a discipline."""
HELD_BY_THE_BODY: Final = frozenset({"stretch_yoga", "martial_form", "balance", "dance"})
"""Activity classes in which ``hold`` is a posture; elsewhere it is a grip or a hug."""

IMPLIES: Final[Mapping[str, frozenset[str]]] = {
    "jumping_jack": frozenset({"jump", "raise_arms", "raise_arm", "lower_arm"}),
    "juggle": frozenset({"kick"}),
    "pick_up": frozenset({"bend", "reach", "straighten_up"}),
    "serve": frozenset({"raise_arm", "swing_bat_or_racket"}),
}
"""Our kinds that contain labeled ones, which are labeled one by one within their span."""

PART_OF: Final[Mapping[str, frozenset[str]]] = {
    "walk": frozenset({"walk", "step"}),
    "run": frozenset({"run"}),
    "raise_arm": frozenset(
        {
            *("raise_arm", "raise_arms", "throw", "reach", "lift", "catch", "wave", "punch"),
            *("pick_up", "swing_bat_or_racket", "climb"),
        }
    ),
    "lower_arm": frozenset(
        {"lower_arm", "reach", "pick_up", "throw", "punch", "bend", "push_up", "jump", "land"}
    ),
    "extend": frozenset({"reach", "punch", "throw", "raise_arm", "pick_up"}),
    "bend_arm": frozenset({"raise_arm", "lift", "lower_arm", "pick_up", "hold"}),
    "swing": frozenset({"throw", "raise_arm", "swing_bat_or_racket", "lift"}),
    "sink": frozenset({"squat", "land", "bend", "kneel_down", "kneel", "sit_down", "lie"}),
    "rise": frozenset({"rise", "stand_up", "get_up", "straighten_up", "jump"}),
    "straighten_torso": frozenset({"straighten_up", "rise", "get_up", "lean", "stand_up"}),
    "bend_torso": frozenset({"bend", "lean", "land", "squat", "pick_up"}),
    "lean_torso": frozenset({"lean", "balance"}),
    "raise_leg": frozenset({"raise_leg", "kick", "balance", "step"}),
    "lower_leg": frozenset({"lower_leg", "step", "kick"}),
    "kick": frozenset({"kick", "raise_leg"}),
    "squatting": frozenset({"squat", "land", "bend", "kneel", "hold"}),
    "wide_stance": frozenset({"hold", "step", "squat", "rise", "lunge", "raise_leg"}),
    "bending": frozenset({"bend", "lean", "pick_up", "reach", "hold", "land"}),
    "sitting": frozenset({"sit", "sit_down", "ride_bicycle"}),
    "one_leg": frozenset({"balance", "raise_leg"}),
    "hop": frozenset({"jump"}),
    "ride": frozenset({"ride_bicycle", "sit"}),
    "juggle": frozenset({"juggle"}),
    "dribble": frozenset({"dribble"}),
    "hug": frozenset({"hold"}),
    "push": frozenset({"hold", "punch"}),
}
"""Our kinds that are a natural part of labeled ones, beyond those in ``SAID_BY``."""

OPPOSITES: Final[Mapping[str, frozenset[str]]] = {
    "walk": frozenset({"stand", "sit", "lie", "kneel", "squat", "balance", "push_up", "run"}),
    "run": frozenset({"stand", "sit", "lie", "kneel", "squat", "balance", "push_up", "walk"}),
    "raise_leg": frozenset({"lower_leg"}),
    "lower_leg": frozenset({"raise_leg"}),
    "sink": frozenset({"rise", "stand_up", "get_up", "straighten_up"}),
    "rise": frozenset({"squat", "sit_down", "kneel_down", "bend", "land"}),
    "bend_torso": frozenset({"straighten_up"}),
    "straighten_torso": frozenset({"bend"}),
}
"""Our kinds, and labels of which they are the opposite at the same time."""

DIRECTED: Final = frozenset({"walk", "run", "turn", "lean_torso", "bend_torso"})
"""Our kinds whose direction is compared."""
AXES: Final = ({"left", "right"}, {"forward", "backward"}, {"up", "down"})

UMBRELLAS: Final = frozenset(
    {"juggle", "stretch_yoga", "martial_form", "dance", "gesture_sign", "talk", "ride_bicycle"}
)
"""Labels of a whole activity, of whose parts not all are labeled."""

LARGE: Final[Mapping[str, float]] = {
    **dict.fromkeys(("walk", "run", "jump", "hop", "skip", "leap", "jump_down", "land"), 0.0),
    **dict.fromkeys(("jumping_jack", "somersault", "crawl", "climb", "fall"), 0.0),
    **dict.fromkeys(("throw", "punch", "kick", "clap", "wave", "circle", "serve", "swing"), 0.0),
    **dict.fromkeys(("rise", "sink", "press", "unpress", "pick_up", "put_down", "catch"), 0.0),
    **dict.fromkeys(("sitting", "squatting", "kneeling", "lying", "plank", "all_fours"), 0.0),
    **dict.fromkeys(("hands_and_feet", "upside_down", "side_plank", "one_leg", "lunge"), 0.0),
    **dict.fromkeys(("hug", "push", "hand_over", "shake_hands"), 0.0),
    **dict.fromkeys(("ride", "juggle", "dribble"), 0.0),
    "wide_stance": 0.0,
    "turn": 0.25,
    "bend_torso": 45.0 / 360.0,
    "lean_torso": 30.0 / 360.0,
    "raise_arm": 1.0,
    "lower_arm": 1.0,
    "raise_leg": 0.45,
}
"""Our kinds that a viewer would have labeled, with the smallest relative magnitude from which on
(``MotionEvent.relative``; 0: always)."""

CLASS_SAID_BY: Final[Mapping[str, frozenset[str]]] = {
    "stand": frozenset({"stand", "still", "turn", "walk", "hold"}),
    "walk": frozenset({"walk"}),
    "run": frozenset({"run"}),
    "jump": frozenset({"jump", "hop", "jumping_jack", "skip"}),
    "jump_down": frozenset({"jump_down", "somersault", "jump"}),
    "turn": frozenset({"turn"}),
    "sit": frozenset({"sit", "ride"}),
    "sit_down": frozenset({"sit_down", "sit"}),
    "stand_up": frozenset({"stand_up", "get_up"}),
    "squat": frozenset({"squat", "crouch"}),
    "bend": frozenset({"bend", "pick_up"}),
    "kneel": frozenset({"kneel", "kneel_down"}),
    "lie": frozenset({"lie", "lie_down"}),
    "crawl": frozenset({"crawl"}),
    "push_up": frozenset({"push_up", "plank"}),
    "raise_arms": frozenset({"raise"}),
    "wave": frozenset({"wave"}),
    "clap": frozenset({"clap"}),
    "punch": frozenset({"punch"}),
    "kick": frozenset({"kick", "dribble", "juggle"}),
    "throw": frozenset({"throw", "serve", "shoot", "dribble"}),
    "catch": frozenset({"catch", "throw"}),
    "reach": frozenset({"reach", "raise"}),
    "pick_up": frozenset({"pick_up", "bend"}),
    "lift": frozenset({"lift", "pick_up", "raise"}),
    "swing_bat_or_racket": frozenset({"swing", "serve", "swing_bat", "swing_racket"}),
    "dribble": frozenset({"dribble", "bounce"}),
    "juggle": frozenset({"juggle", "kick"}),
    "balance": frozenset({"balance", "raise_leg"}),
    "stretch_yoga": frozenset({"stretch", "yoga", "plank", "side_plank", "wide_stance", "lunge"}),
    "dance": frozenset({"dance"}),
    "climb": frozenset({"climb"}),
    "ride_bicycle": frozenset({"ride"}),
    "handle_object": frozenset({"reach", "raise", "pick_up", "handle_object", "bend_arm", "drink"}),
    "gesture_sign": frozenset({"raise", "wave", "clap", "bend_arm", "gesture"}),
    "hold": frozenset({"hold", "raise", "hug", "still", "stand"}),
    "fall": frozenset({"fall"}),
    "martial_form": frozenset({"punch", "kick", "wide_stance", "lunge", "balance", "swing"}),
    "other": frozenset({"still", "stand", "sit", "reach", "raise"}),
}
"""Labeled activity classes, with our activities (``annotators.motion.describe.ActivityKind``) that
are the same or its most telling part."""

WORDS: Final[Mapping[str, str]] = {
    "stand": r"stand|still|stays|walk|read",
    "walk": r"walk|strid|step",
    "run": r"\brun|jog|sprint",
    "jump": r"jump|leap|\bhop",
    "jump_down": r"(jump|leap)\w* (down|off)|somersault|flip",
    "turn": r"turn",
    "sit": r"\bsit|seated|bicycle|bike",
    "sit_down": r"\bsit",
    "stand_up": r"stand\w* up|get\w* up|ris",
    "squat": r"squat|crouch",
    "bend": r"bend|stoop|lean",
    "kneel": r"kneel",
    "lie": r"\bl(ie|ies|ying)\b",
    "crawl": r"crawl",
    "push_up": r"push|press",
    "raise_arms": r"(rais|lift)\w* (both|the|their) (arms|hands)|both arms",
    "wave": r"wav",
    "clap": r"clap",
    "punch": r"punch|thrust|jab",
    "kick": r"kick",
    "throw": r"throw|toss|shoot|pitch",
    "catch": r"catch",
    "reach": r"reach",
    "pick_up": r"pick",
    "lift": r"lift",
    "swing_bat_or_racket": r"swing|serv|hits",
    "dribble": r"dribbl|bounc",
    "juggle": r"juggl|(keep|kick)\w* .*\bball",
    "balance": r"balanc|one leg|on the (left|right) leg|beam",
    "stretch_yoga": r"yoga|stretch|plank|lunge|downward|pose",
    "dance": r"danc",
    "climb": r"climb",
    "ride_bicycle": r"(rid|cycl)\w*|bicycle|bike",
    "handle_object": r"pour|mix|hold|bottle|cup|mug|handl|pick|put|kettle",
    "gesture_sign": r"sign|gestur|palms|hands together|open\w* .*hands",
    "hold": r"hug|hold|embrac",
    "fall": r"fall",
    "martial_form": r"martial|kung fu|sword|thrust|lunge|form",
    "other": r"wrestl|hand (to|at)|grip|push",
}
"""Words of a medium text that convey an activity class; a viewer's judgment is in docs/truth.md."""
