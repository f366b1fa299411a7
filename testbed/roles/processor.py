"""The processor of a host with limits: modelled work shares it, in emulation as in the twin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

_DUST_S = 1e-9  # what rounding may leave of a piece of work


class Clock(Protocol):
    """The part of an Environment that this needs."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None: ...


class Alarm:
    """Has ``settle`` called when the next piece of work ends; ``end`` tells when that is, None if there is none."""

    def __init__(self, env: Clock, end: Callable[[], float | None], settle: Callable[[], None]) -> None:
        self._env, self._end, self._settle = env, end, settle
        self._at: float | None = None

    def set(self) -> None:
        """Look again when the next piece ends, unless one will look earlier anyhow, who then sets the next alarm."""
        end = self._end()
        if end is not None and (self._at is None or end < self._at):
            self._at = end
            self._env.spawn(self._ring(end))

    async def _ring(self, at: float) -> None:
        await self._env.sleep(max(0.0, at - self._env.now()))
        if self._at == at:  # else an earlier one was set meanwhile, which sets the next
            self._at = None
            self._settle()
            self.set()


@dataclass(slots=True, eq=False)
class _Piece:
    """``left`` seconds of work; ``done`` gets whether it was finished, at ``deadline`` (if any) in any case."""

    left: float
    deadline: float | None
    done: asyncio.Future[bool]


class Processor:
    """``cores`` cores (a part of one, or None: as many as it takes) on which all work that is under way goes on.

    Each piece of work uses one core at most; where there are more pieces than cores, each gets the same share.
    """

    def __init__(self, env: Clock, cores: float | None) -> None:
        self._env, self._cores = env, cores
        self._last = env.now()
        self._alarm = Alarm(env, self._next, self._settle)
        self._running: list[_Piece] = []

    async def work(self, seconds: float, within: float | None = None) -> bool:
        """Do so many seconds of one core's work; False if it was given up after ``within`` seconds, unfinished."""
        if self._cores is None:
            is_enough = within is None or seconds <= within
            await self._env.sleep(seconds if within is None or is_enough else within)
            return is_enough
        self._settle()
        deadline = None if within is None else self._env.now() + within
        piece = _Piece(seconds, deadline, asyncio.get_running_loop().create_future())
        self._running.append(piece)
        self._alarm.set()
        try:
            return await piece.done
        finally:
            if piece in self._running:  # whoever wanted it was cancelled
                self._settle()
                self._running = [each for each in self._running if each is not piece]
                self._alarm.set()

    def _rate(self) -> float:
        """Seconds of work that each piece is given in a second."""
        assert self._cores is not None
        return min(1.0, self._cores / len(self._running))

    def _next(self) -> float | None:
        """When the next piece ends, if nothing is begun before."""
        if not self._running:
            return None
        rate = self._rate()
        return min(_end(each, self._last, rate) for each in self._running)

    def _settle(self) -> None:
        """Go on to this moment, from end to end; tell those that have come to theirs."""
        now = self._env.now()
        while (end := self._next()) is not None and end <= now + _DUST_S:
            rate, span = self._rate(), max(0.0, end - self._last)
            for piece in self._running:
                piece.left -= span * rate
            self._last += span
            over = [each for each in self._running if _end(each, self._last, rate) <= self._last + _DUST_S]
            self._running = [each for each in self._running if each not in over]
            for piece in over:
                if not piece.done.done():
                    piece.done.set_result(piece.left <= _DUST_S)
        for piece in self._running:
            piece.left -= max(0.0, now - self._last) * self._rate()
        self._last = max(now, self._last)


def _end(piece: _Piece, now: float, rate: float) -> float:
    end = now + max(0.0, piece.left) / rate
    return end if piece.deadline is None else min(end, piece.deadline)
