"""The head: takes requests, asks the core, has its effects carried out.

Whatever happens is put into an inbox and handed to the core when all that belongs to the same instant has arrived, in
the order of the events' priorities.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import ClassVar

from roles.serverless_compute import causes, events, messages
from roles.serverless_compute.answers import Answers
from roles.serverless_compute.core import Core
from roles.serverless_compute.errands import Errands
from roles.serverless_compute.members import Members
from roles.serverless_compute.messages import Progress, Registered
from roles.serverless_compute.model import FunctionSpec, Image
from roles.serverless_compute.opening import core_for, function_of, resident
from roles.serverless_compute.options import HeadOptions, RegistryOptions, located
from testbed.errors import TestbedError
from testbed.roles.api import Environment, Parameters, Role, Site

PATIENCE_S = 10.0  # for nodes of the experiment to announce themselves
GOODBYE_S = 0.05
ROUNDS = 3  # of the event loop, for all that belongs to one instant to arrive
log = logging.getLogger(__name__)


class Service(Role):
    """Opens when the nodes of the experiment are there; requests before that wait."""

    parameters_model: ClassVar[type[Parameters]] = HeadOptions
    env: Environment
    core: Core

    def __init__(self, site: Site, parameters: HeadOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters
        self.functions: dict[str, FunctionSpec] = {}  # by registration
        self._registrations: dict[str, str] = {}  # the first one of each function
        self._refused: dict[str, causes.FailureCause] = {}  # functions of the experiment that could not be registered
        self._registry = located(site, "registry", parameters.registry, RegistryOptions().files_port)
        self._inbox: deque[events.Event] = deque()
        self._busy_until = 0.0
        self._is_late = False  # nodes of the experiment are waited for no longer

    async def start(self, env: Environment) -> None:
        """Serve; nodes are waited for in the background."""
        self.env = env
        loop = asyncio.get_running_loop()
        self._opened, self._awake = loop.create_future(), loop.create_future()
        self.files = env.files("images", self.options.disk_read, self.options.disk_write)
        self.members = Members(env, self.options.expire_after, self._member)
        self.answers = Answers(env)
        self.errands = Errands(self, self._registry)
        await self.files.serve(self.options.files_port)
        await env.serve(
            self.options.port,
            {
                messages.REGISTER: self.register,
                messages.INVOKE: self.invoke,
                messages.RESULT: self.result,
                messages.CANCEL: self.cancel,
                messages.STATUS: self.status,
                messages.ANNOUNCE: self.members.announce,
            },
        )
        env.spawn(self.members.watch())
        env.spawn(self._open_at_last())

    @property
    def is_open(self) -> bool:
        """Whether it has begun to decide."""
        return hasattr(self, "core") and self._opened.done()

    @property
    def is_settled(self) -> bool:
        """Whether the core knows all that has happened."""
        return not self._inbox

    async def stop(self, env: Environment) -> None:
        """Fail what has not ended, and let those who wait hear it."""
        if self._opened.done():
            self._tell((events.Stop(),))
            await env.sleep(GOODBYE_S)

    # ---- opening

    def _member(self, event: events.Event) -> None:
        """A node is lost or there: the core knows it before anything else is decided."""
        if self._opened.done():
            self._tell((event,))
        elif self.members.up and (self._is_late or len(self.members.up) == self._expected()):
            self._open()

    def _expected(self) -> int:
        """How many nodes will come; unknown (-1) where several heads share them."""
        return len(self.site.places.get("node", ())) if len(self.site.places.get("head", ())) == 1 else -1

    async def _open_at_last(self) -> None:
        await self.env.sleep(PATIENCE_S)
        self._is_late = True
        if not self._opened.done() and self.members.up:
            self._open()

    def _open(self) -> None:
        specs = {each.spec.name: each.spec for each in self.members.up}
        self.core = core_for(self.options, specs, self.site.places.get("node", ()), self.env.rng("scheduler"))
        self.members.closed = {spec.name: spec for spec in self.core.config.nodes}
        absent = [name for name in self.members.closed if name not in specs]
        images = {each.image.name: each.image for each in map(function_of, self.site.functions.values())}
        try:
            gone: list[events.Event] = [events.NodeDown(name) for name in absent]
            for event in (*gone, *resident(self.options, images.values(), specs)):
                self.errands.carry_out(self.core.handle(event, self.env.now()))
                if isinstance(event, events.Preload):
                    self.errands.have(event)
        except causes.BadInput as refusal:
            raise TestbedError(f"The images cannot be {self.options.resident!r} from the start: {refusal}") from None
        for function in self.site.functions.values():
            self._register_own(function_of(function))
        self.env.spawn(self._pump())
        self._opened.set_result(None)

    def _register_own(self, function: FunctionSpec) -> None:
        for effect in self.core.handle(events.Register(0, function), self.env.now()):
            if isinstance(effect, events.Answer) and effect.cause is not None:
                log.warning("the function %s cannot be registered: %s", function.name, effect.cause.detail)
                self._refused[function.name] = effect.cause
            elif isinstance(effect, events.Answer):
                self._known(effect.registration, function)

    def _known(self, registration: str, function: FunctionSpec) -> None:
        self.functions[registration] = function
        self._registrations.setdefault(function.name, registration)

    async def _open_first(self) -> None:
        """Wait until the service is open; several heads do not know their nodes, and open for the first request."""
        if self._expected() < 0 and self.members.up:
            self._open()
        else:
            await asyncio.shield(self._opened)

    # ---- the loop

    def happened(self, event: events.Event) -> None:
        """Tell the core: at once what goes before everything else of this instant, the rest when all of it is there."""
        if event.PRIORITY == 0:
            self._tell((event,))
            return
        self._inbox.append(event)
        if not self._awake.done():
            self._awake.set_result(None)

    def _tell(self, due: Iterable[events.Event]) -> None:
        now, handle, carry_out = self.env.now(), self.core.handle, self.errands.carry_out
        for event in due:
            carry_out(handle(event, now))
        self.members.tidy()

    async def _pump(self) -> None:
        inbox, env, loop = self._inbox, self.env, asyncio.get_running_loop()
        while True:
            if not inbox:
                self._awake = loop.create_future()
                await self._awake
            for _ in range(ROUNDS):
                await env.sleep(0)
            due = sorted(inbox, key=_priority)
            inbox.clear()
            self._tell(due)

    # ---- requests

    async def register(self, request: messages.Register) -> Registered:
        """Register a function of the experiment's code once more, or under another name."""
        if not self._opened.done():
            await self._open_first()
        code = request.code or request.function
        if code not in self.site.functions:
            known = ", ".join(self.site.functions) or "none"
            return Registered("", "bad_input", f"The experiment has no function {code!r}; it has {known}.")
        ram = request.image_bytes if request.ram_bytes is None else request.ram_bytes
        function = FunctionSpec(
            request.function, Image(request.image, request.image_bytes, ram), code, request.time_limit_s,
            request.storage_bytes, request.memory_bytes,
        )  # fmt: skip
        number, answer = self.answers.asked(whole=False)
        self.happened(events.Register(number, function))
        reply = await answer
        if reply.cause is not None:
            return Registered("", reply.cause.code, reply.cause.detail)
        self._known(reply.registration, function)
        return Registered(reply.registration)

    async def invoke(self, request: messages.Invoke) -> Progress:
        """Invoke; the answer comes at once, at the end, or after some time."""
        if not self._opened.done():
            await self._open_first()
        if self.options.processing:
            now = self.env.now()
            self._busy_until = max(now, self._busy_until) + self.options.processing
            await self.env.sleep(self._busy_until - now)
        name = request.function
        if name in self._refused:
            return self.answers.refused(self._refused[name])
        number, answer = self.answers.asked(whole=request.wait_s is None)
        self.happened(events.Invoke(number, self._registrations.get(name, name), request.payload))
        reply: Progress | events.Answer = await answer
        if isinstance(reply, Progress):
            return reply
        if reply.cause is not None:
            return self.answers.refused(reply.cause)
        return await self.result(messages.Result(reply.invocation, request.wait_s or 0.0))

    async def result(self, request: messages.Result) -> Progress:
        """How an invocation stands, now or when it has ended."""
        await self._open_first()
        number = request.invocation
        if self.core.state(number) is not None and request.wait_s:
            await self.answers.end_of(number, request.wait_s)
        state = self.core.state(number)
        if state is None:
            return self.answers.kept(number)
        return await self.errands.progress(number, state)

    async def cancel(self, request: messages.Cancel) -> Progress:
        """Call an invocation off."""
        await self._open_first()
        if self.core.state(request.invocation) is not None:
            self.happened(events.Cancel(request.invocation))
            await self.answers.end_of(request.invocation, None)
        return self.answers.kept(request.invocation)

    async def status(self, _: messages.AskStatus) -> messages.Status:
        """The nodes and registrations."""
        nodes = []
        for name, spec in (self.members.closed or {n: m.spec for n, m in self.members.known.items()}).items():
            member = self.members.known.get(name)
            room = [None if each == float("inf") else each for each in (spec.disk_bytes, spec.memory_bytes)]
            nodes.append(messages.NodeStatus(name, member is not None and member.up, spec.slots, *room))
        return messages.Status(tuple(nodes), {name: each.name for name, each in self.functions.items()})


def _priority(event: events.Event) -> int:
    return event.PRIORITY
