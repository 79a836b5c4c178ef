"""The words of movement: which action, body part, side, direction, pace and order they name.

Verbs and nouns outside of the lexicon make no claim, so they are never contradicted. Lemmas are
lower case; hyphens are read as spaces.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final, TypeVar

from annotators.motion.events import Direction, Part, Side


class Action(StrEnum):
    """Action of a claim."""

    WALK = "walk"
    RUN = "run"
    MOVE = "move"
    JUMP = "jump"
    TURN = "turn"
    KICK = "kick"
    PUNCH = "punch"
    STRIKE = "strike"
    """A quick stroke of an arm: a blow, a chop, the cut of a sword."""
    THROW = "throw"
    WAVE = "wave"
    CLAP = "clap"
    RAISE = "raise"
    LOWER = "lower"
    REACH = "reach"
    SWING = "swing"
    CIRCLE = "circle"
    BEND = "bend"
    STRAIGHTEN = "straighten"
    LEAN = "lean"
    SQUAT = "squat"
    KNEEL = "kneel"
    SIT = "sit"
    SIT_DOWN = "sit_down"
    STAND_UP = "stand_up"
    STAND = "stand"
    STILL = "still"
    STAY = "stay"
    """To keep one's place on the floor, whatever else moves."""
    REST = "rest"
    """A limb hangs or is held where it is."""
    USE = "use"
    """Something is done with a limb that does not show in the joints otherwise."""
    LIE = "lie"
    CRAWL = "crawl"
    DANCE = "dance"
    CARTWHEEL = "cartwheel"
    PUSH_UP = "push_up"
    BALANCE = "balance"
    SOMERSAULT = "somersault"
    JUMPING_JACK = "jumping_jack"
    LUNGE = "lunge"
    PLANK = "plank"
    CLIMB = "climb"
    RIDE = "ride"
    PICK_UP = "pick_up"
    PUT_DOWN = "put_down"
    CATCH = "catch"
    DRIBBLE = "dribble"
    JUGGLE = "juggle"
    HUG = "hug"
    SHAKE_HANDS = "shake_hands"
    HAND_OVER = "hand_over"
    PUSH = "push"


class Pace(StrEnum):
    """Speed of a locomotion."""

    SLOW = "slow"
    VERY_SLOW = "very_slow"
    FAST = "fast"


_Value = TypeVar("_Value")


def _by_word(table: Mapping[_Value, str]) -> dict[str, _Value]:
    """Invert a table of words that are separated by spaces."""
    return {word: value for value, words in table.items() for word in words.split()}


VERBS: Final[Mapping[str, Action]] = _by_word(
    {
        Action.WALK: "walk stroll pace march stride wander amble stomp tiptoe limp step strut "
        "saunter trudge plod shuffle sneak creep inch prowl toddle waddle hobble hike roam meander "
        "trek tread shamble lumber traipse stagger stumble moonwalk sidestep parade dawdle skulk",
        Action.RUN: "run jog sprint dash race gallop bolt charge",
        Action.MOVE: "move go travel advance proceed skip rush hurry retreat approach back retrace",
        Action.JUMP: "jump hop leap bounce bound vault land",
        Action.TURN: "turn rotate spin pivot twirl pirouette swivel whirl veer twist",
        Action.KICK: "kick",
        Action.PUNCH: "punch jab box",
        Action.STRIKE: "strike hit slap chop slash smash whack swat shoot",
        Action.THROW: "throw toss pitch hurl fling lob",
        Action.WAVE: "wave hail beckon",
        Action.CLAP: "clap applaud",
        Action.RAISE: "raise lift elevate rise hoist",
        Action.LOWER: "lower drop",
        Action.REACH: "reach stretch extend point",
        Action.SWING: "swing sweep",
        Action.CIRCLE: "circle windmill",
        Action.BEND: "bend bow stoop flex incline hunch",
        Action.STRAIGHTEN: "straighten unbend",
        Action.LEAN: "lean tilt",
        Action.SQUAT: "squat crouch",
        Action.KNEEL: "kneel",
        Action.SIT: "sit seat",
        Action.STAND: "stand",
        Action.LIE: "lie lay",
        Action.CRAWL: "crawl",
        Action.DANCE: "dance waltz",
        Action.CARTWHEEL: "cartwheel",
        Action.SOMERSAULT: "somersault backflip",
        Action.LUNGE: "lunge",
        Action.CLIMB: "climb clamber",
        Action.RIDE: "ride cycle pedal",
        Action.CATCH: "catch",
        Action.DRIBBLE: "dribble",
        Action.JUGGLE: "juggle",
        Action.HUG: "hug embrace",
        Action.PUSH: "push shove",
        Action.BALANCE: "balance",
        Action.REST: "hang dangle",
    }
)
"""Verbs, by their base form."""

