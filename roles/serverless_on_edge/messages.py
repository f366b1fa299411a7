"""The messages and methods of ServerlessOnEdge (proto3, package ``uiiit.rpc``), as plain dataclasses.

The number, kind and original name of each field stand beside it: ``codec.py`` builds the encoding from them, and
``uiiit_rpc.proto`` says the same in protobuf's own language. Durations are in milliseconds and loads in percent, since
that is what travels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

from testbed.roles.api import Method

Kind = Literal["string", "bytes", "bool", "uint32", "uint64", "float", "enum", "message"]
OK = "OK"


@dataclass(frozen=True, slots=True)
class Wired:
    """How a field travels: its number and kind, the message it holds, its original name where that differs."""

    number: int
    kind: Kind
    holds: type[Any] | None = None
    shape: Literal["one", "many", "map"] = "one"
    name: str = ""


def _text(number: int, name: str = "") -> Any:
    return field(default="", metadata={"wired": Wired(number, "string", name=name)})


def _blob(number: int) -> Any:
    return field(default=b"", metadata={"wired": Wired(number, "bytes")})


def _flag(number: int) -> Any:
    return field(default=False, metadata={"wired": Wired(number, "bool")})


def _count(number: int, name: str = "") -> Any:
    return field(default=0, metadata={"wired": Wired(number, "uint32", name=name)})


def _many(number: int, kind: Kind, holds: type[Any] | None = None) -> Any:
    return field(default=(), metadata={"wired": Wired(number, kind, holds, "many")})


def _map(number: int, kind: Kind, holds: type[Any] | None = None) -> Any:
    return field(default_factory=dict, metadata={"wired": Wired(number, kind, holds, "map")})


class Action(IntEnum):
    """What an EdgeRouterConf asks a router to do with its tables."""

    FLUSH = 0
    CHANGE = 1
    REMOVE = 2


@dataclass(frozen=True, slots=True)
class Void:
    """Nothing to say."""


@dataclass(frozen=True, slots=True)
class State:
    """A piece of application state: its content, or the endpoint of the state server that holds it."""

    name: str = _text(1)
    location: str = _text(2)
    content: bytes = _blob(3)


@dataclass(frozen=True, slots=True)
class IndexList:
    """The functions that follow one function of a DAG, by index."""

    functions: tuple[int, ...] = _many(1, "uint64")


@dataclass(frozen=True, slots=True)
class FunctionList:
    """The functions that use one state."""

    functions: tuple[str, ...] = _many(1, "string")


@dataclass(frozen=True, slots=True)
class Dag:
    """A graph of N+1 functions, with N lists of successors: the last function has none."""

    successors: tuple[IndexList, ...] = _many(1, "message", IndexList)
    names: tuple[str, ...] = _many(2, "string")


@dataclass(frozen=True, slots=True)
class LambdaRequest:
    """A call of a function. ``forward`` is set by a router or dispatcher: the next router uses final entries only.

    The last four are ours (the original skips them): the function of a DAG that calls this one, counted from 1, and
    the microseconds that the functions before it took.
    """

    name: str = _text(1)
    input: str = _text(2)
    datain: bytes = _blob(3)
    dry: bool = _flag(4)
    forward: bool = _flag(5)
    hops: int = _count(6)
    states: Mapping[str, State] = _map(7, "message", State)
    callback: str = _text(8)
    chain: tuple[str, ...] = _many(9, "string")
    dag: Dag | None = field(default=None, metadata={"wired": Wired(10, "message", Dag)})
    dependencies: Mapping[str, FunctionList] = _map(11, "message", FunctionList)
    next_function_index: int = _count(12, "nextFunctionIndex")
    uuid: str = _text(13)
    came_from: int = _count(20, "cameFrom")
    queue_us: int = _count(21, "queueUs")
    init_us: int = _count(22, "initUs")
    exec_us: int = _count(23, "execUs")

    def onward(self) -> LambdaRequest:
        """The same, forwarded; written out, since dataclasses.replace takes thrice as long, at every call."""
        return LambdaRequest(
            self.name, self.input, self.datain, False, True, self.hops + 1, self.states, self.callback, self.chain,
            self.dag, self.dependencies, self.next_function_index, self.uuid, self.came_from, self.queue_us,
            self.init_us, self.exec_us,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LambdaResponse:
    """The answer to a call: ``retcode`` is OK or an error's text, ``ptime`` milliseconds on the computer.

    The last five are ours (the original skips them): parts of that time in microseconds, all 0 where not told; the
    ``uuid`` of the request that a callback answers; how a function that ran failed, in OpenWhisk's words: 1 by an error
    of its own, 2 by one of its developer (so the computer is well), 0 else.
    """

    retcode: str = _text(1)
    output: str = _text(2)
    responder: str = _text(3)
    ptime: int = _count(4)
    dataout: bytes = _blob(5)
    load1: int = _count(6)
    load10: int = _count(7)
    load30: int = _count(8)
    hops: int = _count(9)
    states: Mapping[str, State] = _map(10, "message", State)
    asynchronous: bool = _flag(11)
    queue_us: int = _count(20, "queueUs")
    init_us: int = _count(21, "initUs")
    exec_us: int = _count(22, "execUs")
    uuid: str = _text(23)
    action_status: int = _count(24, "actionStatus")


@dataclass(frozen=True, slots=True)
class StateResponse:
    """How a Get, Put or Del of a state ended, and the state that was asked for."""

    retcode: str = _text(1)
    state: State | None = field(default=None, metadata={"wired": Wired(2, "message", State)})


@dataclass(frozen=True, slots=True)
class Container:
    """What a computer offers: one function, on one processor, with a number of workers."""

    name: str = _text(1)
    processor: str = _text(2)
    function: str = _text(3, "lambda")
    num_workers: int = _count(4, "numWorkers")


@dataclass(frozen=True, slots=True)
class ComputerInfo:
    """A computer as it announces itself: the endpoint of its edge server and its containers.

    ``period_ms`` is ours (the original skips it): it will announce itself again after so long; 0: it may not.
    """

    endpoint: str = _text(1, "edgeServerEndpoint")
    containers: tuple[Container, ...] = _many(2, "message", Container)
    period_ms: int = _count(16, "periodMs")


@dataclass(frozen=True, slots=True)
class RouterInfo:
    """A router as it announces itself: where it takes calls, and where its tables are configured.

    ``heartbeat`` is ours (the original skips it): this router believes that its tables are in order, so that a
    controller that knows it need not fill them again. ``period_ms`` as that of a computer. ``many``: it heeds ``more``
    in changes of its tables.
    """

    endpoint: str = _text(1, "edgeServerEndpoint")
    configuration_endpoint: str = _text(2, "forwardingTableEndpoint")
    heartbeat: bool = _flag(15)
    period_ms: int = _count(16, "periodMs")
    many: bool = _flag(17)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a router's tables. A ``weight`` is in seconds; ``final`` entries lead to a computer."""

    action: Action = field(default=Action.FLUSH, metadata={"wired": Wired(1, "enum", Action)})
    function: str = _text(2, "lambda")
    destination: str = _text(3)
    weight: float = field(default=0.0, metadata={"wired": Wired(4, "float")})
    final: bool = _flag(5)


