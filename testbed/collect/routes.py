"""When the routing tables of an emulated network's routers change, told by the kernel: rows of ``events.csv``."""

from __future__ import annotations

import selectors
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from math import inf
from types import TracebackType

from testbed.collect.events import EventRecorder
from testbed.deploy.forks import Enterable
from testbed.substrate.base import Network
from testbed.substrate.kernel_routes import Changes, KernelRoute

KIND = "route_change"
QUIET_S = 0.05  # what changes within this time of the last change is told in one row
_TOLD = 3
Destination = IPv4Network | IPv6Network
LOOK_S = 0.2  # how soon the end is noticed


class RouteWatch:
    """Notes each change of a router's routes, where routers find them themselves; a context manager.

    One row a router and burst of changes: its time is when the last of them was in force, its detail what is new.
    """

    def __init__(self, network: Network, events: EventRecorder, clock: Callable[[], float]) -> None:
        self._events, self._clock = events, clock
        self._changes = dict(_listening(network))
        self._open: dict[str, _Burst] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="routes", daemon=True)

    def __enter__(self) -> RouteWatch:
        if self._changes:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._changes:
            self._stop.set()
            self._thread.join()
        for each in self._changes.values():
            each.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for router, changes in self._changes.items():
                selector.register(changes, selectors.EVENT_READ, router)
            while not self._stop.is_set():
                for key, _ in selector.select(QUIET_S if self._open else LOOK_S):
                    self._take(key.data, self._changes[key.data])
                self._tell(self._clock() - QUIET_S)
            self._tell(inf)

    def _take(self, router: str, changes: Changes) -> None:
        found, now = list(changes.read()), self._clock()
        if found:
            burst = self._open.setdefault(router, _Burst())
            burst.last = now
            for came, route in found:
                burst.note(came, route)

    def _tell(self, before: float) -> None:
        """A row for each router that has been quiet since ``before``."""
        for router in [name for name, burst in self._open.items() if burst.last <= before]:
            burst = self._open.pop(router)
            self._events.record(KIND, router, burst.words(), at=burst.last)


def _listening(network: Network) -> Iterator[tuple[str, Changes]]:
    if network.topology.routing.protocol == "static":
        return
    for node in network.topology.of_kind("router"):
        host = network.host(node.name)
        if isinstance(host, Enterable):
            yield node.name, Changes(host.net)


@dataclass
class _Burst:
    last: float = 0.0
    now: dict[Destination, str] = field(default_factory=dict)

    def note(self, came: bool, route: KernelRoute) -> None:
        """A new way to a destination counts, not that the old one went just before."""
        self.now[route.destination] = f"via {route.gateway}" if came else "none"

    def words(self) -> str:
        """IPv4 first."""
        ordered = sorted(self.now, key=lambda each: (each.version, each.network_address, each.prefixlen))
        return in_words({str(destination): self.now[destination] for destination in ordered})


def in_words(ways: Mapping[str, str]) -> str:
    """What changed, for a person: the first few destinations with their new ways, and how many more."""
    told = [f"{destination} {way}" for destination, way in list(ways.items())[:_TOLD]]
    rest = len(ways) - len(told)
    return ", ".join(told) + (f" and {rest} more" if rest else "")
