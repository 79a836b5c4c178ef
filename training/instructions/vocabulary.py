"""The id space of text and motion tokens, and the text tokenizer.

Ids 0 to V - 1 are text pieces and V to V + K - 1 are motion codes. They are followed by the three
special motion tokens: start, end and pad. The special text tokens have the ids of T5: 0 is pad, 1
is end and 2 is unknown. A motion token has one id, that of its base code; its residual codes have
none.

Shapes: V is the number of text pieces, K the ``num_codes``, Q the number of codes of a token.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

from training.instructions.tasks import Token, code_array

TEXT_PAD: Final = 0
TEXT_END: Final = 1
TEXT_UNKNOWN: Final = 2
NUM_SPECIAL_CODES: Final = 3
NUM_SENTINELS: Final = 32
"""Number of sentinels, ``<extra_id_0>`` and so on, which replace the spans of span corruption."""
_SPECIALS: Final = ("<pad>", "</s>", "<unk>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The ids of text and motion tokens.

    Attributes:
        num_text: V, the number of text pieces.
        num_codes: K, the number of motion codes.
        num_quantizers: Q, the number of codes of a token.
    """

    num_text: int
    num_codes: int
    num_quantizers: int = 1

    @property
    def motion_start(self) -> int:
        """Id of the token before the first code of a motion."""
        return self.num_text + self.num_codes

    @property
    def motion_end(self) -> int:
        """Id of the token after the last code of a motion."""
        return self.motion_start + 1

    @property
    def size(self) -> int:
        """Number of ids, V + K + 3."""
        return self.num_text + self.num_codes + NUM_SPECIAL_CODES

    def motion_ids(self, codes: Sequence[Token]) -> list[int]:
        """Return the ids of motion tokens, which are those of their base codes.

        Raises:
            ValueError: a base code is not in 0..K-1, so it is from another motion tokenizer.
        """
        base = [token if isinstance(token, int) else token[0] for token in codes]
        if base:
            self._check(min(base), max(base))
        return [self.num_text + code for code in base]

    def residual_codes(self, codes: Sequence[Token]) -> list[list[int]]:
        """Return the Q - 1 residual codes of each motion token, -1 where it has none.

        Raises:
            ValueError: a token has another number of codes, or a residual code is not in 0..K-1, so
                it is from another motion tokenizer.
        """
        if self.num_quantizers == 1 and all(isinstance(token, int) for token in codes):
            return [[] for _ in codes]
        residual = code_array(codes, self.num_quantizers)[:, 1:]
        if (residual < -1).any() or (residual >= self.num_codes).any():
            self._check(int(residual.min()), int(residual.max()))
        return residual.tolist()

    def _check(self, least: int, most: int) -> None:
        if not 0 <= least <= most < self.num_codes:
            raise ValueError(
                f"motion codes: expected 0 to {self.num_codes - 1}, found {least} to {most}. "
                "Remedy: use the motion tokenizer that the model was trained with."
            )


_SCORE_DIGITS: Final = 6
_UNUSED_STEP: Final = 1e-4
"""Between the scores of characters that the trainer never saw; a constant of ``tokenizers``."""


class TextTokenizer:
    """Encodes text into pieces and decodes pieces into text.

    Args:
        serialized: content of a ``tokenizer.json`` of the tokenizers library.
    """

    def __init__(self, serialized: str) -> None:
        self.serialized = serialized
        self._tokenizer = Tokenizer.from_str(serialized)
        self._encode = lru_cache(maxsize=100_000)(self._encode_now)

    @property
    def num_pieces(self) -> int:
        """V, the number of pieces. The embedding of a T5 may have more rows, which are not used."""
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> tuple[int, ...]:
        """Encode a text into pieces, without special tokens."""
        return self._encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode pieces into a text, ignoring special tokens."""
        return self._tokenizer.decode([i for i in ids if i > TEXT_UNKNOWN]).strip()

    def sentinel(self, number: int) -> int:
        """Return the id of the sentinel ``<extra_id_N>``.

        Raises:
            ValueError: the tokenizer has no such piece.
        """
        piece = self._tokenizer.token_to_id(f"<extra_id_{number}>")
        if piece is None:
            raise ValueError(
                f"text tokenizer: expected a piece <extra_id_{number}>, found none. "
                "Remedy: pre-train with a T5 tokenizer, or skip pre-training."
            )
        return piece

    def _encode_now(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)


def train_text_tokenizer(texts: Iterable[str], num_pieces: int) -> TextTokenizer:
    """Train a lower-case unigram tokenizer (Kudo 2018), the kind that T5 uses.

    Args:
        texts: texts of the training split.
        num_pieces: maximum number of pieces. A small corpus results in fewer.
    """
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    # Line breaks separate steps, so no piece may span a line break.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="first"),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")  # pyright: ignore[reportAttributeAccessIssue]
    sentinels = [f"<extra_id_{number}>" for number in range(NUM_SENTINELS)]
    trainer = UnigramTrainer(
        vocab_size=num_pieces,
        special_tokens=[*_SPECIALS, *sentinels],
        unk_token="<unk>",  # noqa: S106 - a text piece, not a password
        show_progress=False,
        initial_alphabet=[*"abcdefghijklmnopqrstuvwxyz0123456789.,:;'[]()-\n", "▁"],
    )
    tokenizer.train_from_iterator(texts, trainer)
    return TextTokenizer(_reproducible(tokenizer.to_str(), len(_SPECIALS) + len(sentinels)))


def _reproducible(serialized: str, num_special: int) -> str:
    """Give a trained unigram tokenizer the same ids and scores in every run on the same texts.

    The trainer sums in the order of a hash map that differs between processes: scores differ in
    their last digits, and pieces of equal score, and characters that no text holds, change places.

    Args:
        serialized: content of a ``tokenizer.json``.
        num_special: pieces at its beginning that keep their ids.
    """
    content = json.loads(serialized)
    vocab = content["model"]["vocab"]
    trained = [(piece, round(score, _SCORE_DIGITS)) for piece, score in vocab[num_special:]]
    # Characters that no text holds get the lowest score of all and steps of _UNUSED_STEP above it,
    # in the order of the hash map.
    lowest = min(score for _, score in trained)
    steps = {round(lowest + n * _UNUSED_STEP, _SCORE_DIGITS) for n in range(len(trained))}
    unused = [(piece, score) for piece, score in trained if len(piece) == 1 and score in steps]
    pieces = sorted(piece for piece, _ in unused)
    scores = sorted((score for _, score in unused), reverse=True)
    ranked = dict(trained) | dict(zip(pieces, scores, strict=True))
    content["model"]["vocab"] = [
        *vocab[:num_special],
        *([piece, ranked[piece]] for piece in sorted(ranked, key=lambda p: (-ranked[p], p))),
    ]
    return json.dumps(content, ensure_ascii=False)
