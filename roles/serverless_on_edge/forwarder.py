"""What router and dispatcher have in common: taking and forwarding calls, and doing without what fails."""

from __future__ import annotations

import asyncio
import dataclasses
from abc import abstractmethod
from typing import Literal, NamedTuple

from roles.serverless_on_edge.announcing import CALL_TIMEOUT_S, Announcer, controller_of
from roles.serverless_on_edge.chains import joins, meeting_place, oversized
from roles.serverless_on_edge.datasets import TABLES
from roles.serverless_on_edge.estimators import Estimate
from roles.serverless_on_edge.limits import MOST_HOPS, Refused, shown, wrong_with_endpoint, wrong_with_name
from roles.serverless_on_edge.messages import (
    ANNOUNCE_ROUTER,
    CONFIGURE,
    GET_NUM_TABLES,
    GET_TABLE,
    OK,
    REMOVE_COMPUTER,
    REMOVE_ROUTER,
    RUN_LAMBDA,
    Action,
    Change,
    ComputerInfo,
    EdgeRouterConf,
    ForwardingTable,
    LambdaRequest,
    LambdaResponse,
    NumTables,
    Return,
    RouterInfo,
    TableId,
    Void,
)
from roles.serverless_on_edge.options import ForwarderOptions
from roles.serverless_on_edge.tables import NO_DESTINATIONS, Key, RoutingTable
from testbed.roles.api import CallFailed, Environment, Role, Service, Site
from testbed.tables import Cell

REPORT_PERIOD_S = 1.0
TOLD = 5  # errors of one message
FRESH_S, AGAIN_S = 0.5, 0.1  # for how long a destination that came back is called again, and how often
Happening = Literal["change", "remove", "flush", "evict", "weight"]


class Choice(NamedTuple):
    """Where a call goes, and what it is predicted to take if there is a prediction."""

    destination: str
    estimate: Estimate | None = None


