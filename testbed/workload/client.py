"""Firing a schedule: open loop, on absolute times, with a row for every invocation whatever becomes of it.

Late is late: a late invocation is sent at once, the timetable is never moved, and nobody waits for an answer before
the next sending (users of a closed loop excepted, whose nature that is). Only ``env`` knows time and network, so the
same code fires in the live world and in the twin.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from testbed.roles.api import CallFailed, Client, Environment, Invocation, Outcome
from testbed.workload import files
from testbed.workload.arrivals.closed import Closed
from testbed.workload.progress import Progress
from testbed.workload.record import Recorder
from testbed.workload.schedule import Drawer, Plan, Thinking

FLUSH_S = 0.2
PROGRESS_S = 0.5


async def drive(
    role: Client, env: Environment, folder: Path, t0: float, progress: Progress | None = None
) -> None:
    """Fire the plan in ``folder`` from ``t0`` (seconds on env's clock) on; return when all has its outcome.

    Writes ``outcomes.csv`` at least every 0.2 s and ``progress.json`` every 0.5 s. A caller in the same process may
    read a ``progress`` of its own instead: then rows are written as they become many, and ``progress.json`` at the end.
    Cancelled, it records what was under way as lost and the rest as unsent before it ends.
    """
    driver = _Driver(role, env, files.read(folder), folder, t0, progress or Progress())
    if progress is None:
        env.spawn(driver.repeat(FLUSH_S, driver.flush))
        env.spawn(driver.repeat(PROGRESS_S, driver.tell))
    await driver.run()


class _Driver:
    def __init__(
        self, role: Client, env: Environment, plan: Plan, folder: Path, t0: float, progress: Progress
    ) -> None:
        self._role, self._env, self._plan, self._folder, self._t0 = role, env, plan, folder, t0
        self._timeout, self._cap, self._ends_s = plan.workload.timeout, plan.workload.in_flight, plan.workload.ends_s
        self._additions = files.Additions(folder)
        progress.scheduled = plan.count
        self._records = Recorder(folder, progress)
        self.flush = self._records.flush
        self._loop = asyncio.get_running_loop()
        self._left: Iterator[Invocation] = iter(plan.invocations)
        self._queues: dict[str, deque[Invocation]] = {}
        self._busy = 1  # what must still end: the firing itself, and all that was begun
        self._idle = asyncio.Event()
        self._over = False

    def _now(self) -> float:
        return self._env.now() - self._t0

    async def run(self) -> None:
        """Fire, and wait for what is under way."""
        why = "the client was stopped"
        try:
            for thinking in self._plan.thinking:
                self._begin_users(thinking)
            await self._fire()
            self._ended_one()
            await self._idle.wait()
            why = "the user still waited for an earlier answer when the workload ended"
        finally:
            self._settle(why)

    async def repeat(self, period: float, action: Callable[[], None]) -> None:
        """Do it every ``period`` seconds until all is over."""
        while not self._over:
            action()
            await self._env.sleep(period)

    def tell(self) -> None:
        """Write ``progress.json``."""
        self._records.progress.write(self._folder, self._now())

    def _settle(self, why: str) -> None:
        self._over = True
        self._records.lost(f"{why} before the answer came")
        for queue in self._queues.values():
            self._records.unsent(queue, why)
        self._records.unsent(self._left, f"{why} before this was due")
        self._records.flush()
        self._additions.close()
        self.tell()

    def _begin(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        self._busy += 1
        self._env.spawn(self._counted(work, *args))

    async def _counted(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        await work(*args)  # an error in it ends the agent: nobody waits for the end then
        self._ended_one()

    def _ended_one(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    async def _fire(self) -> None:
        """Hand out each invocation at its time. Sleeps also when late, so that answers are read meanwhile."""
        for invocation in self._left:
            try:
                await self._env.sleep(max(0.0, invocation.t_scheduled - self._now()))
            except asyncio.CancelledError:
                self._left = chain((invocation,), self._left)
                raise
            if invocation.user:
                self._hand_to_user(invocation)
            elif self._records.in_flight >= self._cap:
                self._records.dropped(invocation, f"{self._cap} invocations of this client were under way")
            else:
                self._busy += 1
                self._env.spawn(self._open(invocation))

    async def _open(self, invocation: Invocation) -> None:
        await self._carry(invocation)
        self._ended_one()

    async def _carry(self, invocation: Invocation) -> None:
        self._records.sent(invocation, self._now())
        outcome = await self._outcome(invocation)
        self._records.ended(invocation, outcome, self._now())

    async def _outcome(self, invocation: Invocation) -> Outcome:
        """The time-out is asyncio.timeout's by other means: that one costs thrice as much, for every invocation."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        cancelled, struck = task.cancelling(), list[bool]()
        timer = self._loop.call_at(self._loop.time() + self._timeout, _strike, task, struck)
        try:
            return await self._role.invoke(self._env, invocation, self._timeout)
        except (asyncio.CancelledError, TimeoutError) as error:
            if isinstance(error, asyncio.CancelledError) and not (struck and task.cancelling() == cancelled + 1):
                raise  # somebody else wants it to end
            return Outcome("timeout", error=f"no answer within {self._timeout:g} s")
        except CallFailed as error:
            return Outcome("timeout" if error.kind == "timeout" else "error", error=str(error))
        except Exception as error:  # noqa: BLE001 - a fault of the system's client spoils its invocation, not the others
            traceback.print_exc(file=sys.stderr)
            return Outcome("error", error=f"the client itself failed: {type(error).__name__}: {error}")
        finally:
            timer.cancel()
            if struck:
                task.uncancel()

    # Closed loops.

    def _hand_to_user(self, invocation: Invocation) -> None:
        if invocation.user not in self._queues:
            self._queues[invocation.user] = deque()
            self._begin(self._serve, invocation.user)
        self._queues[invocation.user].append(invocation)

    async def _serve(self, user: str) -> None:
        """Carry out one after the other what is due for a user, until nothing is due or the workload is over."""
        queue = self._queues[user]
        while queue and not self._over and self._now() < self._ends_s:
            await self._carry(queue.popleft())
        if not queue:
            del self._queues[user]

    def _begin_users(self, thinking: Thinking) -> None:
        assert isinstance(thinking.traffic.arrivals, Closed)
        for number, user in enumerate(thinking.traffic.arrivals.user_names(thinking.source)):
            self._begin(self._think, thinking, thinking.traffic.arrivals, number, user)

    async def _think(self, thinking: Thinking, loop: Closed, number: int, user: str) -> None:
        traffic, rng = thinking.traffic, thinking.source.rng("user", user)
        drawer = Drawer(traffic, thinking.source, thinking.functions, user)
        identifier, t = thinking.first_id + number, traffic.start + loop.draw(rng)
        end = min(traffic.stop or self._ends_s, self._ends_s)
        while t < end:
            await self._env.sleep(max(0.0, t - self._now()))
            if self._over:
                return
            invocation = Invocation(identifier, round(t, 9), self._plan.client, drawer.function(), drawer.payload(),
                                    drawer.session(), self._plan.workload.phase(t), user)
            self._additions.add(invocation)  # before it is sent: a crash leaves no outcome without its schedule
            self._records.progress.scheduled += 1
            await self._carry(invocation)
            identifier += thinking.stride
            t = self._now() + loop.draw(rng)


def _strike(task: asyncio.Task[Any], struck: list[bool]) -> None:
    struck.append(True)
    task.cancel()
