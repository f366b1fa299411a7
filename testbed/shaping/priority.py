"""Being woken as promptly as this user may ask for: what stands between a relay and its packets' due times."""

from __future__ import annotations

import ctypes
import os
import struct

_PR_SET_TIMERSLACK = 29
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}  # system call numbers; the C library has no function for it
_TURN_NS = 100_000
_REVIEW_S = 0.02
_ENOUGH, _PLENTY = 0.1, 0.3  # shares of the time asleep: less loses the real-time class, more brings it back


class Precedence:
    """Exact timers and precedence over other processes, as far as this user gets them; ``granted`` says what that is.

    Root gets a real-time class: beside four busy programs on two cores, the last 1 % of packets left 0.1 to 0.3 ms late
    and more, with ``nice -20`` instead 0.9 to 2.8 ms. The process loses that class while it hardly sleeps: a relay with
    more to do than it can would starve the agents whose packets it carries, and the relays of other runs, which then
    lost 7 packets in 10 (turns by SCHED_RR are no help: they last 100 ms). With ``nice -20`` it keeps most of a
    processor, and a calm relay beside it loses nothing.

    An ordinary user gets short turns (Linux 6.12 and later), which a scheduler by virtual deadlines (EEVDF) rewards
    with an earlier start, at the same share of the processor as everybody.
    """

    def __init__(self, now: float) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # nanoseconds; 50,000 by default
        self.rested_s = 0.0
        """How long the process has slept: to be added to by whoever lets it sleep."""
        self._next, self._rested_before = now + _REVIEW_S, 0.0
        self._real_time = False
        self.granted = self._ask()

    def review(self, now: float) -> None:
        """Take or give back the real-time class by how much the process slept of late; cheap, for each turn."""
        if now >= self._next:
            span = now - self._next + _REVIEW_S
            rest = (self.rested_s - self._rested_before) / span
            self._next, self._rested_before = now + _REVIEW_S, self.rested_s
            if self._may_change and self._real_time != (rest > (_ENOUGH if self._real_time else _PLENTY)):
                self._switch(not self._real_time)

    def _ask(self) -> str:
        self._may_change = False
        try:
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        except PermissionError:
            return "normal, short turns" if _short_turns() else "normal"
        try:
            self._switch(True)
        except PermissionError:
            return "nice -20"
        self._may_change = True
        return "SCHED_FIFO 1, nice -20 while overloaded"

    def _switch(self, real_time: bool) -> None:
        policy = (os.SCHED_FIFO, os.sched_param(1)) if real_time else (os.SCHED_OTHER, os.sched_param(0))
        os.sched_setscheduler(0, *policy)
        self._real_time = real_time


def _short_turns() -> bool:
    number = _SCHED_SETATTR.get(os.uname().machine)
    if number is None or tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 12):
        return False
    size = struct.calcsize("=IIQiIQQQ")
    attributes = struct.pack("=IIQiIQQQ", size, os.SCHED_OTHER, 0, 0, 0, _TURN_NS, 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0)
