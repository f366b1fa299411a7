"""Calls of a proxy to the edge, and the records that it makes of their answers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from dataclasses import dataclass
from typing import Any

from roles.openwhisk.activation import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    INTERNAL_ERROR,
    STATUSES,
    Activation,
    Activations,
    Done,
    Pairs,
    judged,
    too_long,
)
from roles.openwhisk.entities import Action, Code, pairs
from roles.openwhisk.errors import NO_RESOURCE
from roles.openwhisk.invoking import Ids, waited
from roles.openwhisk.names import Full
from roles.openwhisk.throttle import Throttle
from roles.serverless_on_edge.datasets import PROXIED
from roles.serverless_on_edge.messages import OK, RUN_LAMBDA, LambdaRequest, LambdaResponse
from roles.serverless_on_edge.tables import NO_DESTINATIONS
from roles.serverless_on_edge.wskproxy_options import ProxyOptions
from testbed.roles.api import CallFailed, Environment

KIND = "edge"  # of all actions, as far as a proxy can tell
SHOWN = 500  # characters of a text in the log
MOST_SAID = 1000  # characters of an error that are told
PART_BYTES = 80  # about what a value takes in memory beside its text
_PARTS = (b",", b"[", b"{")
HOPS = 1  # of what it sends: clients send 0, and each agent on the way adds one
# What a server says through its computer: it has too much to do, or an action has gone that the routers still know.
_PASSED_ON = re.compile(r"OpenWhisk at \S+ says (?P<status>404|429): (?P<why>.*)", re.DOTALL)
_OF_ACTIONS = {APPLICATION_ERROR, DEVELOPER_ERROR}
log = logging.getLogger(__name__)


@dataclass(slots=True)
class EdgeActivation(Activation):
    """A record of a call. ``refused`` is the status with which a caller is refused whose action did not run, or 0."""

    hops: int = 0
    responder: str = ""
    refused: int = 0

    def annotations(self) -> Pairs:
        """What a proxy knows of it."""
        noted: dict[str, Any] = {"path": self.action.path, "waitTime": self.wait_ms, "kind": KIND}
        noted |= {"timeout": self.done.timed_out}
        if self.done.init_s is not None:
            noted["initTime"] = round(self.done.init_s * 1000)
        return pairs(noted | {"hops": self.hops, "responder": self.responder})


@dataclass(frozen=True, slots=True)
class Wish:
    """An invocation that is asked for. ``user`` is the namespace that its record belongs to, ``share`` whose allowance
    it counts to; the edge calls ``name`` ``function``."""

    user: str
    share: str
    name: Full
    function: str
    given: str
    wait_s: float


class Edge:
    """Calls functions at the edge, ``num-threads`` at a time."""

    def __init__(self, env: Environment, options: ProxyOptions, endpoint: str) -> None:
        self.endpoint = endpoint
        self._env, self._options = env, options
        self._threads = asyncio.Semaphore(options.num_threads)
        self.calling = 0

    async def call(self, function: str, given: str, id_: str = "") -> LambdaResponse:
        """The answer; one that did not come is told as a retcode, too. ``id_`` is that of the activation, if any."""
        arrived, request = self._env.now(), LambdaRequest(function, given, hops=HOPS)
        async with self._threads:
            began = self._env.now()
            self.calling += 1
            try:
                reply = await self._env.call(self.endpoint, RUN_LAMBDA, request, self._options.call_timeout)
            except CallFailed as failure:
                reply = LambdaResponse(str(failure), hops=HOPS)
            finally:
                self.calling -= 1
        now = self._env.now()
        if self._options.verbosity:
            log.info("%s", line(now - began, reply))
        self._env.emit(PROXIED.name, {
            "t": now, "node": self._env.node, "activation_id": id_ or None, "function": function,
            "responder": reply.responder, "hops": reply.hops, "queue_s": began - arrived, "latency_s": now - began,
            "error": "" if reply.retcode == OK else reply.retcode[:MOST_SAID],
        })  # fmt: skip
        return reply


def line(seconds: float, reply: LambdaResponse) -> str:
    """What the original's log has of an answer that took so long; long texts are cut."""
    loads = f"{reply.load1}/{reply.load10}/{reply.load30}"
    return (
        f"{seconds:g} retcode: {_shown(reply.retcode)}, from: {_shown(reply.responder)}, ptime: {reply.ptime} ms, "
        f"hops: {reply.hops}, load: {loads}, output: {_shown(reply.output)}, dataout size: {len(reply.dataout)}"
    )


def _shown(text: str) -> str:
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:SHOWN])


