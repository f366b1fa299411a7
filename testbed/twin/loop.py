"""The event loop of the twin: virtual time passes only while everybody waits.

Two queues: what is ready at this instant, in a deque, and timers, in a heap of (time, sequence number, ...). Equal
times fire in the order of their scheduling, and whatever a timer makes ready has run before the next one fires. There
is no selector, no thread and no wall clock, so equal programs give equal histories everywhere.

asyncio's own tasks, futures, time-outs, locks and queues work here. Two short cuts are this loop's own:
:meth:`VirtualLoop.at`, a timer that cannot be cancelled, and :meth:`VirtualLoop.sleep`, which costs one future.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar
from weakref import WeakValueDictionary

from testbed.twin.handles import Handle, Task, whereabouts
from testbed.twin.running import running

if TYPE_CHECKING:  # to a type checker, what a loop without sockets leaves out would make the class abstract
    from asyncio import BaseEventLoop as _Loop
else:
    from asyncio import AbstractEventLoop as _Loop

T = TypeVar("T")
Entry = tuple[float, int, Any, Any]  # (time, sequence number, callback, arguments); see VirtualLoop._drive

MOST_ROUNDS = 1_000_000  # of callbacks at one instant: more is taken for a program that waits without letting time pass
LAST = sys.float_info.max  # no timer at infinity ever fires
FEW_TIMERS = 1024  # a heap of so many is never swept for cancelled ones
_WAKE = object()  # in the place of a timer's arguments: its callback is a future to be resolved


class Stalled(RuntimeError):
    """Nothing will ever happen any more, or time no longer passes; says who waits, and where."""


class VirtualLoop(_Loop):
    """An asyncio event loop in virtual time; ``now`` is the time in seconds.

    ``errors`` collects what callbacks and forgotten tasks raised; :meth:`run` raises the first of them when it ends.
    ``task_made`` is called with every new task and the context given for it, before it runs (asyncio may give it its
    name after that).
    """

    # Futures and tasks ask for this when they are made; a C callable that answers False is the cheapest to ask.
    get_debug: ClassVar[Callable[..., bool]] = bool

    def __init__(self, start: float = 0.0) -> None:
        self.now = start
        self.errors: list[BaseException] = []
        self.task_made: Callable[[asyncio.Task[Any], Context | None], None] | None = None
        self._ready: deque[Handle] = deque()
        self.timers: list[Entry] = []
        self._sweep_at = FEW_TIMERS
        self.number = count().__next__  # of timers and tasks: one sequence
        self._generators: WeakValueDictionary[int, AsyncGenerator[Any, Any]] = WeakValueDictionary()
        self._closed = self._done = False

    # What is due at which time.

    def time(self) -> float:
        """Virtual seconds."""
        return self.now

    def call_soon(  # type: ignore[override]  # our handles are lighter than asyncio's
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Run ``callback`` at this instant, after everything that is ready already."""
        handle = Handle(callback, args, copy_context() if context is None else context, self.now)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no other threads

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Run ``callback`` at the virtual time ``when``, or at this instant if that has passed."""
        handle = Handle(callback, args, copy_context() if context is None else context, when)
        if len(self.timers) > self._sweep_at:
            self._sweep()
        heappush(self.timers, (max(when, self.now), self.number(), handle, None))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Run ``callback`` after ``delay`` virtual seconds."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` at the virtual time ``when``: no handle, no cancelling, no particular context."""
        now = self.now
        heappush(self.timers, (when if when > now else now, self.number(), callback, args))

    def at_place(self, when: float, number: int, callback: Callable[..., object], *args: Any) -> None:
        """As :meth:`at`, in the place among equal times that ``number`` was drawn for from ``self.number()`` before."""
        heappush(self.timers, (max(when, self.now), number, callback, args))

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Await this to let ``seconds`` pass; 0: until everything that is ready at this instant has run."""
        future: asyncio.Future[None] = asyncio.Future(loop=self)
        now = self.now
        when = now + seconds
        heappush(self.timers, (when if when > now else now, self.number(), future, _WAKE))
        return future

    # Futures and tasks.

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """Start ``coro`` beside the others at this instant; tasks without a name are numbered in each loop anew."""
        task = Task(self.number(), coro, self, name, context)
        if self.task_made is not None:
            self.task_made(task, context)
        return task

    def pending(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended, in the order of their making."""
        return sorted(asyncio.all_tasks(self), key=lambda task: getattr(task, "number", inf))

    # Running.

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until ``main`` has ended, then cancel what is left, at that instant; gives what ``main`` returned.

        Raises what ``main`` raised; Stalled if nothing will ever happen any more; and, before all of these, the first
        error that a callback or a forgotten task raised.
        """
        with self._as_running():
            task = self.create_task(main, name="main")
            task.add_done_callback(self._stop)
            try:
                self._drive(inf)
                if not task.done():
                    self._stall()
                return task.result()
            finally:
                self._end(task)
                if self.errors:
                    raise self.errors[0]

    def run_until(self, when: float) -> None:
        """Let everything happen up to and including the virtual time ``when``, which it is then."""
        with self._as_running():
            self._drive(when)
            self.now = max(self.now, when)
        if self.errors:
            raise self.errors[0]

    def _stop(self, _: object) -> None:
        self._done = True

    def _drive(self, until: float) -> None:
        """Fire timers in their order, and after each what it made ready, until :meth:`_stop` or nothing is due."""
        timers, ready, drain, next_one = self.timers, self._ready, self._drain, self._ready.popleft
        self._done = False
        drain()
        last = min(until, LAST)
        while timers and not self._done:
            when, number, callback, args = heappop(timers)
            if when > self.now:
                if when > last:
                    heappush(timers, (when, number, callback, args))
                    return
                self.now = when
            try:
                if args is _WAKE:
                    if not callback.done():
                        callback.set_result(None)
                elif args is None:
                    ready.append(callback)
                else:
                    callback(*args)
                if ready:  # most timers wake one task, for which this is quicker than to drain
                    handle = next_one()
                    callback = handle._callback
                    if callback is not None:
                        handle._context.run(callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - kept, and raised at the end of the run
                self.errors.append(error)
            if ready:
                drain()
                if len(timers) > self._sweep_at:
                    self._sweep()

    def _drain(self) -> None:
        """Run what is ready at this instant until nothing is."""
        ready, next_one, rounds = self._ready, self._ready.popleft, 0
        while ready:
            try:
                for _ in range(len(ready)):
                    handle = next_one()
                    callback = handle._callback
                    if callback is not None:
                        handle._context.run(callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - kept, and raised at the end of the run
                self.errors.append(error)
            rounds += 1
            if rounds > MOST_ROUNDS:
                raise Stalled(
                    f"Time stands still at {self.now:.6g} s of virtual time: {MOST_ROUNDS:,} rounds of callbacks at "
                    f"this one instant, now {ready[0]}. Wait with a sleep longer than 0."
                )

    def _sweep(self) -> None:
        """Drop cancelled timers, so that time-outs which never strike do not pile up."""
        timers = self.timers
        timers[:] = [each for each in timers if each[3] not in (_WAKE, None) or not each[2].cancelled()]
        heapify(timers)
        self._sweep_at = max(FEW_TIMERS, 2 * len(timers))

    def _stall(self) -> NoReturn:
        waiting = [whereabouts(task) for task in self.pending()]
        more = f" and {len(waiting) - 5} more" if len(waiting) > 5 else ""
        raise Stalled(
            f"At {self.now:.6g} s of virtual time, nothing will ever happen any more: no timer is set, and these wait "
            f"for each other or for nobody: {'; '.join(waiting[:5])}{more}."
        )

    def _end(self, main: asyncio.Task[Any]) -> None:
        """Cancel what is left, in the order of creation, and let it clean up without time passing."""
        left = self.pending()
        for task in left:
            task.cancel()
        for generator in list(self._generators.values()):
            self.create_task(generator.aclose())
        self._drain()
        for task in left:
            if not task.done():
                self.errors.append(
                    RuntimeError(f"At the end of the run, a task waits on although cancelled: {whereabouts(task)}")
                )
            elif task is not main and not task.cancelled() and (error := task.exception()):
                self.errors.append(error)
        self.timers.clear()
        gc.collect(1)  # a task that failed unheard says so when it is collected

    @contextmanager
    def _as_running(self) -> Iterator[None]:
        if self._closed:
            raise RuntimeError("This virtual loop is closed.")
        with running(self, self._generator_begins, self._generator_forgotten):
            yield

    def is_running(self) -> bool:
        """Whether :meth:`run` or :meth:`run_until` is under way."""
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Forget everything that was still to come."""
        self._closed = True
        self._ready.clear()
        self.timers.clear()

    # Errors.

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep the error of a callback or of a task that nobody awaited."""
        error = context.get("exception")
        self.errors.append(error if error is not None else RuntimeError(str(context.get("message"))))

    # Asynchronous generators: closed at the end in the order of their beginning.

    def _generator_begins(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators[self.number()] = generator

    def _generator_forgotten(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self._closed:
            self.create_task(generator.aclose())

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> NoReturn:
        """Refuse: no threads here, for their timing is nobody's to repeat."""
        raise RuntimeError(f"The twin has no threads: {func!r} cannot run beside the event loop; call it directly.")
