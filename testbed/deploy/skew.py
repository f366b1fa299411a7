"""How wrong the calendar of a host is, for its agents to read; stands alone, for machines reached by SSH.

    python3 skew.py BY DRIFT FILE...

Linux gives no process a time of day of its own, so agents add to the machine's what the file ``calendar`` of their
folder says, which they have mapped into their memory: reading it costs no system call, and what is written is read at
once. The file holds doubles: which of two pairs holds, and the pairs, so that a new one takes the place of the old one
in a single step. A pair is what to add, and what to add for each second of the machine's monotonic clock.
"""

import mmap
import os
import sys
import time
from collections.abc import Callable

NAME = "calendar"
BLANK = "\0" * 40
"""What the file holds at first: all doubles are 0."""


class Calendar:
    """Call it for the seconds since 1970 by the calendar of which ``file`` is told."""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self._cells = mapped(file, mmap.ACCESS_READ)

    def __call__(self) -> float:
        cells = self._cells
        pair = 3 if cells[0] else 1
        return time.time() + cells[pair] + cells[pair + 1] * time.monotonic()


def calendar_of(folder: str | os.PathLike[str]) -> Callable[[], float]:
    """The calendar of the agent in ``folder``: the machine's own where nobody will put it wrong."""
    file = os.path.join(folder, NAME)  # noqa: PTH118 - pathlib would double the time that this script takes
    return Calendar(file) if os.path.exists(file) else time.time  # noqa: PTH110


def put(files: list[str], by: float, drift: float) -> None:
    """From now on the calendars are ``by`` seconds ahead and gain ``drift`` seconds in each."""
    now = time.monotonic()
    for file in files:
        cells = mapped(file, mmap.ACCESS_WRITE)
        turn = 0.0 if cells[0] else 1.0
        pair = 3 if turn else 1
        cells[pair], cells[pair + 1] = by - drift * now, drift
        cells[0] = turn  # in one step


def mapped(file: str | os.PathLike[str], access: int) -> "memoryview[float]":
    """The doubles of a file, shared with all who map it; raises OSError."""
    descriptor = os.open(file, os.O_RDONLY if access == mmap.ACCESS_READ else os.O_RDWR)
    try:
        return memoryview(mmap.mmap(descriptor, 0, access=access)).cast("d")
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    put(sys.argv[3:], float(sys.argv[1]), float(sys.argv[2]))
