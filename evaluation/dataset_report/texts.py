"""Statistics of texts whose number is not bounded, in bounded memory."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from evaluation.dataset_report.counting import counts
from evaluation.dataset_report.figures import TextFigures
from evaluation.duplicates import normalized_text

KEPT: Final = 200_000
"""Number of different texts, and of different words, that are counted one by one."""
_FREQUENT: Final = 8


@dataclass(slots=True)
class TextCounter:
    """Counts texts of one kind. Texts that differ in case and punctuation only are one."""

    kept: int = KEPT
    _texts: Counter[str] = field(default_factory=Counter[str])
    _words: Counter[str] = field(default_factory=Counter[str])
    _number: int = 0
    _total_words: int = 0
    _longest: int = 0
    _is_complete: bool = True

    def add(self, texts: Iterable[str | None]) -> None:
        """Add texts; None and texts without words are left out."""
        for text in texts:
            normal = normalized_text(text or "")
            if not normal:
                continue
            words = normal.split()
            self._number += 1
            self._total_words += len(words)
            self._longest = max(self._longest, len(words))
            self._count(self._texts, normal)
            for word in words:
                self._count(self._words, word)

    def _count(self, counter: Counter[str], value: str) -> None:
        if value in counter or len(counter) < self.kept:
            counter[value] += 1
        else:
            self._is_complete = False

    def figures(self, kind: str) -> TextFigures:
        """Return the statistics of the texts."""
        return TextFigures(
            kind=kind,
            texts=self._number,
            distinct=len(self._texts),
            words=len(self._words),
            mean_words=self._total_words / max(1, self._number),
            longest=self._longest,
            frequent=counts(self._texts, _FREQUENT),
            is_complete=self._is_complete,
        )
