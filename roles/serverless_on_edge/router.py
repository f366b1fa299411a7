"""The e-router: picks a destination from a weighted table, and learns the weights from what calls take."""

from __future__ import annotations

from typing import ClassVar

from roles.serverless_on_edge.forwarder import Choice, Forwarder
from roles.serverless_on_edge.messages import LambdaRequest, LambdaResponse
from roles.serverless_on_edge.options import (
    AsyncOptimizer,
    ProportionalFairnessTable,
    RouterOptions,
    TrivialOptimizer,
)
from roles.serverless_on_edge.policies import Policy, make_policy
from roles.serverless_on_edge.tables import Key, Optimizer, RoutingTable, make_optimizer
from testbed.roles.api import Parameters, Site


class Router(Forwarder):
    """Two tables: #0 for requests of clients, #1 with final entries for requests that were forwarded before."""

    parameters_model: ClassVar[type[Parameters]] = RouterOptions

    def __init__(self, site: Site, parameters: RouterOptions) -> None:
        super().__init__(site, parameters)
        self._table_conf, self._optimizer_conf = parameters.table_conf, parameters.optimizer_conf

    def make_tables(self) -> tuple[RoutingTable, ...]:
        """Two, each with an optimizer of its own."""
        return RoutingTable(self._policy, self._optimizer()), RoutingTable(self._policy, self._optimizer())

    def _policy(self) -> Policy:
        conf, exponents = self._table_conf, (1.0, 1.0)
        if isinstance(conf, ProportionalFairnessTable):
            exponents = conf.alpha, conf.beta
        return make_policy(conf.type, self.env.rng("table"), *exponents)()

    def _optimizer(self) -> Optimizer:
        conf = self._optimizer_conf
        periodic = conf if isinstance(conf, TrivialOptimizer) else TrivialOptimizer()
        alpha = conf.alpha if isinstance(conf, AsyncOptimizer) else 0.0
        return make_optimizer(conf.type, periodic.period, periodic.stat, alpha)

    def _table(self, request: LambdaRequest) -> RoutingTable:
        return self.tables[1 if request.forward else 0]

    async def pick(self, request: LambdaRequest) -> Choice | None:
        """Asks the table that fits the request."""
        destination = self._table(request).pick(request.name, self.env.now())
        return Choice(destination) if destination else None

    def learn(self, request: LambdaRequest, choice: Choice, reply: LambdaResponse | None, seconds: float) -> None:
        """Tells the table that was asked. A call that was given up counts with the time that it cost."""
        taken = reply.ptime / 1000 if reply and self.options.router_conf.fake else seconds
        self._table(request).sample(Key(request.name, choice.destination), taken, self.env.now(), reply is not None)
