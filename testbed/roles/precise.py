"""An event loop that wakes up to the tenth of a millisecond.

asyncio waits in epoll, which counts in whole milliseconds and is rounded up: half a millisecond late at the median.
select() takes microseconds and can wait for the epoll descriptor itself, so it does the waiting and epoll the finding.
"""

from __future__ import annotations

import asyncio
import ctypes
import select
import selectors

_PR_SET_TIMERSLACK = 29  # linux/prctl.h
_FD_SETSIZE = 1024


class PreciseSelector(selectors.EpollSelector):
    """An epoll selector whose time-outs are not rounded; one more system call for each wait that has a time-out.

    Making one also takes the timer slack (50 µs by default) of the calling thread away.
    """

    def __init__(self) -> None:
        super().__init__()
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        self._can_wait = self.fileno() < _FD_SETSIZE  # select() knows no higher descriptors: plain epoll then

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until something is ready or ``timeout`` seconds are over."""
        if timeout is not None and timeout > 0 and self._can_wait:
            if not select.select((self.fileno(),), (), (), timeout)[0]:
                return []
            timeout = 0
        return super().select(timeout)


def precise_loop() -> asyncio.SelectorEventLoop:
    """A new event loop with exact time-outs, for ``asyncio.Runner(loop_factory=precise_loop)``."""
    return asyncio.SelectorEventLoop(PreciseSelector())
