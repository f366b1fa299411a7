"""The namespace substrate: a network of Linux namespaces, veth pairs and bridges, held by open files of one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from testbed.errors import TestbedError
from testbed.shaping.base import Counters, Lateness, Mechanism, Shaper, Wire
from testbed.shaping.choose import choose
from testbed.shaping.kernel import KernelShaper
from testbed.shaping.relay import Relay
from testbed.substrate import arena, build, registry
from testbed.substrate.base import Capabilities, LimitUse
from testbed.substrate.cgroups_hosts import open_groups, told
from testbed.substrate.host import NetnsHost
from testbed.substrate.layout import Layout
from testbed.substrate.names import resolve_names
from testbed.substrate.neighbours import neighbours
from testbed.substrate.plain import PlainLinks
from testbed.substrate.probe import probe
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape

if TYPE_CHECKING:
    from testbed.substrate.bird import Birds


class NetnsNetwork:
    """A topology that is alive in namespaces; see the Network contract."""

    def __init__(self, topology: Topology, mechanisms: Mapping[str, Mechanism], hosts: Mapping[str, NetnsHost],
                 shapers: Mapping[Mechanism, Shaper]) -> None:  # fmt: skip
        self.topology = topology
        self.mechanisms: Mapping[str, str] = mechanisms
        relay = shapers.get("relay")
        of_relay = relay.notes if isinstance(relay, Relay) else {}
        self.notes: Mapping[str, str] = {**of_relay, "tcp_congestion_control": _congestion_control()}
        self.notes = {**self.notes, **told(host.group for host in hosts.values() if host.group is not None)}
        self._hosts = hosts
        self._served: dict[str, Shaper] = {link: shapers[mechanism] for link, mechanism in mechanisms.items()}
        self._shapers = tuple(shapers.values())
        self._birds: Birds | None = None
        self.guards: list[Callable[[], None]] = []

    def find_ways(self, whole: Topology | None = None) -> None:
        """Start the routing protocol that the topology asks for, and return when all routers know the network.

        ``whole``: the network of which this one is a part.
        """
        if self.topology.routing.protocol != "ospf":
            return
        from testbed.substrate.bird import Birds

        self._birds = Birds(whole or self.topology, self._hosts)
        self._birds.start()
        self._birds.wait()
        self.notes = {**self.notes, "routing": self._birds.version()}

    def host(self, name: str) -> NetnsHost:
        """The host or router of this name; KeyError for a switch or an unknown name."""
        return self._hosts[name]

    def shape(self, end: End, shape: Shape) -> None:
        """Change what leaves one end, while traffic flows; raises ShapeNotInForce."""
        self._served[end.link].shape(end, shape)

    def connect(self, link: str, up: bool) -> None:
        """Cut or mend a link. Addresses, routes and carrier stay: packets vanish, as behind an unplugged far switch."""
        self._served[link].connect(link, up)

    def counters(self) -> Mapping[End, Counters]:
        """What each end of each link has let pass and dropped since the start."""
        return {end: counted for shaper in self._shapers for end, counted in shaper.counters().items()}

    def lateness(self) -> Lateness | None:
        """How late shaped packets left since the last call; None where only the kernel shapes."""
        found = [late for late in (shaper.lateness() for shaper in self._shapers) if late is not None]
        return found[0] if found else None  # at most one mechanism, the relay, is in user space

    def check(self) -> None:
        """Raise TestbedError (ShapeNotInForce) if a routing daemon (a mechanism that shapes links) no longer runs."""
        for shaper in self._shapers:
            shaper.check()
        if self._birds is not None:
            self._birds.check()
        for guard in self.guards:
            guard()

    def limit_use(self) -> Mapping[str, LimitUse]:
        """What the limits of each host that has some have done so far."""
        return {name: host.group.use() for name, host in self._hosts.items() if host.group is not None}

    def now(self) -> float:
        """Seconds on the run's reference clock."""
        return time.monotonic()


def _congestion_control() -> str:
    """What TCP on the hosts does by default: BBR paces, others do not, and latencies of larger messages show it."""
    try:
        return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"


