"""The readable timeline of one run: what happened when, in words, with nodes instead of addresses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, NamedTuple

from testbed.tables import Row

Weight = Literal["news", "row", "detail"]
SHOWN = 40  # lines on the terminal
COMMON = 20  # rows that are alike up to their numbers: more are the daily round, which is no news
LONGEST = 60  # characters of one value


class _Line(NamedTuple):
    t: float
    weight: Weight
    parts: tuple[object, ...]


class Timeline:
    """Lines in the order of events; words are made of them only when somebody reads. ``start``: where time begins."""

    def __init__(self, nodes: Mapping[str, str]) -> None:
        self.start = 0.0
        self._lines: list[_Line] = []
        self._nodes = nodes
        every = "|".join(re.escape(address) for address in sorted(nodes, key=len, reverse=True))
        self._addresses = re.compile(rf"\[?(?<![\w.:])({every})(?![\w.])\]?")

    def add(self, now: float, *parts: object, weight: Weight = "news") -> None:
        """At the time ``now`` of the run this happened; ``parts``, which must not change afterwards, make a sentence.

        Details stand in the file only, rows of tables on the terminal as well unless there are many alike.
        """
        self._lines.append(_Line(now, weight, parts))

    def text(self) -> str:
        """All of it."""
        return "".join(f"{self._said(line)}\n" for line in self._lines)

    def tail(self, count: int = SHOWN) -> str:
        """The last lines that matter to most readers."""
        rows = {number: _kind(line) for number, line in enumerate(self._lines) if line.weight == "row"}
        often = Counter(rows.values())
        lines = [line for number, line in enumerate(self._lines)
                 if line.weight == "news" or (number in rows and often[rows[number]] <= COMMON)]  # fmt: skip
        return "".join(f"{self._said(line)}\n" for line in lines[-count:])

    def named(self, text: str) -> str:
        """``text`` with nodes in the place of their addresses."""
        return self._addresses.sub(lambda found: self._nodes[found[1]], text) if self._nodes else text

    def _said(self, line: _Line) -> str:
        words = " ".join(part if isinstance(part, str) else shown(part) for part in line.parts)
        return f"{line.t - self.start:10.4f} s  {self.named(' '.join(words.split()))}"


def _kind(line: _Line) -> str:
    return re.sub(r"[\d.]+", "", " ".join(map(str, line.parts)))


def shown(value: Any) -> str:
    """A value in short: messages by their fields that say something."""
    if is_dataclass(value) and not isinstance(value, type):
        said = [(each.name, getattr(value, each.name)) for each in fields(value)]
        inside = ", ".join(f"{name} {shown(part)}" for name, part in said if part not in ("", None, (), {}, 0, False))
        return f"{type(value).__name__}({inside})"
    text = value if isinstance(value, str) else repr(value) if not isinstance(value, float) else f"{value:.6g}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def row_shown(row: Row) -> str:
    """A row of a table, without the columns that the line has anyway."""
    return ", ".join(f"{name} {shown(value)}" for name, value in row.items() if name not in ("t", "node"))
