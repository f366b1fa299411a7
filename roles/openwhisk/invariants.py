"""What always holds of servers and invokers, whatever is lost, cut off or killed."""

from __future__ import annotations

from collections.abc import Iterator

from roles.openwhisk.invoker import InvokerRole
from roles.openwhisk.pool import Pool
from roles.openwhisk.server import Server
from testbed.roles.api import Invariant, Observed

REST_S = 10.0  # for what is on its way and what waits, beside the time that a server gives an invocation


def _servers(seen: Observed) -> Iterator[tuple[str, Server]]:
    for (node, _), role in seen.agents.items():
        if isinstance(role, Server):
            yield node, role


def _pools(seen: Observed) -> Iterator[tuple[str, Pool]]:
    for (node, _), role in seen.agents.items():
        if isinstance(role, InvokerRole):
            yield node, role.pool
        elif isinstance(role, Server) and isinstance(role.runner, Pool):
            yield node, role.runner


def _once(seen: Observed) -> Iterator[str]:
    for node, server in _servers(seen):
        if server.invoking.repeated:
            yield f"at {node}, the activation {server.invoking.repeated[0]} ended twice"


def _capacity(seen: Observed) -> Iterator[str]:
    for node, pool in _pools(seen):
        counted = sum(box.memory_mb for box in pool.boxes)
        if pool.used_mb != counted:
            yield f"at {node}, containers have {counted} MB; {pool.used_mb} MB are counted"
        if pool.used_mb > pool.capacity_mb:
            yield f"at {node}, containers have {pool.used_mb} MB of {pool.capacity_mb} MB"
        if pool.running > len(pool.boxes):
            yield f"at {node}, {pool.running} jobs run in {len(pool.boxes)} containers"


def _in_flight(seen: Observed) -> Iterator[str]:
    for node, server in _servers(seen):
        for namespace, use in server.throttle.uses.items():
            most = server.throttle.allowance(namespace).concurrent
            if use.in_flight < 0 or (most is not None and use.in_flight > most):
                yield f"at {node}, {namespace} has {use.in_flight} invocations in flight; allowed are {most}"


def _all_end(seen: Observed) -> Iterator[str]:
    for node, server in _servers(seen):
        limits = [each.time_limit_s for each in server.site.functions.values()]
        most = 2 * max(limits, default=60.0) + server.parameters.answer_wait + REST_S
        late = [each for each, arrived in server.invoking.under_way.items() if seen.now - arrived > most]
        if late and seen.now - seen.since > REST_S:
            yield f"at {node}, {len(late)} activations have not ended after {most:g} s, such as {late[0]}"


ALL: tuple[Invariant, ...] = (
    Invariant("ends-once", "Each activation that began ends once.", _once),
    Invariant("capacity", "Containers never have more memory than their invoker.", _capacity),
    Invariant("throttled", "No namespace has more invocations in flight than it may have.", _in_flight),
    Invariant("all-end", "No activation is forgotten.", _all_end),
)