NOUNS: Final[Mapping[str, Action]] = _by_word(
    {
        Action.WALK: "walk stroll step pace stride march limp strut tread amble saunter",
        Action.RUN: "run jog sprint dash gallop",
        Action.JUMP: "jump hop leap bound",
        Action.TURN: "turn spin pivot twirl pirouette rotation turnaround twist",
        Action.KICK: "kick",
        Action.PUNCH: "punch jab uppercut",
        Action.STRIKE: "stroke blow chop slash strike",
        Action.THROW: "throw toss pitch",
        Action.WAVE: "wave",
        Action.CLAP: "clap applause",
        Action.BEND: "bow",
        Action.SQUAT: "squat crouch",
        Action.STAND: "stance",
        Action.DANCE: "dance waltz salsa ballet",
        Action.CARTWHEEL: "cartwheel handstand headstand",
        Action.SOMERSAULT: "somersault backflip",
        Action.LUNGE: "lunge",
        Action.PLANK: "plank",
        Action.HUG: "hug embrace",
        Action.PUSH_UP: "pushup",
        Action.BALANCE: "balance",
        Action.RAISE: "raise",
        Action.CIRCLE: "circle windmill",
    }
)
"""Nouns that name an action, in the singular."""

AT_ONCE: Final[Mapping[str, Action]] = _by_word(
    {
        Action.STILL: "motionless immobile unmoving",
        Action.STAND: "upright erect",
        Action.SIT: "seated",
        Action.BEND: "bent",
    }
)
"""Adjectives and adverbs that name a posture."""

