"""Which functions of a trace are replayed, and what they are called.

A function of a trace is known by its ``Key``: all its identifiers, from the outermost (owner, app, function, or app,
function), since a function's own identifier may occur in several apps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from testbed import seeds

Key = tuple[str, ...]
How = Literal["sample", "busiest", "spread"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Whole apps are thinned out to the share ``keep``, then ``number`` functions (None: all) are taken."""

    keep: float
    number: int | None
    how: How
    seed: int

    def of(self, calls: Mapping[Key, int]) -> list[Key]:
        """The keys that are chosen of those with calls, sorted; fewer than ``number`` if there are not as many.

        The order of ``calls`` does not matter.
        """
        kept = sorted(key for key, count in calls.items() if count and self._keeps(key))
        if self.number is None or self.number >= len(kept):
            return kept
        if self.how == "sample":
            return sorted(sorted(kept, key=lambda key: self._place("function", key))[: self.number])
        ranked = sorted(kept, key=lambda key: (-calls[key], key))
        if self.how == "busiest":
            return sorted(ranked[: self.number])
        # The middle of each of `number` equal parts of the ranking.
        return sorted(ranked[(2 * part + 1) * len(ranked) // (2 * self.number)] for part in range(self.number))

    def _keeps(self, key: Key) -> bool:
        return self.keep >= 1 or self._place("app", key[:-1]) < self.keep

    def _place(self, what: str, key: Key) -> float:
        """Where a hash puts ``key`` between 0 and 1: what a share keeps, a larger one keeps too."""
        return seeds.stream(self.seed, "trace", what, *key).random()


def names(prefix: str, keys: Sequence[Key]) -> dict[Key, str]:
    """A name for each key: ``prefix-APP-FUNCTION`` with the first six characters of both, or more where needed."""
    for length in (6, 12):
        short = {key: "-".join([prefix, *(part[:length] for part in key[-2:])]) for key in keys}
        if len(set(short.values())) == len(short):
            return short
    return {key: "-".join([prefix, *key]) for key in keys}
