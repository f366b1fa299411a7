"""The edge dispatcher: like a router, but picks by the predicted total time of a call."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import ClassVar

from roles.serverless_on_edge.datasets import ESTIMATES
from roles.serverless_on_edge.estimators import (
    DelayEstimator,
    Estimate,
    Estimator,
    RttEstimator,
    Seen,
    UtilEstimator,
)
from roles.serverless_on_edge.forwarder import Choice, Forwarder
from roles.serverless_on_edge.messages import OK, RUN_LAMBDA, LambdaRequest, LambdaResponse
from roles.serverless_on_edge.options import DelayConf, DispatcherOptions, ProbeConf, PtimeConf, RttConf, UtilConf
from roles.serverless_on_edge.policies import LeastImpedance
from roles.serverless_on_edge.tables import Fixed, Key, RoutingTable
from testbed.roles.api import CallFailed, Parameters, Site
from testbed.tables import Cell

PROBE_TIMEOUT_S = 5.0


def make_estimator(conf: PtimeConf) -> Estimator | None:
    """The estimator of a configuration; None for ``probe``, which asks the computers."""
    match conf:
        case RttConf():
            return RttEstimator(conf.window_size, conf.stale_period)
        case UtilConf():
            rtt = RttEstimator(conf.rtt_window_size, conf.rtt_stale_period)
            return UtilEstimator(rtt, conf.util_window_size, conf.util_load_timeout)
        case DelayConf():
            return DelayEstimator(conf.util_window_size, conf.util_load_timeout)
        case ProbeConf():
            return None


class Dispatcher(Forwarder):
    """One table. The smallest estimate wins, the first by name on ties; forwarded requests go to final entries only."""

    parameters_model: ClassVar[type[Parameters]] = DispatcherOptions

    def __init__(self, site: Site, parameters: DispatcherOptions) -> None:
        super().__init__(site, parameters)
        self._conf = parameters.ptimeest_conf
        self._estimator = make_estimator(self._conf)
        self._probes = asyncio.Semaphore(self._conf.max_clients if isinstance(self._conf, ProbeConf) else 1)
        self._writes = not isinstance(self._conf, RttConf) and bool(self._conf.output)

    def make_tables(self) -> tuple[RoutingTable, ...]:
        """One, whose weights play no part."""
        return (RoutingTable(LeastImpedance, Fixed()),)

    async def pick(self, request: LambdaRequest) -> Choice | None:
        """Compares the estimates of all destinations."""
        names = self.tables[0].destinations(request.name, final_only=request.forward)
        if self._estimator is None:
            return await self._ask(request, names)
        now, size = self.env.now(), len(request.input)
        choices = [Choice(name, self._estimator.estimate(Key(request.name, name), size, now)) for name in names]
        return min(choices, key=_total, default=None)

    async def _ask(self, request: LambdaRequest, names: list[str]) -> Choice | None:
        answers = await asyncio.gather(*(self._probe(request, name) for name in names))
        return min((answer for answer in answers if answer), key=_total, default=None)

    async def _probe(self, request: LambdaRequest, destination: str) -> Choice | None:
        question = dataclasses.replace(request, dry=True, forward=True, hops=request.hops + 1)
        async with self._probes:
            try:
                reply = await self.env.call(destination, RUN_LAMBDA, question, PROBE_TIMEOUT_S)
            except CallFailed as failure:
                if failure.kind == "unreachable" or self.options.strict_original:
                    self.evict(request.name, destination)
                return None
        return Choice(destination, Estimate(0.0, reply.ptime / 1000)) if reply.retcode == OK else None

    def learn(self, request: LambdaRequest, choice: Choice, reply: LambdaResponse | None, seconds: float) -> None:
        """A point for the estimator, and a row of the dataset if it was asked for."""
        if reply is None:
            return
        seen = Seen(len(request.input), seconds, reply.ptime / 1000, reply.load1)
        if self._estimator is not None:
            self._estimator.learn(Key(request.name, choice.destination), seen, self.env.now())
        if self._writes and choice.estimate is not None:
            self._write(Key(request.name, choice.destination), seen, choice.estimate)

    def forgotten(self, key: Key) -> None:
        """What was learned of it goes too."""
        if self._estimator is not None:
            self._estimator.forget(key)

    def _write(self, key: Key, seen: Seen, estimate: Estimate) -> None:
        row: dict[str, Cell] = {
            "t": self.env.now(),
            "node": self.env.node,
            "function": key.function,
            "destination": key.destination,
            "size": seen.size,
            "load1": seen.load,
            "network_estimate_s": estimate.network if isinstance(self._conf, UtilConf) else None,
            "network_s": seen.total - seen.ptime,
            "ptime_estimate_s": estimate.processing,
            "ptime_s": seen.ptime,
        }
        self.env.emit(ESTIMATES.name, row)


def _total(choice: Choice) -> float:
    return choice.estimate.total if choice.estimate else 0.0
