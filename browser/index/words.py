"""Words of the entries: in alphabetical order, each with the numbers of the entries that have it.

Words with a prefix are consecutive, and so are their entries, so that a search reads one range of
the file. An object that an entry has is a word as well, after a mark that no word has.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from scipy import sparse

from browser.index.files import Array, Sorted, compute, map_array, write_array

OBJECT: Final = "|"
"""Before the name of an object."""
_BETWEEN: Final = r"[^\pL\pN]+"
"""What separates words."""


class WordsBuilder:
    """Collects the words of entries. In memory are the distinct words, and one batch of entries.

    Args:
        folder: folder of the parts, which must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._words: list[pa.Array] = []
        self._firsts: list[int] = [0]

    def add(self, texts: pa.Array, objects: pa.Array) -> None:
        """Add a batch of entries.

        Args:
            texts: text of each entry, or null.
            objects: lists of names of objects of each entry.
        """
        words = compute.split_pattern_regex(
            compute.utf8_lower(compute.fill_null(texts, "")), _BETWEEN
        )
        names = compute.binary_join_element_wise(OBJECT, objects.flatten(), "")
        encoded = pa.concat_arrays([words.flatten(), names]).dictionary_encode()
        entries = np.concatenate(
            [compute.list_parent_indices(lists).to_numpy() for lists in (words, objects)]
        )
        shape = (len(encoded.dictionary), len(texts))
        found = np.ones(len(entries), bool)
        # A sparse matrix of words and entries sorts by word, and drops repetitions.
        pairs = sparse.coo_array((found, (encoded.indices.to_numpy(), entries)), shape).tocsr()
        # Separators at the ends of a text have an empty word before or after them.
        kept = compute.not_equal(encoded.dictionary, "")
        pairs = pairs[np.flatnonzero(kept.to_numpy(zero_copy_only=False))]
        part = self._folder / f"{len(self._words)}.npz"
        np.savez(part, ends=pairs.indptr, entries=pairs.indices)
        self._words.append(encoded.dictionary.filter(kept))
        self._firsts.append(self._firsts[-1] + len(texts))

    def write(self, index: Path) -> None:
        """Write all words with their entries into the folder of the index."""
        every = pa.chunked_array(self._words, pa.string()).dictionary_encode().unify_dictionaries()
        dictionary = every.chunk(0).dictionary if every.num_chunks else pa.array([], pa.string())
        order = compute.sort_indices(dictionary).to_numpy()
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        numbers = [rank[chunk.indices.to_numpy()] for chunk in every.chunks]
        counts = np.zeros(len(order), np.int64)
        for part, words in enumerate(numbers):
            counts[words] += np.diff(self._part(part)[0])
        starts = np.concatenate([[0], np.cumsum(counts)])
        Sorted.write(index / "words.arrow", dictionary)
        write_array(index / "word_starts.npy", starts)
        path = index / "word_entries.npy"
        shape = (max(int(starts[-1]), 1),)
        filled = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint32, shape=shape)
        places = starts[:-1].copy()
        for part, words in enumerate(numbers):
            ends, entries = self._part(part)
            lengths = np.diff(ends)
            shifts = np.repeat(places[words] - ends[:-1], lengths)
            filled[shifts + np.arange(len(entries))] = entries + self._firsts[part]
            places[words] += lengths
        filled.flush()

    def _part(self, number: int) -> tuple[Array, Array]:
        with np.load(self._folder / f"{number}.npz") as part:
            return part["ends"], part["entries"]


class Words:
    """The words of an index.

    Args:
        index: folder of the index.
    """

    def __init__(self, index: Path) -> None:
        self._words = Sorted(index / "words.arrow")
        self._starts = map_array(index / "word_starts.npy")
        self._entries = map_array(index / "word_entries.npy")

    def starting_with(self, prefix: str) -> Array:
        """Return the entries with a word that starts with a prefix; some may be repeated."""
        return self._range(*self._words.prefixed(prefix))

    def with_object(self, name: str) -> Array:
        """Return the entries with an object."""
        return self._range(*self._words.find(OBJECT + name))

    def objects(self) -> dict[str, int]:
        """Return the names of all objects with the number of entries that have them."""
        first, last = self._words.prefixed(OBJECT)
        names = [word.removeprefix(OBJECT) for word in self._words.keys(first, last)]
        counts = np.diff(self._starts[first : last + 1].astype(np.int64)).tolist()
        return dict(zip(names, counts, strict=True))

    def _range(self, first: int, last: int) -> Array:
        return self._entries[int(self._starts[first]) : int(self._starts[last])]