PHRASES: Final[Mapping[str, Action]] = {
    "stand up": Action.STAND_UP,
    "get up": Action.STAND_UP,
    "rise up": Action.STAND_UP,
    "rise from": Action.STAND_UP,
    "get back up": Action.STAND_UP,
    "stand back up": Action.STAND_UP,
    "come back up": Action.STRAIGHTEN,
    "come up": Action.STRAIGHTEN,
    "stand still": Action.STILL,
    "keep still": Action.STILL,
    "hold still": Action.STILL,
    "stay still": Action.STILL,
    "remain still": Action.STILL,
    "stand there": Action.STAND,
    "hold a pose": Action.STILL,
    "hold pose": Action.STILL,
    "stand on one": Action.BALANCE,
    "stand on the left leg": Action.BALANCE,
    "stand on the right leg": Action.BALANCE,
    "stand on the left foot": Action.BALANCE,
    "stand on the right foot": Action.BALANCE,
    "stand on his left": Action.BALANCE,
    "stand on his right": Action.BALANCE,
    "stand on her left": Action.BALANCE,
    "stand on her right": Action.BALANCE,
    "stand on their left": Action.BALANCE,
    "stand on their right": Action.BALANCE,
    "balance on": Action.BALANCE,
    "sit down": Action.SIT_DOWN,
    "sit back down": Action.SIT_DOWN,
    "take a seat": Action.SIT_DOWN,
    "lie down": Action.LIE,
    "lay down": Action.LIE,
    "kneel down": Action.KNEEL,
    "on all fours": Action.CRAWL,
    "on hands and knees": Action.CRAWL,
    "on his hands and knees": Action.CRAWL,
    "on her hands and knees": Action.CRAWL,
    "on their hands and knees": Action.CRAWL,
    "to his knees": Action.KNEEL,
    "to her knees": Action.KNEEL,
    "to their knees": Action.KNEEL,
    "on his knees": Action.KNEEL,
    "on her knees": Action.KNEEL,
    "on their knees": Action.KNEEL,
    "on one knee": Action.KNEEL,
    "on the back": Action.LIE,
    "on his back": Action.LIE,
    "on her back": Action.LIE,
    "on his side": Action.LIE,
    "on a chair": Action.SIT,
    "on the chair": Action.SIT,
    "on a bench": Action.SIT,
    "squat down": Action.SQUAT,
    "crouch down": Action.SQUAT,
    "push up": Action.PUSH_UP,
    "press up": Action.PUSH_UP,
    "jumping jack": Action.JUMPING_JACK,
    "star jump": Action.JUMPING_JACK,
    "forward roll": Action.SOMERSAULT,
    "front flip": Action.SOMERSAULT,
    "back flip": Action.SOMERSAULT,
    "shake hand": Action.SHAKE_HANDS,
    "hand over": Action.HAND_OVER,
    "pick up": Action.PICK_UP,
    "set down": Action.PUT_DOWN,
    "put up": Action.RAISE,
    "put down": Action.LOWER,
    "bring down": Action.LOWER,
    "bring up": Action.RAISE,
    "take down": Action.LOWER,
    "take back down": Action.LOWER,
    "let down": Action.LOWER,
    "throw up": Action.RAISE,
    "fling up": Action.RAISE,
    "hold up": Action.RAISE,
    "go up": Action.RAISE,
    "shoot up": Action.RAISE,
    "go down": Action.LOWER,
    "come down": Action.LOWER,
    "fall down": Action.LOWER,
    "put out": Action.REACH,
    "hold out": Action.REACH,
    "stretch out": Action.REACH,
    "reach up": Action.RAISE,
    "reach for the sky": Action.RAISE,
    "reach for the ceiling": Action.RAISE,
    "reach for the floor": Action.BEND,
    "reach for the ground": Action.BEND,
    "touch the floor": Action.BEND,
    "touch the ground": Action.BEND,
    "touch the toes": Action.BEND,
    "bend down": Action.BEND,
    "bend over": Action.BEND,
    "turn around": Action.TURN,
    "turn round": Action.TURN,
    "swing round": Action.TURN,
    "swing around": Action.TURN,
    "about face": Action.TURN,
    "about turn": Action.TURN,
    "u turn": Action.TURN,
    "take a left": Action.TURN,
    "take a right": Action.TURN,
    "bear right": Action.TURN,
    "bear left": Action.TURN,
    "round a corner": Action.TURN,
    "round the corner": Action.TURN,
    "spring up": Action.JUMP,
    "spring off": Action.JUMP,
    "take off": Action.JUMP,
    "tear along": Action.RUN,
    "make one way": Action.MOVE,
    "make his way": Action.MOVE,
    "make her way": Action.MOVE,
    "make their way": Action.MOVE,
    "come forward": Action.MOVE,
    "head forward": Action.MOVE,
    "back away": Action.MOVE,
    "circular motion": Action.CIRCLE,
    "come together": Action.CLAP,
    "run up": Action.MOVE,
    "leave the ground": Action.JUMP,
    "leave the floor": Action.JUMP,
    "on the way": Action.MOVE,
    "upside down": Action.CARTWHEEL,
    "martial stance": Action.STAND,
    "fighting stance": Action.STAND,
    "tip forward": Action.BEND,
    "tip over": Action.BEND,
    "tip backward": Action.BEND,
    "tip far backward": Action.BEND,
}
"""Phrases of lemmas. Those of ``APART`` may have the object between their words."""
APART: Final = frozenset({Action.RAISE, Action.LOWER, Action.REACH})
"""Actions whose particle may follow the part: "puts his arm out"."""

OF_LIMBS: Final[Mapping[Action, frozenset[Part]]] = {
    Action.RAISE: frozenset({Part.ARM, Part.LEG, Part.HEAD}),
    Action.LOWER: frozenset({Part.ARM, Part.LEG, Part.HEAD, Part.TORSO}),
    Action.REACH: frozenset({Part.ARM}),
    Action.SWING: frozenset({Part.ARM, Part.LEG}),
    Action.CIRCLE: frozenset({Part.ARM}),
    Action.STRAIGHTEN: frozenset({Part.ARM, Part.LEG, Part.TORSO}),
    Action.REST: frozenset({Part.ARM, Part.LEG}),
    Action.USE: frozenset({Part.ARM, Part.LEG}),
}
"""Ambiguous verbs are actions of a body only together with one of these parts."""
ARM_ACTIONS: Final = frozenset(
    {Action.PUNCH, Action.STRIKE, Action.THROW, Action.WAVE, Action.CLAP, Action.REACH}
    | {Action.CIRCLE, Action.RAISE, Action.LOWER, Action.SWING}
)
"""Actions that are of an arm if no part is named."""
HANDLING: Final = frozenset(
    {Action.PICK_UP, Action.PUT_DOWN, Action.CATCH, Action.DRIBBLE, Action.JUGGLE}
)
"""Actions with a thing, in the hand or at the foot that the text names."""
ONE_SIDED: Final = ARM_ACTIONS | HANDLING | {Action.KICK, Action.REST, Action.USE}
"""Actions of which "the left" without a noun names the limb, not a direction."""

