"""What always holds of ServerlessOnEdge, whatever dies, returns, falls silent or is delivered twice.

Nothing here is promised where the original promises nothing: with ``strict-original``, or where heartbeats or expiry
are switched off, tables are whatever the last announcement made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

from roles.serverless_on_edge.announcing import CALL_TIMEOUT_S, controller_of
from roles.serverless_on_edge.computer import Computer
from roles.serverless_on_edge.controller import LOOKS, Controller
from roles.serverless_on_edge.forwarder import Forwarder
from roles.serverless_on_edge.installers import host_of
from roles.serverless_on_edge.wsk_computer import WskComputer
from testbed.roles.api import Invariant, Observed

EXPIRIES = 2 + 1 / LOOKS  # until a controller that was away has heard everybody and then compares the tables
SLACK_S = 1.0  # for messages on their way


@dataclass(frozen=True)
class _Realm:
    """A living controller, who lives in its charge, and within how many seconds it makes the tables right."""

    controller: Controller
    forwarders: tuple[Forwarder, ...]
    computers: tuple[Computer | WskComputer, ...]
    within_s: float

    @property
    def offers(self) -> dict[str, tuple[str, ...]]:
        """The functions of each computer, by its endpoint."""
        return {each.endpoint: tuple(container.function for container in each.information().containers)
                for each in self.computers}  # fmt: skip


def _realms(seen: Observed) -> Iterator[_Realm]:
    """Each controller that promises something and has had the time for it."""
    for role in seen.agents.values():
        if isinstance(role, Controller):
            realm = _realm(role, seen)
            if realm is not None and seen.now - seen.since > realm.within_s:
                yield realm


def _realm(controller: Controller, seen: Observed) -> _Realm | None:
    """None where somebody does not take part in heartbeats, or in expiry."""
    endpoint = controller.site.endpoint(controller.site.node, controller.options.server_endpoint)
    charges = [role for role in seen.agents.values() if isinstance(role, Forwarder | Computer | WskComputer)]
    own = [role for role in charges if controller_of(role.site, role.options) == endpoint]
    periods = [role.options.heartbeat() for role in own]
    if not own or not all(0 < period < controller.options.expiry() for period in periods):
        return None
    forwarders = tuple(role for role in own if isinstance(role, Forwarder))
    computers = tuple(role for role in own if isinstance(role, Computer | WskComputer))
    places = controller.site.places
    pushing = 2 * sum(len(places.get(role, ())) for role in ("router", "dispatcher")) * controller.options.push_timeout
    looking = max((role.actions.slowest_s for role in own if isinstance(role, WskComputer)), default=0.0)
    within = CALL_TIMEOUT_S + max(periods) + controller.options.expiry() * EXPIRIES + pushing + looking + SLACK_S
    return _Realm(controller, forwarders, computers, within)


def _no_dead_destinations(seen: Observed) -> Iterator[str]:
    alive = {role.endpoint for role in seen.agents.values() if isinstance(role, Forwarder | Computer | WskComputer)}
    for realm in _realms(seen):
        for forwarder in realm.forwarders:
            nodes = {address: node for node, address in forwarder.site.addresses.items()}
            for number, table in enumerate(forwarder.tables):
                for key in table.weights():
                    if key.destination not in alive and host_of(key.destination) in nodes:
                        yield (f"table {number} on {forwarder.site.node} still leads to {key.destination} for "
                               f"{key.function}, where nobody lives, {_late(seen, realm)}")  # fmt: skip


def _routes_again(seen: Observed) -> Iterator[str]:
    for realm in _realms(seen):
        finals = {each.endpoint: _finals(each) for each in realm.forwarders}
        for forwarder in realm.forwarders:
            for missing in _missing(realm, forwarder, finals):
                yield f"table 0 on {forwarder.site.node} {missing}, {_late(seen, realm)}"


def _missing(realm: _Realm, forwarder: Forwarder, finals: Mapping[str, set[tuple[str, str]]]) -> Iterator[str]:
    """What a table lacks: with a flat controller each computer itself, with another one a way to it."""
    table = forwarder.tables[0]
    for computer, functions in realm.offers.items():
        for function in functions:
            known = table.destinations(function)
            ways = {other for other in known if (function, computer) in finals.get(other, ())}
            if computer not in known and (realm.controller.options.installer_type == "flat" or not ways):
                yield f"has no way to {function} on {computer}"


def _finals(forwarder: Forwarder) -> set[tuple[str, str]]:
    table = forwarder.tables[0]
    return {(key.function, key.destination) for key in table.weights() if table.is_final(key)}


def _members(seen: Observed) -> Iterator[str]:
    for realm in _realms(seen):
        installer = realm.controller.installer
        for kind, known, living in (
            ("computers", set(installer.computers), {each.endpoint for each in realm.computers}),
            ("routers", set(installer.routers), {each.endpoint for each in realm.forwarders}),
        ):
            if known != living:
                yield (f"the controller on {realm.controller.site.node} knows the {kind} {_listed(known)}; alive are "
                       f"{_listed(living)}, {_late(seen, realm)}")  # fmt: skip


def _weights(seen: Observed) -> Iterator[str]:
    for role in seen.agents.values():
        if isinstance(role, Forwarder):
            for key, weight in (pair for table in role.tables for pair in table.weights().items()):
                if not (weight > 0 and isfinite(weight)):
                    yield f"on {role.site.node} the weight of {key.destination} for {key.function} is {weight}"


def _final_tables(seen: Observed) -> Iterator[str]:
    for role in seen.agents.values():
        if isinstance(role, Forwarder) and len(role.tables) > 1:
            first, second = _finals(role), {tuple(key) for key in role.tables[1].weights()}
            if first != second:
                odd = ", ".join(f"{function} at {to}" for function, to in sorted(first ^ second))
                yield f"on {role.site.node} the final entries of table 0 are not those of table 1: {odd}"


def _loads(seen: Observed) -> Iterator[str]:
    for role in seen.agents.values():
        if isinstance(role, Computer):
            for processor in role.model.processors.values():
                if not 0 <= processor.free <= processor.spec.memory:
                    yield f"{processor.spec.name} on {role.site.node} has {processor.free} bytes of memory free"
            for name, loads in role.loads().items():
                if not all(0 <= load <= 1 for load in (loads.load1, loads.load10, loads.load30)):
                    yield f"{name} on {role.site.node} is busy to {loads}"


def _listed(endpoints: set[str]) -> str:
    return ", ".join(sorted(endpoints)) or "none"


def _late(seen: Observed, realm: _Realm) -> str:
    return f"{seen.now - seen.since:.2f} s after the last change; {realm.within_s:g} s are allowed"


_WITHIN = (
    f"{CALL_TIMEOUT_S:g} s for a call that was lost + heartbeat-period + {EXPIRIES:g} x expire-after + "
    f"2 x push-timeout for each router and dispatcher + {SLACK_S:g} s after the last change or disturbance"
)

ALL: tuple[Invariant, ...] = (
    Invariant(
        "no dead destinations",
        f"Tables lead only to agents that live: within {_WITHIN}.",
        _no_dead_destinations,
    ),
    Invariant(
        "routes again",
        f"Tables lead to every function of every living computer: within {_WITHIN}.",
        _routes_again,
    ),
    Invariant(
        "members are known",
        f"A controller knows who lives in its charge, and nobody else: within {_WITHIN}.",
        _members,
    ),
    Invariant(
        "weights are times",
        "Every weight is above zero and finite, at any moment.",
        _weights,
    ),
    Invariant(
        "final tables agree",
        "Table 1 has the final entries of table 0, at any moment.",
        _final_tables,
    ),
    Invariant(
        "loads are shares",
        "No processor is busier than wholly or less than not at all, and none has more memory free than it has or less "
        "than none, at any moment.",
        _loads,
    ),
)