class Calls:
    """Carries out invocations. Each one that was accepted ends once, and leaves a record."""

    def __init__(
        self, env: Environment, edge: Edge, throttle: Throttle, activations: Activations, most_bytes: int
    ) -> None:
        self._env, self._edge, self._throttle, self._activations = env, edge, throttle, activations
        self._most = most_bytes
        self.ids = Ids(env)
        self.under_way: dict[str, float] = {}  # activations, and when they began

    async def invoke(self, wish: Wish) -> tuple[str, EdgeActivation | None]:
        """Begin an invocation, and wait for it: its id, and its record if it is there in time. Raises Refused (429)."""
        self._throttle.enter(wish.share, self._env.wall())
        id_, ended = self.ids(), asyncio.get_running_loop().create_future()
        self.under_way[id_] = self._env.now()
        self._env.spawn(self._carry_out(id_, wish, ended))
        if not wish.wait_s:
            return id_, None
        return id_, await waited(ended, wish.wait_s)

    async def _carry_out(self, id_: str, wish: Wish, ended: asyncio.Future[EdgeActivation | None]) -> None:
        reply = await self._edge.call(wish.function, wish.given, id_)
        record = self._record(id_, wish, reply)
        self._throttle.leave(wish.share)
        self._activations.add(record)
        if not ended.done():
            ended.set_result(record)

    def _record(self, id_: str, wish: Wish, reply: LambdaResponse) -> EdgeActivation:
        """The record of an answer that came now. What it took beside the function's own time counts as waiting."""
        taken_s, end = self._env.now() - self.under_way.pop(id_), round(self._env.wall() * 1000)
        ran_s = min(taken_s, _ran_s(reply, taken_s))
        refused, done = judgement(reply, self._most)
        return EdgeActivation(
            id_, wish.user, wish.user, Action(wish.name, Code(KIND)), end - round(ran_s * 1000), end,
            round((taken_s - ran_s) * 1000), done, hops=reply.hops, responder=reply.responder, refused=refused,
        )  # fmt: skip


def _ran_s(reply: LambdaResponse, otherwise: float) -> float:
    """How long the function ran: as told in parts, or as a whole, or not at all."""
    if reply.queue_us or reply.init_us or reply.exec_us:
        return (reply.init_us + reply.exec_us) / 1e6
    return reply.ptime / 1000 or otherwise


def judgement(reply: LambdaResponse, most: int) -> tuple[int, Done]:
    """What an answer means: how the activation ended, and with what status a caller is refused if it did not run.

    A result of more than ``most`` bytes is an error of the action, as at a server.
    """
    code = reply.retcode[:MOST_SAID]
    if code != OK and reply.action_status not in _OF_ACTIONS:
        return _not_run(code)
    if (size := max(len(reply.dataout), len(reply.output))) > most:
        return 0, Done.failed(DEVELOPER_ERROR, too_long(size, most))
    done = judged(result_of(reply))
    if code != OK:
        error = done.result if isinstance(done.result, dict) and "error" in done.result else {"error": _bare(code)}
        done = Done(reply.action_status, error)
    done.init_s = reply.init_us / 1e6 if reply.init_us else None
    done.size = 300 + size + PART_BYTES * sum(map((reply.dataout or reply.output.encode()).count, _PARTS))
    return 0, done


def _not_run(code: str) -> tuple[int, Done]:
    if _is_unknown(code):
        return 404, Done.failed(INTERNAL_ERROR, NO_RESOURCE)
    if found := _PASSED_ON.fullmatch(code):
        return int(found["status"]), Done.failed(INTERNAL_ERROR, found["why"])
    return 503, Done.failed(INTERNAL_ERROR, f"The edge did not carry this out: {code}")


def result_of(reply: LambdaResponse) -> Any:
    """The result: all of it as JSON, or the JSON object that the output is, or the output as ``payload``."""
    if reply.dataout:
        try:
            return json.loads(reply.dataout)
        except (ValueError, RecursionError):
            log.warning("%s answered with a dataout that is no JSON", reply.responder)
    try:
        found = json.loads(reply.output)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"payload": reply.output}


def _bare(retcode: str) -> str:
    """The text of an action's error, without the words before it."""
    for status in _OF_ACTIONS:
        retcode = retcode.removeprefix(f"{STATUSES[status]}: ")
    return retcode


def _is_unknown(retcode: str) -> bool:
    """Whether nobody offers the function, as told by a router, or by a computer that is called directly."""
    return (retcode.startswith(NO_DESTINATIONS) and "(after " not in retcode) or retcode.startswith("unknown lambda")