def put_shapers(
    wires: Sequence[Wire], mechanisms: Mapping[str, Mechanism], seed: int, undo: ExitStack
) -> dict[Mechanism, Shaper]:
    """One shaper for each mechanism in use, ended by ``undo``."""
    found: dict[Mechanism, Shaper] = {}
    for mechanism in sorted(set(mechanisms.values())):
        served = [wire for wire in wires if mechanisms[wire.link] == mechanism]
        found[mechanism] = _shaper(mechanism, served, seed)
        undo.callback(found[mechanism].close)
    return found


def _shaper(mechanism: Mechanism, wires: Sequence[Wire], seed: int) -> Shaper:
    if mechanism == "none":
        return PlainLinks(wires)
    if mechanism == "relay":
        return Relay(wires, seed)
    return KernelShaper(wires, seed, mechanism)


class NetnsSubstrate:
    """Brings topologies to life on this machine alone, without root; ``open`` has to be called in an arena."""

    name = "netns"
    virtual = False

    def probe(self) -> Capabilities:
        """What this machine offers."""
        return probe()

    def enter(self, work: Callable[[], int], name: str) -> int:
        """Run ``work`` in an arena known as ``name``; its exit status."""
        return arena.run_inside(work, name)

    @contextmanager
    def open(
        self, topology: Topology, folder: Path, seed: int, later: Mapping[str, Sequence[Shape]]
    ) -> Iterator[NetnsNetwork]:
        """Build the network; it is gone when the context ends. Each host gets a folder of its name in ``folder``."""
        if not arena.inside():
            raise TestbedError("A namespace network can only be opened in an arena: see run_inside.")
        with ExitStack() as undo:
            network = raised(topology, folder.absolute(), seed, choose(topology, later, self.probe()), undo).network
            network.find_ways()
            yield network


class Raised(NamedTuple):
    """A network that has just been built, and what it was built from."""

    network: NetnsNetwork
    layout: Layout
    spaces: build.Spaces


def raised(
    topology: Topology, folder: Path, seed: int, mechanisms: Mapping[str, Mechanism], undo: ExitStack,
    whole: Topology | None = None,
) -> Raised:  # fmt: skip
    """Build a network in this arena, without a routing protocol yet; ``undo`` takes it away.

    ``whole``: the network of which it is a part, if it is one. Its hosts are known everywhere by name and address.
    """
    layout = Layout(topology, mechanisms)
    spaces = build.Spaces()
    undo.callback(spaces.close)
    spaces.groups = open_groups(topology, undo)
    build.make_spaces(topology, spaces)
    undo.callback(build.delete, spaces)
    build.build(topology, layout, spaces, neighbours(whole or topology))
    resolve_names(whole or topology, undo)
    shapers = put_shapers(tuple(build.wires(topology, layout, spaces)), mechanisms, seed, undo)
    hosts = open_hosts(topology, folder, spaces, undo)
    return Raised(NetnsNetwork(topology, mechanisms, hosts, shapers), layout, spaces)


def open_hosts(topology: Topology, folder: Path, spaces: build.Spaces, undo: ExitStack) -> dict[str, NetnsHost]:
    """The handles to all hosts and routers, known to `testbed exec`; ``undo`` ends what was started on them."""
    hosts = _hosts(topology, folder, spaces)
    undo.callback(_end_all, hosts)
    registry.publish(arena.RUNTIME, {name: _known(host) for name, host in hosts.items()})
    return hosts


def _known(host: NetnsHost) -> registry.Known:
    joins = [] if host.group is None else [str(file) for file in host.group.files]
    return registry.Known((host.net, host.uts), joins)


def _hosts(topology: Topology, folder: Path, spaces: build.Spaces) -> dict[str, NetnsHost]:
    hosts = {}
    for node in topology.of_kind("host", "router"):
        place = folder / node.name
        place.mkdir(parents=True, exist_ok=True)
        spot = spaces.net[node.name], spaces.uts[node.name], spaces.groups.get(node.name)
        hosts[node.name] = NetnsHost(node.name, place, *spot)
    return hosts


def _end_all(hosts: Mapping[str, NetnsHost]) -> None:
    deadline = time.monotonic() + 5.0
    for host in hosts.values():
        host.end(deadline)
