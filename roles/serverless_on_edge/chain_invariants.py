"""What always holds of chains, DAGs, asynchronous calls and states, whatever dies or is delivered twice.

With ``strict-original`` nothing of it is promised: states have no names of their own there, and copies run again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from roles.serverless_on_edge.client import EdgeClient
from roles.serverless_on_edge.computer import Computer
from roles.serverless_on_edge.states import StateStore
from testbed.roles.api import Invariant, Observed

SLACK_S = 1.0


def _clients(seen: Observed) -> Iterator[EdgeClient]:
    return (role for role in seen.agents.values() if isinstance(role, EdgeClient))


def _ends(seen: Observed) -> Iterator[str]:
    for client in _clients(seen):
        for uuid, waiting in client.chains.waiting.items():
            late = seen.now - waiting.until
            if late > SLACK_S:
                yield f"{client.site.node} still waits for the callback of {uuid}, {late:.2f} s after its time"


def _callbacks(seen: Observed) -> Iterator[str]:
    for client in _clients(seen):
        for uuid, times in client.chains.answered.items():
            if times > 1:
                yield f"{client.site.node} used {times} callbacks for the call {uuid}"


def _executions(seen: Observed) -> Iterator[str]:
    for role in seen.agents.values():
        if isinstance(role, Computer) and role.calls is not None and not role.options.strict_original:
            for (uuid, index), times in role.calls.executed.items():
                if times > 1:
                    yield f"{role.site.node} executed function {index} of {uuid} {times} times"


def _stores(seen: Observed) -> Iterator[tuple[str, StateStore]]:
    """Where states lie: at a node, in a store; none of agents that are strictly as the original."""
    for role in seen.agents.values():
        if isinstance(role, EdgeClient | Computer) and not role.options.strict_original:
            home = role.chains.home if isinstance(role, EdgeClient) else role.home
            if home is not None and home.store is not None:
                yield role.site.node, home.store


def _homes(seen: Observed) -> Iterator[str]:
    stores = [*_stores(seen)]
    places: dict[str, list[str]] = defaultdict(list)
    for node, store in stores:
        for name in store.names():
            places[name].append(node)
    moving = {name for _, store in stores for name in store.moving}
    for name, nodes in places.items():
        if len(nodes) > 1 and name not in moving:
            yield f"the state {name} is on {' and on '.join(nodes)}"


def _left(seen: Observed) -> Iterator[str]:
    for client in _clients(seen):
        home = client.chains.home
        if home is not None and home.store is not None and not client.options.strict_original:
            wanted = {name for waiting in client.chains.waiting.values() for name in waiting.states}
            for name in sorted(home.store.names() - wanted):
                yield f"{client.site.node} keeps the state {name}, whose call has ended"


ALL: tuple[Invariant, ...] = (
    Invariant(
        "asynchronous calls end",
        f"No call waits for its callback longer than its time-out, and {SLACK_S:g} s.",
        _ends,
    ),
    Invariant(
        "callbacks count once",
        "A call uses one callback at most, however many come, at any moment.",
        _callbacks,
    ),
    Invariant(
        "functions of a chain run once",
        "A computer executes each function of an asynchronous call, chain or DAG once, at any moment.",
        _executions,
    ),
    Invariant(
        "a state has one home",
        "No state is with two agents, unless one of them is just fetching it, at any moment.",
        _homes,
    ),
    Invariant(
        "clients tidy up",
        "A client keeps the states of calls under way and no others, at any moment.",
        _left,
    ),
)
