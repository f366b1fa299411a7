"""From the background of a file to flows between named nodes, and all that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from testbed.background.flows import MOST_FLOWS, MOST_PACKETS, MOST_PER_SECOND, Flow
from testbed.background.spec import HEADERS, Entry, Iperf3, Packets
from testbed.document import Place, show
from testbed.errors import UsageError
from testbed.experiment.naming import Naming
from testbed.topology.model import Topology


class Pairing:
    """Spells out the entries of one file; problems are told by ``naming``. ``ends_s``: when the workload ends."""

    def __init__(self, naming: Naming, ends_s: float) -> None:
        self._naming, self._ends_s = naming, ends_s
        self._flows: list[Flow] = []
        self._names: set[str] = set()

    def flows(self, entries: Sequence[Entry]) -> tuple[Flow, ...]:
        """All flows, entry by entry; of no use where problems were told."""
        for index, entry in enumerate(entries):
            place: Place = ("background", index)
            name = entry.name or f"{entry.kind}-{index + 1}"
            if name in self._names:
                self._naming.wrong((*place, "name"), show(name), "a name that no other entry has")
            self._names.add(name)
            self._spell(place, entry, name)
            if len(self._flows) > MOST_FLOWS:
                self._naming.wrong(place, f"{len(self._flows)} flows up to here", f"at most {MOST_FLOWS} in all")
                break
        self._check_load()
        self._check_same()
        return tuple(self._flows)

    def _spell(self, place: Place, entry: Entry, name: str) -> None:
        begin, end = entry.start, self._end(entry)
        if begin >= self._ends_s:
            self._naming.wrong((*place, "start"), f"{begin:g} s", f"less than {self._ends_s:g} s, the workload's end")
        elif end <= begin:
            self._naming.wrong((*place, "until"), f"{end:g} s", f"more than its start, {begin:g} s")
        sources = self._naming.hosts((*place, "from"), entry.sources)
        targets = self._naming.hosts((*place, "to"), entry.to)
        pairs = [(a, b) for a in sources for b in targets if a != b]
        if sources and targets and not pairs:
            self._naming.wrong((*place, "to"), f"nothing but {sources[0]} itself", "another node than it comes from")
        if entry.is_off:
            return
        for a, b in pairs[: MOST_FLOWS + 1]:
            flow_name = name if len(pairs) == 1 else f"{name}:{a}>{b}"
            addresses = self._addresses(place, a, b)
            if addresses is not None:
                number = len(self._flows)
                self._flows.append(Flow(number, flow_name, name, entry, a, b, *addresses, begin, end))
                self._check_size(place, entry, a, b)

    def _end(self, entry: Entry) -> float:
        """When it ends: with the workload at the latest."""
        until = entry.until if entry.until is not None else self._ends_s
        return min(self._ends_s, until if entry.lasting is None else entry.start + entry.lasting)

    def _addresses(self, place: Place, a: str, b: str) -> tuple[str, str] | None:
        """The IPv4 addresses of both, after telling what keeps them from talking to each other."""
        topology = self._naming.topology
        try:
            topology.path(a, b)
            return topology.address(a), topology.address(b)
        except (UsageError, KeyError):
            self._naming.wrong(place, f"no way from {a} to {b} in IPv4", "nodes that reach each other in IPv4")
            return None

    def _check_size(self, place: Place, entry: Entry, a: str, b: str) -> None:
        largest = entry.size if isinstance(entry, Iperf3) else entry.payload.largest
        room = _mtu(self._naming.topology, a, b) - (HEADERS[entry.protocol] - 14)
        if largest > room and not (isinstance(entry, Iperf3) and entry.protocol == "tcp"):
            key = "size" if isinstance(entry, Iperf3) else "payload"
            expected = f"at most {room} bytes, so that each is one packet on the way from {a} to {b}"
            self._naming.wrong((*place, key), f"{largest} bytes", expected)

    def _check_load(self) -> None:
        made = [(each.what, each.end - each.begin) for each in self._flows if isinstance(each.what, Packets)]
        count = sum(what.per_second * lasting for what, lasting in made)
        rate = sum(what.per_second for what, _ in made)
        if count > MOST_PACKETS:
            expected = f"at most {MOST_PACKETS:,} packets made from descriptions in a run"
            self._naming.wrong(("background",), f"about {count:,.0f}", expected, "Use iperf3 for high rates.")
        elif rate > MOST_PER_SECOND:
            expected = f"at most {MOST_PER_SECOND:,.0f}/s made from descriptions, all together"
            self._naming.wrong(("background",), f"about {rate:,.0f}/s", expected, "Use iperf3 for high rates.")

    def _check_same(self) -> None:
        """Flows are counted apart by addresses and ports."""
        seen: dict[object, Flow] = {}
        for flow in self._flows:
            if isinstance(flow.what, Packets):
                ports = () if flow.what.protocol == "icmp" else (flow.port,)
                key = (flow.what.protocol, flow.source, flow.target, flow.source_port, ports)
                other = seen.setdefault(key, flow)
                if other is not flow:
                    found = f"{flow.name} with the ports of {other.name} between the same nodes"
                    self._naming.wrong(("background",), found, "a `source_port` of its own, or none")


def _mtu(topology: Topology, a: str, b: str) -> int:
    """The smallest MTU on the way there."""
    return min(_mtus(topology, a, b), default=1500)


def _mtus(topology: Topology, a: str, b: str) -> Iterator[int]:
    return (topology.links[end.link].mtu for end in topology.path(a, b))
