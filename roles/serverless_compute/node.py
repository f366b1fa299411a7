"""A compute node: copies and loads images, keeps containers, runs code, as the head orders.

What was ordered in a membership ends with it: copies leave nothing behind, and containers go with the code in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, ClassVar

from roles.serverless_compute import messages
from roles.serverless_compute.announcing import Announcer
from roles.serverless_compute.datasets import CONTAINERS
from roles.serverless_compute.ends import ended, too_long
from roles.serverless_compute.messages import Began, Done, Ended, Order
from roles.serverless_compute.options import NodeOptions
from roles.serverless_compute.turns import Stranger, Turns, for_members
from testbed.roles.api import (
    CallFailed,
    Container,
    ContainerFailed,
    Environment,
    Files,
    Function,
    Parameters,
    Role,
    Site,
)
from testbed.roles.modelled import service_s
from testbed.roles.processor import Processor
from testbed.tables import Row

ENDED = "its container was ended"


class Node(Role):
    """``epoch`` is the head's name for the membership in force, empty before the first."""

    parameters_model: ClassVar[type[Parameters]] = NodeOptions
    env: Environment
    files: Files
    _processor: Processor

    def __init__(self, site: Site, parameters: NodeOptions) -> None:
        super().__init__(site, parameters)
        memory = site.memory_bytes if parameters.memory is None else site.memory_of(parameters.memory)
        self.options = parameters.model_copy(update={"memory": memory})
        self.endpoint = site.endpoint(site.node, parameters.port)
        self.slots = parameters.slots or max(1, sum(each.concurrency for each in site.functions.values()))
        self.containers: dict[int, Container] = {}  # those of real functions
        self.modelled: dict[int, asyncio.Task[Any] | None] = {}  # those of the others, and the calls in them
        self.began: dict[int, float] = {}  # invocations whose code runs
        self.copying: list[str] = []  # images
        self._turns = Turns()
        self._moving: dict[asyncio.Task[Any], None] = {}  # copies and loads
        self._starting: set[tuple[str, int]] = set()  # membership and container
        self._doomed: set[tuple[str, int]] = set()

    async def start(self, env: Environment) -> None:
        """Serve, then announce; the head counts on this node when this returns."""
        self.env = env
        self._processor = Processor(env, self.site.cores)
        self.files = env.files("images", self.options.disk_read, self.options.disk_write)
        await env.serve(
            self.options.port,
            {
                messages.TIDY: for_members(self.tidy, Done),
                messages.COPY: for_members(self.copy, Done),
                messages.LOAD: for_members(self.load, Done),
                messages.KEEP: for_members(self.keep, Done),
                messages.RUN: for_members(self.run, Ended),
                messages.ASK: self.ask,
            },
        )
        await Announcer(env, self.site, self.options, self).start()

    # ---- membership and order

    @property
    def epoch(self) -> str:
        """The head's name for the membership in force, empty before the first."""
        return self._turns.epoch

    def joined(self, epoch: str) -> None:
        """A new membership begins, with an empty machine: what was ordered in the one before is given up."""
        turns, self._turns = self._turns, Turns(epoch)
        turns.end()
        for container in (*self.containers, *self.modelled):
            self._end(container)
        self._doomed |= self._starting
        for task in tuple(self._moving):
            task.cancel()
        for name in self.files.sizes():
            self.files.remove(name)
        self.began = {}

    def is_behind(self, number: int) -> bool:
        """Whether orders before this number are still to be begun, or under way."""
        return self._turns.is_behind(number)

    async def _begin(self, order: Order) -> Turns | None:
        """Wait for this order's turn and make the room that it asks for; None if it was begun before.

        Raises Stranger for an order of another membership.
        """
        turns = self._turns
        if order.epoch != turns.epoch or not await turns.begin(order.number):
            self._refuse_others(order)
            return None
        self._refuse_others(order)
        for what, name in order.room:
            self._make_room(what, name)
        return turns

    def _refuse_others(self, order: Order) -> None:
        if order.epoch != self.epoch:
            raise Stranger(f"{self.site.node} is not in the membership {order.epoch!r}")

    def _make_room(self, what: str, name: str | int) -> None:
        if what == "end":
            self._end(int(name))
        elif what == "remove":
            self.files.remove(str(name))
        # "unload": what is in memory is known to the head alone

    # ---- images

    async def tidy(self, order: messages.Tidy) -> Done:
        """Make room."""
        turns = await self._begin(order)
        if turns is not None:
            turns.over(order.number)
        return Done()

    async def keep(self, order: messages.Keep) -> Done:
        """Have an image on disk."""
        turns = await self._begin(order)
        if turns is not None:
            self.files.create(order.image, order.size_bytes)
            turns.over(order.number)
        return Done()

    async def copy(self, order: messages.Copy) -> Done:
        """Copy an image from the head."""
        turns = await self._begin(order)
        if turns is None:
            return Done()
        self.copying.append(order.image)
        try:
            return await self._moved(turns, order, self.files.fetch(order.source, order.image, order.patience_s))
        finally:
            self.copying.remove(order.image)

    async def load(self, order: messages.Load) -> Done:
        """Read an image into memory."""
        turns = await self._begin(order)
        return Done() if turns is None else await self._moved(turns, order, self.files.load(order.image))

    async def _moved(self, turns: Turns, order: messages.Copy | messages.Load, work: Awaitable[int]) -> Done:
        """How a transfer ended; with its membership, it ends and leaves nothing."""
        task = _this_task()
        self._moving[task] = None
        try:
            await work
        except (CallFailed, OSError) as failure:
            return Done("failure", str(failure))
        except KeyError as failure:
            return Done("failure", f"{order.image} cannot be read: {failure}")
        except asyncio.CancelledError:
            if not turns.is_over:
                raise
            task.uncancel()
            return Done("failure", "the membership is over")
        finally:
            del self._moving[task]
            turns.over(order.number)
        return Done()

    # ---- code

    async def ask(self, request: messages.Ask) -> Began:
        """Whether an invocation's code runs."""
        return Began(self.began.get(request.invocation))

    async def run(self, order: messages.Run) -> Ended:
        """Run an invocation to its end."""
        turns = await self._begin(order)
        if turns is None:
            return Ended()
        began = self.began
        try:
            function = self.site.functions.get(order.code)
            if function is None:
                detail = f"{self.site.node} knows no function {order.code!r} of the experiment"
                return Ended(None, self.env.now(), "", "container_not_started", detail)
            if function.code is None:
                return await self._modelled(function, order, began)
            return await self._real(function, order, began)
        finally:
            began.pop(order.invocation, None)
            turns.over(order.number)

    async def _modelled(self, function: Function, order: messages.Run, began: dict[int, float]) -> Ended:
        """Run a modelled function in its container, with which it ends."""
        number, task = order.container, _this_task()
        if number not in self.modelled:
            self._note(number, function.name, "start")
        self.modelled[number] = task
        try:
            end = await self._passed(function, order, began)
        except asyncio.CancelledError:
            if self.modelled.get(number) is task:
                raise
            task.uncancel()
            return Ended(None, self.env.now(), "", "container_not_started", ENDED)
        if number in self.modelled:
            self.modelled[number] = None
        return end

    async def _passed(self, function: Function, order: messages.Run, began: dict[int, float]) -> Ended:
        """Let the time pass that a modelled function takes; it answers with its input."""
        env = self.env
        if order.overhead_s:
            await env.sleep(order.overhead_s)
        seconds, limit = service_s(function, order.payload, self.options.speed), order.limit_s
        t_start = began[order.invocation] = env.now()
        if not await self._processor.work(seconds, limit):
            assert limit is not None
            return Ended(t_start, env.now(), "", "invocation_timeout", too_long(limit))
        return Ended(t_start, env.now(), order.payload)

    async def _real(self, function: Function, order: messages.Run, began: dict[int, float]) -> Ended:
        """Run real code in its container."""
        asked = self.env.now()
        container = self.containers.get(order.container)
        if container is None:
            try:
                container = await self._started(function, order)
            except ContainerFailed as failure:
                self._note(order.container, function.name, "failed")
                return Ended(None, self.env.now(), "", "container_not_started", str(failure))
        await self.env.sleep(order.overhead_s - (self.env.now() - asked))
        if self.containers.get(order.container) is not container:
            return Ended(None, self.env.now(), "", "container_not_started", ENDED)
        t_start = began[order.invocation] = self.env.now()
        if order.limit_s is not None and order.limit_s <= 0:
            return Ended(t_start, t_start, "", "invocation_timeout", too_long(order.limit_s))
        result = await container.run(order.payload, order.limit_s)
        return ended(result, t_start, self.env.now())

    async def _started(self, function: Function, order: messages.Run) -> Container:
        options, number, name = self.options, order.container, (order.epoch, order.container)
        if order.memory_bytes:
            function = function.model_copy(update={"memory_bytes": order.memory_bytes})
        self._starting.add(name)
        try:
            container = await self.env.container(
                function, order.storage_bytes, write_rate=options.disk_write, read_rate=options.disk_read
            )
        finally:
            self._starting.discard(name)
            was_doomed = name in self._doomed
            self._doomed.discard(name)
        if was_doomed:
            await container.close()
            raise ContainerFailed("it was ended before it had started")
        self.containers[number] = container
        self._note(number, function.name, "start")
        return container

    def _end(self, number: int) -> None:
        """End a container with what it does; a real one's worker goes beside."""
        if (self.epoch, number) in self._starting:
            self._doomed.add((self.epoch, number))
            return
        if (work := self.modelled.pop(number, None)) is not None:
            work.cancel()
        container = self.containers.pop(number, None)
        if container is not None:
            self.env.spawn(container.close())
        self._note(number, "", "end")

    def _note(self, container: int, function: str, event: str) -> None:
        t, node = self.env.now(), self.site.node
        row: Row = {"t": t, "node": node, "container": container, "function": function, "event": event}
        self.env.emit(CONTAINERS.name, row)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