PARTS: Final[Mapping[str, Part]] = _by_word(
    {
        Part.ARM: "arm hand wrist elbow fist palm forearm handed armed",
        Part.LEG: "leg foot knee thigh ankle legged footed",
        Part.HEAD: "head chin neck",
        Part.TORSO: "torso body waist trunk spine",
    }
)
SIDES: Final[Mapping[str, Side]] = {
    "left": Side.LEFT,
    "right": Side.RIGHT,
    "both": Side.BOTH,
    "two": Side.BOTH,
}
TURNS: Final[Mapping[str, Direction]] = {
    **dict.fromkeys(("left", "leftward", "leftwards"), Direction.LEFT),
    **dict.fromkeys(("right", "rightward", "rightwards"), Direction.RIGHT),
}
CLOCK: Final[Mapping[str, Direction]] = {
    "clockwise": Direction.RIGHT,
    "counterclockwise": Direction.LEFT,
    "anticlockwise": Direction.LEFT,
}
DIRECTIONS: Final[Mapping[str, Direction]] = _by_word(
    {
        Direction.FORWARD: "forward forwards ahead front onward onwards straight",
        Direction.BACKWARD: "backward backwards reverse rear rearward",
        Direction.SIDE: "sideways sidewards laterally sidestep sideway",
        Direction.UP: "up upward upwards overhead above sky ceiling",
        Direction.DOWN: "down downward downwards",
        Direction.AROUND: "around round circle loop lap",
    }
)
RHYTHMS: Final[Mapping[str, Direction]] = {
    "up and down": Direction.UP_AND_DOWN,
    "side to side": Direction.SIDE_TO_SIDE,
    "left and right": Direction.SIDE_TO_SIDE,
    "back and forth": Direction.FORWARD_AND_BACK,
    "forward and back": Direction.FORWARD_AND_BACK,
}
"""Phrases of a movement to and fro."""
PATHS: Final = frozenset(
    {"circle", "loop", "curve", "arc", "bend", "corner", "lap", "semicircle", "oval"}
    | {"path", "track", "trajectory"}
)
"""Nouns of a path over the floor. A side or clock word beside them is a turn of the body."""
BENT_PATHS: Final = PATHS - {"path", "track", "trajectory"}

