"""A small system with planted faults: a till that books a sale twice if it hears of it twice, and worse if asked to."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from testbed.roles.api import (
    CallFailed,
    Client,
    Duty,
    Environment,
    Invariant,
    Invocation,
    Method,
    Observed,
    Outcome,
    Parameters,
    Role,
    System,
    Wire,
)
from testbed.tables import Column, Table

PORT = 7000


@dataclass(frozen=True)
class Sale:
    number: int


SELL: Method[Sale, Sale] = Method("sell", Sale, Sale)
BOOK = Table("book", "Sales.", (Column("t", "number", "s", "When."), Column("sale", "integer", "", "Which.")))


class OnlyInTheTwin:
    """The codec half of a wire."""

    def encode(self, message: Any) -> bytes:
        return json.dumps(asdict(message)).encode()

    def decode(self, kind: type[Any], data: bytes) -> Any:
        return kind(**json.loads(data))

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        return 10


class TillParameters(Parameters):
    careful: bool = False  # knows a sale that it has booked
    proud: bool = False  # cannot stand a sale that comes after a later one
    lazy: bool = False  # does not get up again


class Till(Role):
    parameters_model = TillParameters

    async def start(self, env: Environment) -> None:
        self.booked: Counter[int] = Counter()
        if self.parameters.lazy and env.now() > 0:
            await asyncio.Event().wait()

        async def sell(sale: Sale) -> Sale:
            if self.parameters.proud and self.booked and max(self.booked) > sale.number:
                raise ValueError(f"sale {sale.number} comes too late")
            if not (self.parameters.careful and sale.number in self.booked):
                self.booked[sale.number] += 1
                env.emit("book", {"t": env.now(), "sale": sale.number})
            return sale

        await env.serve(PORT, {SELL: sell})


class Customer(Client):
    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        till = self.site.endpoint(self.site.places["till"][0], PORT)
        try:
            await env.call(till, SELL, Sale(invocation.invocation_id), timeout)
        except CallFailed as failure:
            return Outcome("timeout" if failure.kind == "timeout" else "error", str(failure))
        return Outcome("ok", node=self.site.places["till"][0])


def booked_once(seen: Observed) -> Iterator[str]:
    for (node, _), role in seen.agents.items():
        if isinstance(role, Till):
            for sale, times in role.booked.items():
                if times > 1:
                    yield f"the till on {node} has booked sale {sale} {times} times"


class Shop(System):
    name: ClassVar[str] = "till"
    roles: ClassVar[Mapping[str, type[Role]]] = {"till": Till, "customer": Customer}
    duties: ClassVar[Mapping[Duty, str]] = {"worker": "till", "client": "customer"}
    tables: ClassVar[tuple[Table, ...]] = (BOOK,)
    invariants: ClassVar[tuple[Invariant, ...]] = (
        Invariant("sales are booked once", "A till books each sale once, however often it hears of it.", booked_once),
    )

    def wire(self) -> Wire:
        return OnlyInTheTwin()  # type: ignore[return-value]


SYSTEM = Shop()
