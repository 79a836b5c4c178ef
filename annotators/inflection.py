"""Forms of English verbs, from lemminflect's dictionary (NIH's SPECIALIST lexicon).

Rules of our own wrote "steping", and did not know that "brings" is "bring"; the libraries that were
compared are in ``docs/benchmarks.md``. The first call loads the dictionary: 0.2 s and 18 MB for
inflection, 0.2 s and 33 MB for lemmas.
"""

from functools import lru_cache

import lemminflect


@lru_cache(maxsize=1000)
def third_person(verb: str) -> str:
    """``raise`` → ``raises``."""
    return _inflected(verb, "VBZ")


@lru_cache(maxsize=1000)
def participle(verb: str) -> str:
    """``raise`` → ``raising``."""
    return _inflected(verb, "VBG")


@lru_cache(maxsize=20_000)
def verb_lemma(word: str) -> str:
    """``raised`` → ``raise``; a word that is no form of a known verb stays as it is."""
    # Without the library's guesses: they make verbs of misspelled words.
    lemmas = lemminflect.getLemma(word, "VERB", lemmatize_oov=False)
    return lemmas[0] if lemmas else word


def _inflected(verb: str, tag: str) -> str:
    return next(iter(lemminflect.getInflection(verb, tag)))