PACES: Final[Mapping[str, Pace]] = _by_word(
    {
        Pace.SLOW: "slow slowly slower leisurely unhurried unhurriedly sluggish sluggishly "
        "hesitantly slowed dawdle amble plod trudge",
        Pace.FAST: "fast quickly quick rapid rapidly swiftly briskly brisk hurriedly speedy sprint "
        "faster flat rush hurry race bolt",
    }
)
NUMBERS: Final[Mapping[str, int]] = {
    **{"once": 1, "twice": 2, "thrice": 3, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5},
    **{"six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12},
    **{"thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "twenty": 20, "thirty": 30},
    **{"forty": 40, "fifty": 50, "hundred": 100},
    **{"single": 1, "couple": 2, "pair": 2},
}
TIMES: Final = frozenset({"once", "twice", "thrice"})
REPEATED: Final = frozenset(
    {"repeatedly", "several", "multiple", "many", "continuously", "series", "numerous", "row"}
    | {"lots", "keeps"}
)
NEGATIONS: Final = frozenset(
    {"not", "never", "without", "no", "neither", "nor", "n't", "hardly", "barely", "doesnt"}
    | {"isnt", "dont", "cannot"}
)
ONLY: Final = frozenset({"only", "just", "alone", "solely"})
SIMILES: Final = (("as", "if"), ("as", "though"), ("like",), ("such", "as"), ("similar", "to"))
HEDGES: Final = frozenset({"look", "seem", "appear", "feel", "sound"})
"""Verbs before "like" or "as if" that make a claim of what follows."""
PLACE_WORDS: Final = frozenset(
    {"above", "over", "behind", "near", "at", "to", "toward", "towards", "beside", "against"}
    | {"on", "onto", "across", "past", "below", "under", "touch", "by", "around", "between"}
    | {"along", "from"}
)
"""Words before a body part that is a place: "a hand above the head"."""
STEPS: Final = frozenset({"step", "pace", "stride"})
"""Nouns that count the steps of a walk."""
SEATS: Final = frozenset({"seat", "chair", "bench", "stool", "sofa", "couch"})
LIGHT: Final = frozenset(
    {"do", "make", "take", "perform", "give", "deliver", "throw", "execute", "have", "complete"}
    | {"land", "show", "practice", "practise", "attempt", "go", "come", "get", "drop", "start"}
    | {"begin", "continue", "keep", "break", "use", "describe", "sink", "follow", "end", "finish"}
    | {"be", "try", "carry", "put", "happen", "repeat", "ease", "turn", "move", "lower"}
)
"""Verbs whose object may be the action: "throws a punch", "goes into a crouch"."""
PUTS: Final = frozenset({"bring", "put", "place"})
"""Verbs that move a limb if it is their object: "puts his hands on the head"."""
POSES: Final = frozenset({"position", "pose", "shoe", "machine", "clothes"})
"""Nouns whose participle tells no action: "in a running position"."""
FLOORS: Final = frozenset({"floor", "ground"})
OBJECTS: Final = frozenset(
    {"ball", "basketball", "football", "object", "item", "box", "bag", "stone", "rock", "frisbee"}
    | {"stick", "rope", "dumbbell", "weight", "barbell", "bottle", "cup", "phone"}
)
NO_BODY_WITH_OBJECT: Final = frozenset({Action.JUMP, Action.TURN, Action.MOVE, Action.CIRCLE})
"""Actions that are not of the body if their object is a thing: "bounces a ball"."""
IMPLIED: Final[Mapping[str, Direction]] = {
    "retreat": Direction.BACKWARD,
    "back": Direction.BACKWARD,
    "moonwalk": Direction.BACKWARD,
    "advance": Direction.FORWARD,
    "sidestep": Direction.SIDE,
}
"""Directions that verbs of locomotion imply."""
AFTERWARDS: Final = frozenset(
    {"then", "next", "afterwards", "afterward", "later", "finally", "follow", "subsequently"}
    | {"eventually", "lastly"}
)
"""Words between two claims that put the second after the first."""
SPOT_PHRASES: Final = (
    *("on the spot", "in place", "in one place", "in one spot", "on one spot", "where he is"),
    *("where she is", "where they are", "where he stands", "where she stands", "where they stand"),
    *("without leaving the spot", "rooted to the spot", "without moving the feet", "feet stay put"),
    *("feet staying", "from the spot", "where he started", "where she started", "in a fixed spot"),
    *("where they started", "stay put", "stays put", "not moving from"),
)
"""Phrases of a person who keeps the place on the floor."""
THROUGHOUT: Final = (
    *("the whole time", "all the time", "the entire time", "throughout", "all along"),
    *("at all times", "whole clip", "entire clip"),
)
RESTING: Final = frozenset(
    {"hang", "hanging", "rest", "resting", "dangle", "stay", "remain", "leave", "keep", "planted"}
    | {"motionless", "still", "down", "guard", "hold"}
)


@cache
def synonyms() -> Mapping[str, Action]:
    """Verbs outside of the lexicon that mean one of its actions.

    The table was made by ``benchmarks/grounding_synonyms.py``: the nearest verbs in a sentence
    embedding, reviewed by hand. It is a file and not a model at run time, because a verb has one
    meaning in every worker, and neither a tokenizer nor 90 MB of weights are loaded.
    """
    text = files("annotators.grounding").joinpath("synonyms.json").read_text(encoding="utf-8")
    return {verb: Action(action) for verb, action in json.loads(text).items()}
