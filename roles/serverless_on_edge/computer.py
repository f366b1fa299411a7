"""The computer: executes simulated and real functions, tells its load, makes itself known to the controller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from roles.openwhisk.activation import DEVELOPER_ERROR
from roles.serverless_on_edge.announcing import Announcer, controller_of
from roles.serverless_on_edge.asynchronous import Asynchronous, needed
from roles.serverless_on_edge.chains import refusal
from roles.serverless_on_edge.computer_model import ComputerModel, Loads
from roles.serverless_on_edge.computer_options import ComputerOptions
from roles.serverless_on_edge.datasets import UTILIZATION
from roles.serverless_on_edge.executor import WORKERS, Execution, Real, Simulated, Workers
from roles.serverless_on_edge.limits import MOST_SERVICE_S, Refused, shown
from roles.serverless_on_edge.messages import (
    ANNOUNCE_COMPUTER,
    OK,
    REMOVE_COMPUTER,
    RUN_LAMBDA,
    STREAM_UTIL,
    ComputerInfo,
    Container,
    LambdaRequest,
    LambdaResponse,
    State,
    Utilization,
    Void,
)
from roles.serverless_on_edge.openfaas_client import Gateway
from roles.serverless_on_edge.states import Home, StateFailed
from testbed.roles.api import Environment, Parameters, Role, Site
from testbed.roles.modelled import stated_service_s

SAMPLE_PERIOD_S = 1.0
LAST_CALLS_S = 0.8  # that a computer which is stopped gives to the calls that it has taken


class Computer(Role):
    """Takes calls on one port and streams its utilisation on another."""

    parameters_model: ClassVar[type[Parameters]] = ComputerOptions
    templates: ClassVar[tuple[str, ...]] = ("computer.json.j2",)
    env: Environment

    def __init__(self, site: Site, parameters: ComputerOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters
        self.endpoint = site.endpoint(site.node, parameters.server_endpoint)
        self.model = ComputerModel(parameters.computer(site))
        self._controller = controller_of(site, parameters)
        self._threads = asyncio.Semaphore(parameters.num_threads)
        self._announcer: Announcer | None = None
        self.calls: Asynchronous | None = None
        self.home: Home | None = None
        self._next_sample: asyncio.Future[Utilization]

    async def start(self, env: Environment) -> None:
        """Serve, then announce; the routers know this computer when this returns."""
        self.env = env
        self._real = await self._workers(env)
        self._simulated = Simulated(env, self.model)
        self.model.begin(env.now())
        await self._start_calls(env)
        await env.serve(self.options.server_endpoint, {RUN_LAMBDA: self.run_lambda})
        if self.options.utilization_endpoint:
            self._next_sample = asyncio.get_running_loop().create_future()
            await env.serve(self.options.utilization_endpoint, {STREAM_UTIL: self.stream_util})
            env.spawn(self._sample())
        if self._controller is not None:
            period = self.options.heartbeat()
            self._announcer = Announcer(env, self._controller, ANNOUNCE_COMPUTER, self.information, period)
            await self._announcer.start(needed=True)
            if isinstance(self._real, Gateway):
                env.spawn(self._real.watch(self.options.http_conf.look_period, self._announcer.again))

    async def _start_calls(self, env: Environment) -> None:
        """What asynchronous calls and states need, as far as it is asked for."""
        if self.options.state_endpoint:
            self.home = await self.options.home(env, self.site)
        if self.options.is_asynchronous:
            companion, threads = self.options.companion(self.site), self.options.num_threads
            strict = self.options.strict_original
            self.calls = Asynchronous(env, self.endpoint, companion, threads, self._perform, strict)

    async def _workers(self, env: Environment) -> Workers:
        """What executes the functions that are not modelled here."""
        if self.options.computer_type == "sim":
            return Real(env, self.site.functions)
        conf = self.options.http_conf
        gateway = Gateway(env, conf.url(self.site), conf.num_clients, conf.call_timeout)
        await gateway.prepare()
        return gateway

    async def stop(self, env: Environment) -> None:
        """Have the routers forget this computer, then finish the calls that it has taken."""
        if self._announcer is not None and not self.options.strict_original:
            await self._announcer.leave(REMOVE_COMPUTER, ComputerInfo(self.endpoint))
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_CALLS_S):
                for _ in range(self.options.num_threads):
                    await self._threads.acquire()
                if self.calls is not None:
                    await self.calls.rest()

    def information(self) -> ComputerInfo:
        """This computer as it announces itself."""
        simulated = [Container(each.name, each.processor, each.function.name, each.num_workers)
                     for each in self.model.spec.containers]  # fmt: skip
        real = [Container(name, WORKERS, name, each.concurrency) for name, each in self._real.functions.items()]
        return ComputerInfo(self.endpoint, (*simulated, *real), round(1000 * self.options.heartbeat()))

    async def run_lambda(self, request: LambdaRequest) -> LambdaResponse:
        """Execute a call, at most ``num-threads`` at a time; with ``dry`` tell what it would take, else with a callback
        only take it."""
        if no := self._refusal(request):
            return LambdaResponse(no, responder=self.endpoint, hops=request.hops + 1)
        if self.calls is not None and request.callback and not request.dry:
            return self.calls.take(request)
        async with self._threads:
            return await self._perform(request)

    async def _perform(self, request: LambdaRequest) -> LambdaResponse:
        loads = self._loads(request.name)
        try:
            if request.dry:
                return self._reply(request, loads, OK, ptime=round(1000 * self._estimate(request)))
            if request.states:
                request = replace(request, states={**request.states, **await self._fetched(request)})
            began = self.env.now()
            done = await self._execute(request)
        except (ValueError, StateFailed) as error:
            return self._reply(request, loads, str(error))
        done.note(self.env, request.name, began)
        more = self._times(done) | self._blame(done)
        return self._reply(request, loads, done.error or OK, output=done.output, **more)

    async def _fetched(self, request: LambdaRequest) -> dict[str, State]:
        """The states that the function uses and that lay elsewhere, now here."""
        wanted = needed(request)
        if wanted and self.home is None:
            raise StateFailed(f"the computer at {self.endpoint} has no state-endpoint to bring {', '.join(wanted)} to")
        return {name: await self.home.take(name, state) for name, state in wanted.items()} if self.home else {}

    def _refusal(self, request: LambdaRequest) -> str:
        if request.callback and self.calls is None and not request.dry:
            return "asynchronous calls are not supported by this computer"
        known = request.name in self.model or request.name in self._real.functions
        return refusal(request) or ("" if known else f"unknown lambda {shown(request.name)}")

    def _loads(self, function: str) -> Loads:
        """The loads when a call is queued."""
        if function not in self.model:
            return self._real.loads
        return self.model.loads(function)

    def loads(self) -> dict[str, Loads]:
        """The loads of each processor, the one that stands for real functions included."""
        return self.model.utilisation() | ({WORKERS: self._real.loads} if self._real.functions else {})

    def _estimate(self, request: LambdaRequest) -> float:
        if request.name in self.model:
            return self._simulated.estimate(request.name, request.input, self._stated(request))
        return self._real.estimate(request.name)

    async def _execute(self, request: LambdaRequest) -> Execution:
        if request.name in self.model:
            return await self._simulated.run(request.name, request.input, self._stated(request))
        return await self._real.run(request.name, request.input)

    def _stated(self, request: LambdaRequest) -> float | None:
        """How long the input says that this call takes; the original knows no such input. Raises Refused."""
        stated = None if self.options.strict_original else stated_service_s(request.input)
        if stated is not None and stated > MOST_SERVICE_S:
            raise Refused(f"the input states {stated:g} s of service; {MOST_SERVICE_S:g} s at most")
        return stated

    def _times(self, done: Execution) -> dict[str, int]:
        times = {"ptime": round(1000 * done.total_s)}
        if not self.options.strict_original:
            for name, seconds in (("queue_us", done.queue_s), ("init_us", done.init_s), ("exec_us", done.exec_s)):
                times[name] = round(1e6 * seconds)
        return times

    def _blame(self, done: Execution) -> dict[str, int]:
        """An error is that of a function, where functions run here; the original does not tell."""
        its_own = done.error and isinstance(self._real, Real) and not self.options.strict_original
        return {"action_status": DEVELOPER_ERROR} if its_own else {}

    def _reply(self, request: LambdaRequest, loads: Loads, code: str, **rest: Any) -> LambdaResponse:
        return LambdaResponse(
            code,
            responder=self.endpoint,
            load1=round(100 * loads.load1),
            load10=round(100 * loads.load10),
            load30=round(100 * loads.load30),
            hops=request.hops + 1,
            states=request.states,
            **rest,
        )

    async def stream_util(self, _: Void) -> AsyncIterator[Utilization]:
        """The utilisation of each processor, once a second."""
        while True:
            yield await asyncio.shield(self._next_sample)

    async def _sample(self) -> None:
        while True:
            await self.env.sleep(SAMPLE_PERIOD_S)
            self._simulated.settle()
            values = self.model.sample(self.env.now())
            if self._real.functions:
                values[WORKERS] = self._real.sample()
            for processor, load in values.items():
                where = {"node": self.env.node, "processor": processor}
                self.env.emit(UTILIZATION.name, {"t": self.env.now(), **where, "load": load})
            told, self._next_sample = self._next_sample, asyncio.get_running_loop().create_future()
            told.set_result(Utilization(values))
