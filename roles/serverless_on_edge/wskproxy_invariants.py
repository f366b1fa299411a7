"""What always holds of proxies for clients of OpenWhisk."""

from __future__ import annotations

from collections.abc import Iterator

from roles.serverless_on_edge.wskproxy import WskProxy
from testbed.roles.api import Invariant, Observed

REST_S = 1.0


def _proxies(seen: Observed) -> Iterator[tuple[str, WskProxy]]:
    for (node, _), role in seen.agents.items():
        if isinstance(role, WskProxy):
            yield node, role


def _bounds(seen: Observed) -> Iterator[str]:
    for node, proxy in _proxies(seen):
        options, uses = proxy.options, proxy.throttle.uses
        if proxy.edge.calling > options.num_threads:
            yield f"the proxy at {node} has {proxy.edge.calling} calls at the edge, beyond num-threads"
        for share, use in uses.items():
            if not 0 <= use.in_flight <= options.max_concurrent:
                yield f"the proxy at {node} has {use.in_flight} invocations in flight for {share or 'all callers'}"
        if len(proxy.activations) > options.keep_activations:
            yield f"the proxy at {node} keeps {len(proxy.activations)} records; allowed are {options.keep_activations}"


def _all_end(seen: Observed) -> Iterator[str]:
    for node, proxy in _proxies(seen):
        under_way, in_flight = proxy.calls.under_way, sum(use.in_flight for use in proxy.throttle.uses.values())
        if len(under_way) != in_flight and not proxy.options.strict_original:
            yield f"the proxy at {node} counts {in_flight} invocations in flight; under way are {len(under_way)}"
        turns = 1 + len(proxy.throttle.uses) * proxy.options.max_concurrent // proxy.options.num_threads
        most = proxy.options.call_timeout * turns + REST_S
        late = [each for each, began in under_way.items() if seen.now - began > most]
        if late:
            yield f"the proxy at {node} has {len(late)} invocations that have not ended after {most:g} s"


ALL: tuple[Invariant, ...] = (
    Invariant("a proxy keeps its limits", "Calls at a time, invocations in flight, records: never more.", _bounds),
    Invariant(
        "a proxy ends what it took",
        f"Each invocation ends within call-timeout for each turn that it may wait for, + {REST_S:g} s; none is lost.",
        _all_end,
    ),
)
