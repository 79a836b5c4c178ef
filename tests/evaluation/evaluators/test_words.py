"""Captions become the words and classes that the published evaluator reads."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.evaluators.words import (
    MAX_WORDS,
    WORD_CLASSES,
    WORD_WIDTH,
    Vocabulary,
    learned_words,
    read_word_vectors,
    tag_captions,
)

_WORDS = ["unk", "sos", "eos", "a", "person", "wave", "with", "the", "left", "hand", "slowly"]


def test_a_caption_is_read_as_published() -> None:
    # The tokens of HumanML3D's own text files for such a caption: a/DET person/NOUN slowly/ADV
    # wave/VERB with/ADP the/DET left/ADJ hand/NOUN.
    (words,) = tag_captions(["A person slowly waves with the left-hand side, and sits."])
    texts = [word.text for word in words]
    assert texts[:4] == ["a", "person", "slowly", "wave"]
    assert texts[-1] == "sit"
    # A hyphen joins words, as published.
    assert "lefthand" in texts
    indices, classes = Vocabulary(_WORDS).encode(
        tag_captions(["a person slowly waves with the left hand zzyzx"])[0]
    )
    assert [_WORDS[index] for index in indices] == [
        *("sos", "a", "person", "slowly", "wave", "with", "the", "left", "hand", "unk", "eos")
    ]
    assert [WORD_CLASSES[index] for index in classes] == [
        *("OTHER", "DET", "NOUN", "Desc_VIP", "VERB", "ADP", "DET", "Loc_VIP", "Body_VIP"),
        *("OTHER", "OTHER"),
    ]


def test_long_captions_are_cut_to_twenty_words() -> None:
    (words,) = tag_captions([" ".join(["a person waves"] * 12)])
    indices, classes = Vocabulary(_WORDS).encode(words)
    assert len(indices) == len(classes) == MAX_WORDS
    assert _WORDS[indices[0]] == "sos"
    assert _WORDS[indices[-1]] != "eos"


def test_a_caption_without_words_is_named() -> None:
    with pytest.raises(ValueError, match=r"caption: expected a text with words, found '\.\.\.'"):
        tag_captions(["a person walks", "..."])


def test_a_vocabulary_is_learned_from_captions() -> None:
    words = learned_words(tag_captions(["a person walks", "a person is walking"]))
    assert words[:3] == ["unk", "sos", "eos"]
    assert {"a", "person", "walk"} <= set(words[3:])
    assert words[3:] == sorted(set(words[3:]))
    with pytest.raises(ValueError, match="found no sos, eos"):
        Vocabulary(["unk", "a"])


def test_word_vectors_are_read_from_text_and_npz(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(5, WORD_WIDTH)).astype(np.float32)
    words = ["the", "walk", "unk", "sos", "eos"]
    text, archive = tmp_path / "glove.txt", tmp_path / "glove.npz"
    lines = [
        f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, vectors, strict=True)
    ]
    text.write_text("".join(lines), encoding="utf-8")
    np.savez(archive, allow_pickle=False, words=np.array(words), vectors=vectors)
    for path in (text, archive):
        found = read_word_vectors(path)
        assert found.words == tuple(words)
        np.testing.assert_allclose(found.vectors_NW, vectors, rtol=1e-6)
    # The special words are found behind the limit, too.
    found = read_word_vectors(text, limit=1)
    assert found.words == ("the", "unk", "sos", "eos")
    np.testing.assert_allclose(found.vectors_NW, vectors[[0, 2, 3, 4]], rtol=1e-6)


def test_pickled_word_vectors_are_refused_with_the_way_to_convert_them(tmp_path: Path) -> None:
    path = tmp_path / "words.npz"
    np.savez(
        path, allow_pickle=True, words=np.array(["a", None], object), vectors=np.zeros((2, 300))
    )
    with pytest.raises(ValueError, match="Remedy: convert pickled vectors"):
        read_word_vectors(path)
    (tmp_path / "short.txt").write_text("the 1 2 3\n")
    with pytest.raises(ValueError, match="3 numbers in line 1"):
        read_word_vectors(tmp_path / "short.txt")
