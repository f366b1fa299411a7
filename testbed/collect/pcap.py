"""Packet captures at the ends of links, and what flows they saw.

``captures/<link>@<node>.pcap`` is readable by Wireshark and tcpdump; ``flows.csv`` has one row for each capture,
direction and five-tuple.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from testbed.collect import capture
from testbed.collect.schema import FLOWS
from testbed.collect.streamed import StreamedTable
from testbed.errors import TestbedError, UsageError
from testbed.substrate.away import clock_of, python_of
from testbed.substrate.base import Host, Network, Process, observed
from testbed.tables import Row

READY_WITHIN_S = 20.0
_END_WITHIN_S = 10.0
_HEADERS = 96  # bytes of a frame that hold all headers of interest
_PORTS = ("tcp", "udp")
_IP_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}


class Wanted(Protocol):
    """Where to capture: at the end of ``link`` that is on ``node``."""

    @property
    def link(self) -> str: ...

    @property
    def node(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Captured:
    """One finished capture; ``dropped`` frames were lost as the capturing program was too slow.

    ``wall_s`` is what the wall clock of the machine lacks to the driver's.
    """

    link: str
    node: str
    path: Path
    dropped: int
    wall_s: float = 0.0


class Captures:
    """Captures from entering the context to leaving it; then ``done`` lists them and :meth:`flows` reads them.

    Entering takes until every capture runs. Raises UsageError for an end that is not on a host or router: a switch has
    no stack that could run a program.
    """

    def __init__(self, folder: Path, network: Network, wanted: Sequence[Wanted]) -> None:
        self.done: list[Captured] = []
        self._folder, self._network, self._wanted = folder, network, wanted
        self._wall_less_network = time.time() - network.now()
        self._stack = ExitStack()

    def __enter__(self) -> Captures:
        with ExitStack() as stack:
            running = [self._start(each, stack) for each in self._wanted]
            for host, process, path in running:
                _wait_ready(host, process, path)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stack.close()

    def flows(self, t0: float) -> None:
        """Write ``flows.csv`` from all finished captures; no file without any.

        ``t0`` is the start of the workload on the network's clock.
        """
        if self.done:
            with StreamedTable(self._folder, FLOWS) as table:
                for each in self.done:
                    table.append(flows(each, self._wall_less_network + t0 - each.wall_s))

    def _start(self, each: Wanted, stack: ExitStack) -> tuple[Host, Process, Path]:
        topology = self._network.topology
        if topology.nodes[each.node].kind == "switch":
            other = topology.links[each.link].beyond(each.node).node
            raise UsageError(f"Packets cannot be captured at the switch {each.node}; capture at the other end of link "
                             f"{each.link}, which is {other}.")
        host = self._network.host(each.node)
        folder = host.folder / "captures" / each.link
        path = folder / "packets.pcap"
        host.put(Path(capture.__file__).read_text(encoding="utf-8"), folder / "capture.py")
        interface = topology.links[each.link].at(each.node).name
        argv = [python_of(host), "-I", "-S", str(folder / "capture.py"), interface, str(path)]
        process = observed(host).start(argv, folder)
        stack.callback(self._finish, each, host, process, path)
        return host, process, path

    def _finish(self, each: Wanted, host: Host, process: Process, path: Path) -> None:
        process.signal(signal.SIGTERM)
        if process.wait(_END_WITHIN_S) is None:
            process.signal(signal.SIGKILL)
            process.wait(_END_WITHIN_S)
        target = self._folder / "captures" / f"{each.link}@{each.node}.pcap"
        target.parent.mkdir(exist_ok=True)
        if path.exists():
            path.replace(target)
        else:
            host.connection.get(str(path), local=str(target))
        dropped = int(_told(host, Path(f"{path}.dropped")) or 0)
        self.done.append(Captured(each.link, each.node, target, dropped, clock_of(host).wall_s))


def _told(host: Host, path: Path) -> str | None:
    """What stands in a file of a host; None if there is none."""
    with suppress(FileNotFoundError):
        return host.get(path)
    return None


def _wait_ready(host: Host, process: Process, path: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while _told(host, Path(f"{path}.ready")) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            said = (_told(host, process.folder / "stderr") or "nothing").strip().splitlines()[-1:]
            raise TestbedError(f"The packet capture into {path} did not start; the program said last: {said[0]}")
        time.sleep(0.005)


@dataclass(slots=True)
class _Flow:
    key: Row
    first: float
    last: float
    packets: int = 0
    size: int = 0


def flows(captured: Captured, wall_t0: float) -> Iterator[Row]:
    """The flows of one capture in order of their first packet; ``wall_t0`` is time 0 on the clock of the capture."""
    from scapy.utils import RawPcapReader  # takes a third of a second to load, and most runs capture nothing

    found: dict[bytes, _Flow] = {}
    with RawPcapReader(str(captured.path)) as reader:
        for frame, meta in reader:
            key = _cut(frame)
            t = meta.sec + meta.usec * (1e-9 if reader.nano else 1e-6) - wall_t0
            flow = found.get(key)
            if flow is None:
                flow = found[key] = _Flow(_described(frame), t, t)
            flow.last = t
            flow.packets += 1
            flow.size += meta.wirelen
    for flow in found.values():
        yield {"link": captured.link, "node": captured.node, **flow.key, "t_first": flow.first, "t_last": flow.last,
               "packets": flow.packets, "size_bytes": flow.size}


def _cut(frame: bytes) -> bytes:
    """The bytes of a frame that tell its flow from others, so that scapy need only look at one packet of each."""
    frame = frame.ljust(60, b"\0")  # whatever was captured, indexing finds something
    kind = frame[12:14]
    if kind == b"\x08\x00":
        ports = 14 + (frame[14] & 0x0F) * 4
        later_fragment = frame[20] & 0x1F or frame[21]
        return kind + frame[23:24] + frame[26:34] + (b"" if later_fragment else _ports(frame[23], frame, ports))
    if kind == b"\x86\xdd":
        return kind + frame[20:21] + frame[22:54] + _ports(frame[20], frame, 54)
    return kind + frame[:12] + (frame[28:32] + frame[38:42] if kind == b"\x08\x06" else b"")


def _ports(protocol: int, frame: bytes, at: int) -> bytes:
    return frame[at : at + 4] if _IP_PROTOCOLS.get(protocol) in _PORTS else b""


def _described(frame: bytes) -> Row:
    """The five-tuple of a frame, as scapy reads it."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import ARP, Ether

    packet = Ether(frame[:_HEADERS])
    if ARP in packet:
        return {"protocol": "arp", "source": packet[ARP].psrc, "destination": packet[ARP].pdst}
    layer = packet.getlayer(IP) or packet.getlayer(IPv6)
    if layer is None:
        return {"protocol": f"0x{packet.type:04x}", "source": packet.src, "destination": packet.dst}
    number = layer.proto if isinstance(layer, IP) else layer.nh
    row: dict[str, str | int] = {"protocol": _IP_PROTOCOLS.get(number, str(number)), "source": layer.src,
                                 "destination": layer.dst}
    if hasattr(layer.payload, "sport"):
        row |= {"source_port": layer.payload.sport, "destination_port": layer.payload.dport}
    return row