class Forwarder(Role):
    """Takes calls on one port and configuration on another. ``tables``: #0 with all destinations, maybe #1."""

    env: Environment
    tables: tuple[RoutingTable, ...]

    def __init__(self, site: Site, parameters: ForwarderOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters
        self.endpoint = site.endpoint(site.node, parameters.server_endpoint)
        self._controller = controller_of(site, parameters)
        self._threads = asyncio.Semaphore(parameters.num_threads)
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._lost: set[str] = set()  # destinations that failed and were not announced since
        self._back: dict[str, float] = {}  # when others that had failed were announced again
        self._announcer: Announcer | None = None
        self._disorder, self._repaired, self._told = 1, 0, 0  # counts what the controller must mend; see evict

    @abstractmethod
    def make_tables(self) -> tuple[RoutingTable, ...]:
        """The tables, empty; called when ``env`` is set."""

    @abstractmethod
    async def pick(self, request: LambdaRequest) -> Choice | None:
        """The destination of a call; None where there is none."""

    @abstractmethod
    def learn(self, request: LambdaRequest, choice: Choice, reply: LambdaResponse | None, seconds: float) -> None:
        """A call has ended well after ``seconds``, its wait for a slot included; without a reply it was given up."""

    def forgotten(self, key: Key) -> None:
        """An entry has gone."""

    async def start(self, env: Environment) -> None:
        """Serve, then make this router known to the controller."""
        self.env = env
        self.tables = self.make_tables()
        self._pre_fill()
        tables: Service = {CONFIGURE: self.configure, GET_TABLE: self.get_table, GET_NUM_TABLES: self.get_num_tables}
        await env.serve(self.options.configuration_endpoint, tables)
        await env.serve(self.options.server_endpoint, {RUN_LAMBDA: self.run_lambda})
        env.spawn(self._report_weights())
        if self._controller is not None:
            period = self.options.heartbeat()
            self._announcer = Announcer(env, self._controller, ANNOUNCE_ROUTER, self._information, period, self._heard)
            await self._announcer.start(needed=False)

    async def stop(self, env: Environment) -> None:
        """Have the controller forget this router, which takes calls to its end."""
        if self._announcer is not None and not self.options.strict_original:
            await self._announcer.leave(REMOVE_ROUTER, RouterInfo(self.endpoint))

    def _information(self) -> RouterInfo:
        configuration = self.site.endpoint(self.site.node, self.options.configuration_endpoint)
        self._told = self._disorder
        period_ms = round(1000 * self.options.heartbeat())
        many = not self.options.strict_original
        return RouterInfo(self.endpoint, configuration, self._repaired == self._disorder, period_ms, many)

    def _heard(self) -> None:
        if self.options.heartbeat():
            self._repaired = self._told

    def _pre_fill(self) -> None:
        now = self.env.now()
        for i in range(self.options.fake_num_lambdas):
            for j in range(self.options.fake_num_destinations):
                for table in self.tables:
                    table.change(Key(f"lambda{i}", f"destination{j}:10000"), 1.0, True, now)

    async def run_lambda(self, request: LambdaRequest) -> LambdaResponse:
        """Answer one call by somebody else's work; at most ``num-threads`` at a time, others wait."""
        async with self._threads:
            if request.hops > MOST_HOPS:
                return LambdaResponse("loop detected", hops=request.hops)
            if wrong := oversized(request):
                return LambdaResponse(wrong, hops=request.hops)
            return await self._forward(request)

    async def _forward(self, request: LambdaRequest) -> LambdaResponse:
        onward = request.onward()
        failures: list[str] = []
        while self.options.strict_original or len(failures) <= self.options.max_retries:
            choice = self._meeting(request) or await self.pick(request)
            if choice is None:
                break
            destination = choice.destination
            began = self.env.now()
            reply = await self._attempt(request.name, destination, onward)
            if reply is None:
                continue  # it went while the call waited for a slot
            if isinstance(reply, CallFailed):
                if reply.kind != "unreachable" and not self.options.strict_original:
                    self.learn(request, choice, None, self.env.now() - began)
                    return LambdaResponse(str(reply), responder=destination, hops=onward.hops)
                failures.append(f"{destination} {reply}")
            elif reply.retcode == OK or not self.options.strict_original:
                if reply.retcode == OK:
                    self.learn(request, choice, reply, self.env.now() - began)
                return reply if reply.responder else dataclasses.replace(reply, responder=destination)
            else:
                failures.append(f"{destination} {reply.retcode}")
            self.evict(request.name, destination)
            if not self.options.strict_original:
                await self.env.sleep(self.options.retry_backoff * 2 ** (len(failures) - 1))
        after = f" (after {'; '.join(failures)})" if failures else ""
        return LambdaResponse(f"{NO_DESTINATIONS} for the entry {shown(request.name)}{after}", hops=request.hops)

    def _meeting(self, request: LambdaRequest) -> Choice | None:
        """Where all branches of a DAG meet, whichever router they come through; the original leaves that to chance."""
        if request.dag is None or self.options.strict_original or not joins(request):
            return None
        table = self.tables[-1 if request.forward else 0]
        final = table.destinations(request.name, final_only=True)
        place = meeting_place(request, final or table.destinations(request.name))
        return Choice(place) if place else None

    async def _attempt(self, function: str, to: str, request: LambdaRequest) -> LambdaResponse | CallFailed | None:
        """One call, in one of the destination's slots; None if the destination went while it waited."""
        limits = self.options.router_conf
        async with self._slots.setdefault(to, asyncio.Semaphore(limits.max_pending_clients)):
            if not self.tables[0].knows(Key(function, to)):
                return None
            if limits.max_forward_time > 0:
                pause = self.env.rng("forward-time").uniform(limits.min_forward_time, limits.max_forward_time)
                await self.env.sleep(pause)
            if limits.fake:
                return LambdaResponse(OK, hops=request.hops + 1, ptime=self.env.rng("fake").randrange(1000))
            while True:
                try:
                    return await self.env.call(to, RUN_LAMBDA, request, self.options.call_timeout)
                except CallFailed as failure:
                    if not self._is_back(to, failure):
                        return failure
                await self.env.sleep(AGAIN_S)

    def _is_back(self, to: str, failure: CallFailed) -> bool:
        """Whether a destination came back a moment ago: then the connection has only not been tried again yet."""
        since = self.env.now() - self._back.get(to, -FRESH_S)
        return failure.kind == "unreachable" and since < FRESH_S and not self.options.strict_original

    def evict(self, function: str, destination: str) -> None:
        """Do without a destination that failed, and have the controller tell the others."""
        whole = not self.options.strict_original
        functions = {*self.tables[0].functions_of(destination)} if whole else {function}
        finals = any(self.tables[0].is_final(Key(each, destination)) for each in functions)
        gone = [self._remove(Key(each, destination), "evict") for each in sorted(functions)]
        self._lost.add(destination)
        if any(gone) and self._controller is not None:
            # The controller does not bring back a router that it believes to be in our tables: ask for all entries.
            self._disorder += not finals
            self.env.spawn(self._denounce(self._controller, destination))

    async def _denounce(self, controller: str, destination: str) -> None:
        try:
            await self.env.call(controller, REMOVE_COMPUTER, ComputerInfo(destination), CALL_TIMEOUT_S)
        except CallFailed:
            self._disorder += 1  # the next announcement is no heartbeat, and the controller fills our tables again

    async def configure(self, conf: EdgeRouterConf) -> Return:
        """Change the tables: #0 always, #1 for final entries. What cannot be is told, the rest is done."""
        errors = []
        for change in (conf, *conf.more):
            try:
                self._apply(change)
            except ValueError as error:
                errors.append(str(error))
        return Return(f"Error: {'; '.join(errors[:TOLD])}" if errors else OK)

    def _apply(self, change: Change) -> None:
        key = Key(change.function, change.destination)
        if change.action is Action.FLUSH:
            self._flush()
        elif change.action is Action.REMOVE:
            self._remove(key, "remove")
        else:
            wrong = wrong_with_endpoint("the destination", change.destination)
            if wrong := wrong or wrong_with_name("the function", change.function):
                raise Refused(wrong)
            if change.destination in self._lost:
                self._back[change.destination] = self.env.now()
                self._lost.discard(change.destination)
            for number, table in enumerate(self.tables[: 2 if change.final else 1]):
                table.change(key, change.weight, change.final, self.env.now())
                self._note("change", number, key, change.weight, change.final)

    def _flush(self) -> None:
        for number, table in enumerate(self.tables):
            for entry in table.entries(self.env.now()):
                self.forgotten(Key(entry.function, entry.destination))
            table.flush()
            self._note("flush", number)

    def _remove(self, key: Key, action: Happening) -> bool:
        self.forgotten(key)
        gone = [number for number, table in enumerate(self.tables) if table.remove(key, self.env.now())]
        for number in gone:
            self._note(action, number, key)
        return bool(gone)

    async def get_table(self, table: TableId) -> ForwardingTable:
        """One table; an empty one for a number that does not exist."""
        known = table.value < len(self.tables)
        return ForwardingTable(self.tables[table.value].entries(self.env.now()) if known else ())

    async def get_num_tables(self, _: Void) -> NumTables:
        """How many tables there are."""
        return NumTables(len(self.tables))

    async def _report_weights(self) -> None:
        while True:
            await self.env.sleep(REPORT_PERIOD_S)
            for number, table in enumerate(self.tables):
                for entry in table.take_learned(self.env.now()):
                    self._note("weight", number, Key(entry.function, entry.destination), entry.weight, entry.final)

    def _note(
        self, action: Happening, table: int, key: Key | None = None, weight: float | None = None,
        final: bool | None = None,
    ) -> None:  # fmt: skip
        row: dict[str, Cell] = {"t": self.env.now(), "node": self.env.node, "table": table, "action": action}
        if key is not None:
            row |= {"function": key.function, "destination": key.destination, "weight": weight, "final": final}
        self.env.emit(TABLES.name, row)
