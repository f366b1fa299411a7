"""A computer that has an OpenWhisk server execute its calls, and offers the server's actions at the edge.

    client ── RunLambda /guest/copy ──> router ──> edgecomputerwsk ── POST .../guest/actions/copy ──> OpenWhisk
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from contextlib import suppress
from statistics import fmean
from typing import Any, ClassVar

from roles.serverless_on_edge.announcing import CALL_TIMEOUT_S, Announcer, controller_of
from roles.serverless_on_edge.chains import refusal
from roles.serverless_on_edge.computer import LAST_CALLS_S
from roles.serverless_on_edge.executor import REMEMBERED, Execution
from roles.serverless_on_edge.messages import (
    ANNOUNCE_COMPUTER,
    OK,
    REMOVE_COMPUTER,
    RUN_LAMBDA,
    ComputerInfo,
    Container,
    LambdaRequest,
    LambdaResponse,
)
from roles.serverless_on_edge.wsk_actions import Actions
from roles.serverless_on_edge.wsk_answers import Answered
from roles.serverless_on_edge.wsk_computer_options import WskComputerOptions
from testbed.roles.api import CallFailed, Environment, Parameters, Role, Site

CALLED = "wsk"  # container and processor, as the original names them
log = logging.getLogger(__name__)


class WskComputer(Role):
    """Takes calls on one port and invokes actions for them; announces the actions that there are."""

    parameters_model: ClassVar[type[Parameters]] = WskComputerOptions
    env: Environment

    def __init__(self, site: Site, parameters: WskComputerOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters
        self.endpoint = site.endpoint(site.node, parameters.server_endpoint)
        self._controller = controller_of(site, parameters)
        self._threads = asyncio.Semaphore(parameters.num_threads)
        self._announcer: Announcer | None = None
        self._waiting = 0
        self._history: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    async def start(self, env: Environment) -> None:
        """Ask for the actions, serve, announce; the routers know the actions that there are when this returns."""
        self.env = env
        self.actions = Actions(env, self.site, self.options)
        await self.actions.prepare()
        await env.serve(self.options.server_endpoint, {RUN_LAMBDA: self.run_lambda})
        if self._controller is not None:
            period = self.options.heartbeat()
            self._announcer = Announcer(env, self._controller, ANNOUNCE_COMPUTER, self.information, period)
            await self._announcer.start(needed=True)
        env.spawn(self.actions.watch(self._changed))

    async def _changed(self) -> None:
        """There are other actions: tell the controller; the original takes itself back first."""
        for gone in self._history.keys() - set(self.actions.names):
            del self._history[gone]
        if self._announcer is None or self._controller is None:
            return
        if self.options.strict_original:
            try:
                await self.env.call(self._controller, REMOVE_COMPUTER, ComputerInfo(self.endpoint), CALL_TIMEOUT_S)
            except CallFailed as failure:
                log.warning("the controller at %s has not heard a removal: %s", self._controller, failure)
        await self._announcer.again()

    async def stop(self, env: Environment) -> None:
        """Have the routers forget this computer, then finish the calls that it has taken."""
        if self._announcer is not None:
            await self._announcer.leave(REMOVE_COMPUTER, ComputerInfo(self.endpoint))
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_CALLS_S):
                for _ in range(self.options.num_threads):
                    await self._threads.acquire()

    def information(self) -> ComputerInfo:
        """This computer as it announces itself."""
        containers = tuple(Container(CALLED, CALLED, name, 1) for name in self.actions.names)
        return ComputerInfo(self.endpoint, containers, round(1000 * self.options.heartbeat()))

    async def run_lambda(self, request: LambdaRequest) -> LambdaResponse:
        """Have a call executed, at most ``num-threads`` at a time; with ``dry`` tell what it would take."""
        no = "asynchronous calls are not supported by this computer" if request.callback else refusal(request)
        if no:
            return self._reply(request, no)
        if request.dry:
            return self._reply(request, OK, ptime=round(1000 * self._estimate(request.name)))
        arrived = self.env.now()
        self._waiting += 1
        async with self._threads:
            self._waiting -= 1
            began = self.env.now()
            done = await self.actions.invoke(request.name, request.input)
        total = self.env.now() - arrived
        execution = Execution(done.output, done.error, total, began - arrived + done.wait_s, done.exec_s, done.init_s)
        execution.note(self.env, request.name, arrived)
        if done.result and request.name in self.actions.names:
            self._history[request.name].append(self.env.now() - began)
        return self._reply(request, done.code, **self._told(done, execution))

    def _told(self, done: Answered, execution: Execution) -> dict[str, Any]:
        """What an answer has beside its code; the original tells no times and no status."""
        if self.options.strict_original:
            return {"output": done.output}
        return {
            "output": done.output, "dataout": done.result, "action_status": done.status,
            "ptime": round(1000 * execution.total_s), "queue_us": round(1e6 * execution.queue_s),
            "init_us": round(1e6 * execution.init_s), "exec_us": round(1e6 * execution.exec_s),
        }  # fmt: skip

    def _estimate(self, name: str) -> float:
        """Seconds that a call would take now, going by the last ones; 0 for an action that never ran."""
        past = None if self.options.strict_original else self._history.get(name)
        return fmean(past) * (1 + self._waiting / self.options.num_threads) if past else 0.0

    def _reply(self, request: LambdaRequest, code: str, **rest: Any) -> LambdaResponse:
        root, hops = self.actions.root, request.hops + 1
        return LambdaResponse(code, responder=root, hops=hops, states=request.states, **rest)
