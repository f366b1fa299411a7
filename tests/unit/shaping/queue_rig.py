"""What the tests of the queue share."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random

from testbed.shaping.queue import Direction, Treatment

FRAME = 1250  # bytes: 10,000 bits, which take 1 ms at 10 Mbit/s


def direction(rng: int = 1, **shape: object) -> Direction[int]:
    return Direction(replace(Treatment(), **shape), Random(rng))  # type: ignore[arg-type]


def delivered(way: Direction[int], until: float = inf) -> list[tuple[float, int]]:
    """All that comes out, each packet with the time for which it was due, asked for in small steps."""
    found = []
    while way.next_due <= until and not way.finished:
        found += way.due(way.next_due)
    return found
