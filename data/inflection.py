"""Forms of English verbs and nouns, from the dictionary of lemminflect (NIH's SPECIALIST lexicon).

Earlier rules of this project produced "steping" and did not map "brings" to "bring". The compared
libraries are in ``docs/benchmarks.md``. The first call imports the library, which takes a second
because it imports spaCy, and loads the dictionary: 0.2 s and 18 MB for inflection, 0.2 s and 33 MB
for lemmas.
"""

from functools import lru_cache
from types import ModuleType

from data.spacy_import import import_spacy


@lru_cache(maxsize=1000)
def third_person(verb: str) -> str:
    """Return the third person singular: ``raise`` → ``raises``."""
    return _inflected(verb, "VBZ")


@lru_cache(maxsize=1000)
def participle(verb: str) -> str:
    """Return the present participle: ``raise`` → ``raising``."""
    return _inflected(verb, "VBG")


@lru_cache(maxsize=20_000)
def verb_lemma(word: str) -> str:
    """Return the base form: ``raised`` → ``raise``. Unknown words are unchanged."""
    # Lemmas of unknown words are disabled, because they turn misspelled words into verbs.
    lemmas = _lemminflect().getLemma(word, "VERB", lemmatize_oov=False)
    return lemmas[0] if lemmas else word


@lru_cache(maxsize=20_000)
def noun_lemma(word: str) -> str:
    """Return the singular: ``feet`` → ``foot``. Unknown words are unchanged."""
    lemmas = _lemminflect().getLemma(word, "NOUN", lemmatize_oov=False)
    return lemmas[0] if lemmas else word


@lru_cache(maxsize=1000)
def plural(noun: str) -> str:
    """Return the plural: ``bench`` → ``benches``. Of several words the last is changed."""
    before, space, last = noun.rpartition(" ")
    return f"{before}{space}{_inflected(last, 'NNS')}"


@lru_cache(maxsize=10_000)
def classes_of(word: str) -> dict[str, str]:
    """Return the base form of a word by class, e.g. of ``walks`` under ``NOUN`` and ``VERB``."""
    return {name: forms[0] for name, forms in _lemminflect().getAllLemmas(word).items()}


def _lemminflect() -> ModuleType:
    # Imported here, because it imports spaCy and most processes inflect no word.
    import_spacy()
    import lemminflect  # noqa: PLC0415

    return lemminflect


def _inflected(word: str, tag: str) -> str:
    return next(iter(_lemminflect().getInflection(word, tag)))
