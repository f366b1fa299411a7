"""The Python API for those who write simulations: ``ServerlessComputeService``, ``FunctionManager``, ``Invocation``.

After WRENCH's API draft. A script places services on a stage (:class:`testbed.twin.stage.Stage`), creates functions,
registers and invokes them, and waits. Times are seconds since the story began, sizes are bytes.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from roles.serverless_compute import causes, messages
from roles.serverless_compute.invocation import Invocation as Invocation
from roles.serverless_compute.invocation import NotDone as NotDone
from roles.serverless_compute.model import DEFAULT_STORAGE_BYTES, State
from roles.serverless_compute.options import HeadOptions, NodeOptions, RegistryOptions
from testbed.roles.api import CallFailed, Environment, Function, Parameters, Site

Code = Callable[[Any, str], object]
_FIXED = {"port", "files_port", "head", "registry"}  # the service's own affair
LONG_S = 100_000_000.0  # how long the end of an invocation is waited for


class Stage(Protocol):
    """What services and managers stand on."""

    functions: dict[str, Function]

    def define(self, function: Function, code: Code | None = None) -> None: ...

    def place(
        self, node: str, role: str, among: Mapping[str, tuple[str, ...]], parameters: Mapping[str, Any] | None = None
    ) -> Site: ...

    def environment(self, node: str) -> Environment: ...

    def since(self, moment: float | None) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Image:
    """A container image; ``ram_bytes`` is what it takes in memory once loaded."""

    name: str
    size_bytes: int
    ram_bytes: int


class ServerlessComputeService:
    """A head, its compute nodes and the registry with the images.

    ``options`` are the parameters of the roles, under the names and with the units of the reference: ``slots=2``,
    ``cold_start="500ms"``, ``disk_read="100MB/s"`` (of all disks), ``scheduler="random"``. ``nodes`` is a list of
    hosts, or a mapping from hosts to options of their own where machines differ. Raises BadInput for what there is not.
    """

    def __init__(
        self,
        stage: Stage,
        head: str,
        nodes: Sequence[str] | Mapping[str, Mapping[str, Any]],
        registry: str,
        **options: Any,
    ) -> None:
        if not nodes:
            raise causes.BadInput("A service needs at least one compute node.")
        own = nodes if isinstance(nodes, Mapping) else {}
        _check_names([*options, *(name for each in own.values() for name in each)])
        among = {"registry": (registry,), "head": (head,), "node": tuple(nodes)}
        stage.place(registry, "registry", among, _known(RegistryOptions, options))
        site = stage.place(head, "head", among, _known(HeadOptions, options))
        for node in nodes:
            stage.place(node, "node", among, {**_known(NodeOptions, options), **own.get(node, {})})
        self.name = head
        self.endpoint = site.endpoint(head, HeadOptions().port)
        self.registry = site.endpoint(registry, RegistryOptions().port)

    def __repr__(self) -> str:
        return f"ServerlessComputeService({self.name!r})"

    def _no_jobs(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError("A serverless compute service has functions, not jobs; use a FunctionManager.")

    submit_standard_job = submit_compound_job = submit_pilot_job = _no_jobs
    terminate_standard_job = terminate_compound_job = terminate_pilot_job = _no_jobs


def _known(model: type[Parameters], options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in model.model_fields}


def _check_names(names: Iterable[str]) -> None:
    fields = {name for model in (HeadOptions, NodeOptions, RegistryOptions) for name in model.model_fields} - _FIXED
    for name in names:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(sorted(fields))}."
            raise causes.BadInput(f"A service has no option {name!r}. {hint}")


@dataclass(frozen=True, slots=True)
class Registration:
    """A function at one service; containers are never shared between registrations, images are."""

    service: ServerlessComputeService
    function: Function
    identifier: str


class FunctionManager:
    """Creates, registers and invokes functions, from a host of the network, and waits for invocations."""

    def __init__(self, stage: Stage, host: str) -> None:
        self._stage, self._env = stage, stage.environment(host)
        self._images: dict[str, Image] = {}
        self._registrations: dict[tuple[ServerlessComputeService, str], Registration] = {}

    def since(self, moment: float | None) -> float | None:
        """A moment of the clock in seconds since the story began."""
        return self._stage.since(moment)

    def create_image(self, name: str, size_bytes: float, ram_bytes: float | None = None) -> Image:
        """A container image, which takes as much memory as disk unless told otherwise."""
        ram = size_bytes if ram_bytes is None else ram_bytes
        if size_bytes < 0 or ram < 0:
            raise causes.BadInput(f"The image {name!r} cannot have a negative size.")
        image = Image(name, int(size_bytes), int(ram))
        if self._images.setdefault(name, image) != image:
            raise causes.AlreadyRegistered(f"There is another image called {name!r} already.")
        return image

    def create_function(self, name: str, code: Code | float, image: Image) -> Function:
        """A function: Python code ``code(ctx, payload)``, or a number of seconds that it takes."""
        if self._images.get(image.name) != image:
            raise causes.BadInput(f"The image {image.name!r} is not of this manager; create_image makes one.")
        given: dict[str, Any] = {} if callable(code) else {"service_s": float(code)}
        function = Function(
            name=name, image=image.name, image_bytes=image.size_bytes, memory_bytes=0, time_limit_s=0, **given
        )
        self._stage.define(function, code if callable(code) else None)
        return self._stage.functions[name]

    async def register(
        self,
        function: Function,
        services: Iterable[ServerlessComputeService],
        *,
        time_limit: float | None = None,
        ephemeral_storage: int = DEFAULT_STORAGE_BYTES,
        memory: int = 0,
    ) -> dict[ServerlessComputeService, Registration]:
        """Register at one or more services: the registration at each that took it; raises the cause if none did."""
        image = self._images[function.image]
        request = messages.Register(
            function.name, image.name, image.size_bytes, image.ram_bytes, "", time_limit, ephemeral_storage, memory
        )
        taken, refusal = {}, causes.FailureCause("There is no service to register at.")
        for service in services:
            await self._env.call(service.registry, messages.ADD_IMAGE, messages.AddImage(image.name, image.size_bytes))
            answer = await self._env.call(service.endpoint, messages.REGISTER, request)
            if answer.cause:
                refusal = causes.cause(answer.cause, answer.detail)
                continue
            taken[service] = Registration(service, function, answer.registration)
            self._registrations.setdefault((service, function.name), taken[service])
        if not taken:
            raise refusal
        return taken

    async def invoke(
        self, service: ServerlessComputeService, function: Function | Registration, payload: str = ""
    ) -> Invocation:
        """Place an invocation; a function means its first registration there. Raises the cause of a refusal."""
        name = function.identifier if isinstance(function, Registration) else self._registered(service, function)
        answer = await self._env.call(service.endpoint, messages.INVOKE, messages.Invoke(name, payload), LONG_S)
        if answer.state == messages.REFUSED:
            raise causes.cause(answer.cause, answer.detail)
        invocation = Invocation(self, service, answer)
        self._env.spawn(self._follow(invocation))
        return invocation

    def _registered(self, service: ServerlessComputeService, function: Function) -> str:
        """The registration's identifier; a name that the service does not know where there is none."""
        found = self._registrations.get((service, function.name))
        return found.identifier if found is not None else function.name

    async def ask(self, invocation: Invocation, wait_s: float) -> messages.Progress:
        """How an invocation stands, after its end or after so many seconds."""
        request = messages.Result(invocation.id, wait_s)
        return await self._env.call(invocation.service.endpoint, messages.RESULT, request, LONG_S)

    async def _follow(self, invocation: Invocation) -> None:
        try:
            answer = await self.ask(invocation, LONG_S)
        except CallFailed as failure:
            lost = f"The service {invocation.service.name} is gone: {failure}"
            answer = messages.Progress(State.FAILED, invocation.id, cause=causes.ServiceStopped.code, detail=lost)
        invocation.heard(answer)

    async def cancel(self, invocation: Invocation) -> None:
        """Call an invocation off; nothing happens if it has ended."""
        await self._env.call(invocation.service.endpoint, messages.CANCEL, messages.Cancel(invocation.id))

    # Waiting. Each wait has its own set, so that any number of them go on at a time.

    async def wait_one(self, invocation: Invocation, timeout: float | None = None) -> State:
        """Its final state; raises TimeoutError after ``timeout`` seconds."""
        async with asyncio.timeout(timeout):
            return await invocation.ended()

    async def wait_any(
        self, invocations: Sequence[Invocation], timeout: float | None = None
    ) -> tuple[list[Invocation], list[Invocation]]:
        """Those that are done once one of them is, and the others, both in the order given."""
        if not invocations:
            raise causes.BadInput("wait_any needs at least one invocation.")
        if not any(each.is_done() for each in invocations):
            waits = [asyncio.ensure_future(each.ended()) for each in invocations]
            try:
                done, _ = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if not done:
                raise TimeoutError(f"None of {len(invocations)} invocations ended within {timeout:g} s.")
        return [each for each in invocations if each.is_done()], [each for each in invocations if not each.is_done()]

    async def wait_all(self, invocations: Iterable[Invocation], timeout: float | None = None) -> list[State]:
        """The final states of all, in the order given; raises TimeoutError after ``timeout`` seconds."""
        async with asyncio.timeout(timeout):
            return [await each.ended() for each in invocations]
