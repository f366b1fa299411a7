"""What both ends of the twin's TCP connections share: costs, constants and arithmetic with ranges of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from testbed.twin.options import TwinOptions

MSS = 1448  # bytes of payload in a full packet at an MTU of 1500 with timestamps
FIRST_WINDOW = 10  # packets (RFC 6928)
TRAIN = 10  # packets at most that are moved as one

LEAST_TIMEOUT, MOST_TIMEOUT = 0.2, 120.0  # Linux: TCP_RTO_MIN, TCP_RTO_MAX

Message = tuple[int, Callable[..., object], tuple[Any, ...]]  # where it ends, and whom to tell
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Costs:
    """Payload bytes of a full packet, header bytes of each, and the first window in packets.

    Without headers there are no acknowledgements on the wire either.
    """

    step: int
    header: float
    window: float = FIRST_WINDOW

    @classmethod
    def of(cls, options: TwinOptions) -> Costs:
        """The costs that an experiment asks for; a free message is one packet, however long, and never waits."""
        if options.messages == "free":
            return cls(1 << 60, 0.0, float(1 << 60))
        return cls(MSS, MSS * (1 / options.tcp_efficiency - 1))


def gaps(start: int, end: int, ranges: Iterable[Range]) -> Iterator[Range]:
    """What ``ranges`` (sorted, apart) leave uncovered of ``start`` to ``end``."""
    for begin, until in ranges:
        if start < min(begin, end):
            yield start, min(begin, end)
        start = max(start, until)
    if start < end:
        yield start, end


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The same bytes as sorted ranges that do not touch."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def length(ranges: Iterable[Range]) -> int:
    """How many bytes they hold."""
    return sum(end - start for start, end in ranges)