@dataclass(frozen=True, slots=True)
class EdgeRouterConf(Change):
    """A change of a router's tables; ``more`` is ours (the original skips it): changes that follow this one."""

    more: tuple[Change, ...] = _many(16, "message", Change)


@dataclass(frozen=True, slots=True)
class Return:
    """How a Configure ended: ``OK``, or a text that begins with ``Error``."""

    msg: str = _text(2)


@dataclass(frozen=True, slots=True)
class TableId:
    """Asks for a table: 0 holds all destinations, 1 the final ones."""

    value: int = _count(1)


@dataclass(frozen=True, slots=True)
class NumTables:
    """How many tables there are: two at a router, one at a dispatcher."""

    value: int = _count(1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One destination of one function in a table, with its weight in seconds."""

    function: str = _text(1, "lambda")
    destination: str = _text(2)
    weight: float = field(default=0.0, metadata={"wired": Wired(3, "float")})
    final: bool = _flag(4)


@dataclass(frozen=True, slots=True)
class ForwardingTable:
    """A whole table, sorted by function and destination."""

    entries: tuple[Entry, ...] = _many(1, "message", Entry)


@dataclass(frozen=True, slots=True)
class Utilization:
    """The utilisation of each processor over the last second, from 0 to 1."""

    values: Mapping[str, float] = _map(1, "float")


MESSAGES: tuple[type[Any], ...] = (
    Void, State, IndexList, FunctionList, Dag, LambdaRequest, LambdaResponse, Container, ComputerInfo, RouterInfo,
    Change, EdgeRouterConf, Return, TableId, NumTables, Entry, ForwardingTable, Utilization, StateResponse,
)  # fmt: skip

RUN_LAMBDA = Method("/uiiit.rpc.EdgeServer/RunLambda", LambdaRequest, LambdaResponse)
ANNOUNCE_COMPUTER = Method("/uiiit.rpc.EdgeController/AnnounceComputer", ComputerInfo, Void)
REMOVE_COMPUTER = Method("/uiiit.rpc.EdgeController/RemoveComputer", ComputerInfo, Void)
REMOVE_ROUTER = Method("/uiiit.rpc.EdgeController/RemoveRouter", RouterInfo, Void)  # ours
ANNOUNCE_ROUTER = Method("/uiiit.rpc.EdgeController/AnnounceRouter", RouterInfo, Void)
CONFIGURE = Method("/uiiit.rpc.EdgeRouter/Configure", EdgeRouterConf, Return)
GET_TABLE = Method("/uiiit.rpc.EdgeRouter/GetTable", TableId, ForwardingTable)
GET_NUM_TABLES = Method("/uiiit.rpc.EdgeRouter/GetNumTables", Void, NumTables)
STREAM_UTIL = Method("/uiiit.rpc.EdgeComputer/StreamUtil", Void, Utilization, streams=True)
RECEIVE_RESPONSE = Method("/uiiit.rpc.CallbackServer/ReceiveResponse", LambdaResponse, Void)
GET_STATE = Method("/uiiit.rpc.StateServer/Get", State, StateResponse)
PUT_STATE = Method("/uiiit.rpc.StateServer/Put", State, StateResponse)
DEL_STATE = Method("/uiiit.rpc.StateServer/Del", State, StateResponse)
