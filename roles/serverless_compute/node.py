"""A compute node: copies and loads images, keeps containers, runs code, as the head orders.

Orders are numbered within a membership. They are begun in that order, however they arrive, and each is done once.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from roles.serverless_compute import messages
from roles.serverless_compute.announcing import Announcer
from roles.serverless_compute.datasets import CONTAINERS
from roles.serverless_compute.messages import Began, Done, Ended, Order
from roles.serverless_compute.options import NodeOptions
from testbed.roles.api import (
    CallFailed,
    Container,
    ContainerFailed,
    Environment,
    Files,
    Function,
    FunctionResult,
    Parameters,
    Role,
    Site,
)
from testbed.roles.modelled import stated_service_s
from testbed.tables import Row

_CAUSES = {"timeout": "invocation_timeout", "storage": "ephemeral_storage_full"}  # all others: function_error


class Node(Role):
    """``epoch`` is the head's name for the membership in force, empty before the first."""

    parameters_model: ClassVar[type[Parameters]] = NodeOptions
    env: Environment
    files: Files

    def __init__(self, site: Site, parameters: NodeOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters
        self.endpoint = site.endpoint(site.node, parameters.port)
        self.slots = parameters.slots or max(1, sum(each.concurrency for each in site.functions.values()))
        self.epoch = ""
        self.containers: dict[int, Container] = {}  # those of real functions
        self.began: dict[int, float] = {}  # invocations whose code runs
        self.copying: list[str] = []  # images
        self._next = 0
        self._early: dict[int, asyncio.Future[None]] = {}
        self._under_way: set[int] = set()
        self._copies: dict[int, asyncio.Future[None]] = {}  # orders that came once more while under way
        self._starting: set[int] = set()
        self._doomed: set[int] = set()

    async def start(self, env: Environment) -> None:
        """Serve, then announce; the head counts on this node when this returns."""
        self.env = env
        self.files = env.files("images", self.options.disk_read, self.options.disk_write)
        await env.serve(
            self.options.port,
            {
                messages.TIDY: self.tidy,
                messages.COPY: self.copy,
                messages.LOAD: self.load,
                messages.KEEP: self.keep,
                messages.RUN: self.run,
                messages.ASK: self.ask,
            },
        )
        await Announcer(env, self.site, self.options, self).start()

    # ---- membership and order

    def joined(self, epoch: str) -> None:
        """A new membership begins, with an empty machine."""
        for container in tuple(self.containers):
            self._end(container)
        self._doomed |= self._starting
        for name in self.files.sizes():
            self.files.remove(name)
        self.epoch, self._next = epoch, 0
        self._under_way.clear()
        early, self._early = self._early, {}
        for turn in early.values():
            turn.set_result(None)

    def is_behind(self, number: int) -> bool:
        """Whether orders before this number are still to be begun, or under way."""
        return self._next < number or bool(self._under_way)

    async def _begin(self, order: Order) -> bool:
        """Wait for this order's turn and make the room that it asks for; False if it was begun before.

        Raises LookupError for an order of another membership.
        """
        while order.number > self._next and order.epoch == self.epoch:
            turn = self._early.get(order.number)
            if turn is None:
                turn = self._early[order.number] = asyncio.get_running_loop().create_future()
            await asyncio.shield(turn)
        if order.epoch != self.epoch:
            raise LookupError(f"{self.site.node} is not in the membership {order.epoch!r}")
        if order.number < self._next:
            await self._end_of(order.number)
            return False
        self._next += 1
        self._under_way.add(order.number)
        if self._early and (turn := self._early.pop(self._next, None)) is not None:
            turn.set_result(None)
        for what, name in order.room:
            self._make_room(what, name)
        return True

    async def _end_of(self, number: int) -> None:
        if number in self._under_way:
            if number not in self._copies:
                self._copies[number] = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._copies[number])

    def _over(self, number: int) -> None:
        self._under_way.discard(number)
        if self._copies and (copies := self._copies.pop(number, None)) is not None:
            copies.set_result(None)

    def _make_room(self, what: str, name: str | int) -> None:
        if what == "end":
            self._end(int(name))
        elif what == "remove":
            self.files.remove(str(name))
        # "unload": what is in memory is known to the head alone

    # ---- images

    async def tidy(self, order: messages.Tidy) -> Done:
        """Make room."""
        if await self._begin(order):
            self._over(order.number)
        return Done()

    async def keep(self, order: messages.Keep) -> Done:
        """Have an image on disk."""
        if await self._begin(order):
            self.files.create(order.image, order.size_bytes)
            self._over(order.number)
        return Done()

    async def copy(self, order: messages.Copy) -> Done:
        """Copy an image from the head."""
        if not await self._begin(order):
            return Done()
        self.copying.append(order.image)
        try:
            await self.files.fetch(order.source, order.image, order.patience_s)
        except (CallFailed, OSError) as failure:
            return Done("failure", str(failure))
        finally:
            self.copying.remove(order.image)
            self._over(order.number)
        return Done()

    async def load(self, order: messages.Load) -> Done:
        """Read an image into memory."""
        if not await self._begin(order):
            return Done()
        try:
            await self.files.load(order.image)
        except (KeyError, OSError) as failure:
            return Done("failure", f"{order.image} cannot be read: {failure}")
        finally:
            self._over(order.number)
        return Done()

    # ---- code

    async def ask(self, request: messages.Ask) -> Began:
        """Whether an invocation's code runs."""
        return Began(self.began.get(request.invocation))

    async def run(self, order: messages.Run) -> Ended:
        """Run an invocation to its end."""
        if not await self._begin(order):
            return Ended()
        try:
            function = self.site.functions.get(order.code)
            if function is None:
                detail = f"{self.site.node} knows no function {order.code!r} of the experiment"
                return Ended(None, self.env.now(), "", "container_not_started", detail)
            if function.code is None:
                return await self._modelled(function, order)
            return await self._real(function, order)
        finally:
            self.began.pop(order.invocation, None)
            self._over(order.number)

    async def _modelled(self, function: Function, order: messages.Run) -> Ended:
        """Let the time pass that a modelled function takes; it answers with its input."""
        env = self.env
        if not order.hot:
            self._note(order.container, function.name, "start")
        if order.overhead_s:
            await env.sleep(order.overhead_s)
        seconds, limit = self._seconds(function, order.payload), order.limit_s
        t_start = self.began[order.invocation] = env.now()
        if limit is not None and seconds > limit:
            await env.sleep(limit)
            return Ended(t_start, env.now(), "", "invocation_timeout", _too_long(limit))
        await env.sleep(seconds)
        return Ended(t_start, env.now(), order.payload)

    def _seconds(self, function: Function, payload: str) -> float:
        stated = stated_service_s(payload)
        if stated is not None:
            return stated
        if function.service_s is not None:
            return function.service_s
        return (function.operations + function.operations_per_byte * len(payload)) / self.options.speed

    async def _real(self, function: Function, order: messages.Run) -> Ended:
        """Run real code in its container."""
        begun = self.env.now()
        container = self.containers.get(order.container)
        if container is None:
            try:
                container = await self._started(function, order)
            except ContainerFailed as failure:
                self._note(order.container, function.name, "failed")
                return Ended(None, self.env.now(), "", "container_not_started", str(failure))
        await self.env.sleep(order.overhead_s - (self.env.now() - begun))
        t_start = self.began[order.invocation] = self.env.now()
        if order.limit_s is not None and order.limit_s <= 0:
            return Ended(t_start, t_start, "", "invocation_timeout", _too_long(order.limit_s))
        result = await container.run(order.payload, order.limit_s)
        return _ended(result, t_start, self.env.now())

    async def _started(self, function: Function, order: messages.Run) -> Container:
        options, number = self.options, order.container
        if order.memory_bytes:
            function = function.model_copy(update={"memory_bytes": order.memory_bytes})
        self._starting.add(number)
        try:
            container = await self.env.container(
                function, order.storage_bytes, write_rate=options.disk_write, read_rate=options.disk_read
            )
        finally:
            self._starting.discard(number)
            was_doomed = number in self._doomed
            self._doomed.discard(number)
        if was_doomed:
            await container.close()
            raise ContainerFailed("it was ended before it had started")
        self.containers[number] = container
        self._note(number, function.name, "start")
        return container

    def _end(self, number: int) -> None:
        """End a container; a real one's worker goes beside."""
        if number in self._starting:
            self._doomed.add(number)
            return
        container = self.containers.pop(number, None)
        if container is not None:
            self.env.spawn(container.close())
        self._note(number, "", "end")

    def _note(self, container: int, function: str, event: str) -> None:
        t, node = self.env.now(), self.site.node
        row: Row = {"t": t, "node": node, "container": container, "function": function, "event": event}
        self.env.emit(CONTAINERS.name, row)


def _too_long(limit: float) -> str:
    return f"no result within {limit:g} s"


def _ended(result: FunctionResult, t_start: float, t_end: float) -> Ended:
    if not result.error:
        return Ended(t_start, t_end, result.output.encode("utf-8", "replace").decode())
    detail = f"{result.error}: {result.detail}".encode("utf-8", "replace").decode()
    return Ended(t_start, t_end, "", _CAUSES.get(result.error, "function_error"), detail)
