"""Captures become flows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapWriter

from testbed.collect.pcap import Captured, Captures, flows
from testbed.collect.schema import FLOWS
from testbed.errors import UsageError
from testbed.substrate.base import Network
from testbed.topology.load import parse

TCP_THERE = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=40000, dport=80)
TCP_BACK = Ether() / IP(src="10.0.0.2", dst="10.0.0.1") / TCP(sport=80, dport=40000) / Raw(b"x" * 100)
UDP6 = Ether() / IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=5, dport=6)
PING = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / ICMP()
WHO_HAS = Ether(src="02:00:00:00:00:01") / ARP(psrc="10.0.0.1", pdst="10.0.0.2")
ODD = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x88CC) / Raw(b"lldp")


def captured(folder: Path, packets: list[tuple[float, Packet]]) -> Captured:
    path = folder / "a.pcap"
    with PcapWriter(str(path), nano=True, linktype=1) as writer:
        for t, packet in packets:
            packet.time = t
            writer.write(packet)
    return Captured("a-b", "a", path, 0)


def test_each_direction_of_a_conversation_is_one_flow_with_its_times_packets_and_bytes(tmp_path: Path) -> None:
    packets = [(100.0, TCP_THERE.copy()), (100.25, TCP_BACK.copy()), (100.5, TCP_THERE.copy())]
    there, back = flows(captured(tmp_path, packets), wall_t0=90.0)
    assert there == {"link": "a-b", "node": "a", "protocol": "tcp", "source": "10.0.0.1", "source_port": 40000,
                     "destination": "10.0.0.2", "destination_port": 80, "t_first": pytest.approx(10.0),
                     "t_last": pytest.approx(10.5), "packets": 2, "size_bytes": 2 * len(TCP_THERE)}
    assert (back["source_port"], back["size_bytes"]) == (80, len(TCP_BACK))
    assert set(there) == set(FLOWS.header)


@pytest.mark.parametrize(("packet", "expected"), [
    (UDP6, {"protocol": "udp", "source": "fd00::1", "destination_port": 6}),
    (PING, {"protocol": "icmp", "destination": "10.0.0.2"}),
    (WHO_HAS, {"protocol": "arp", "source": "10.0.0.1", "destination": "10.0.0.2"}),
    (ODD, {"protocol": "0x88cc", "source": "02:00:00:00:00:01"}),
])
def test_tells_protocols_apart(tmp_path: Path, packet: Packet, expected: dict[str, Any]) -> None:
    (row,) = flows(captured(tmp_path, [(1.0, packet.copy())]), 0.0)
    assert {name: row.get(name) for name in expected} == expected


def test_flows_that_differ_in_one_port_are_two(tmp_path: Path) -> None:
    other = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=40001, dport=80)
    assert len(list(flows(captured(tmp_path, [(1.0, TCP_THERE.copy()), (1.1, other)]), 0.0))) == 2


def test_a_capture_at_a_switch_is_refused_with_the_end_that_can_be_captured(tmp_path: Path) -> None:
    topology = parse("name: t\nnodes: {h1: {}, h2: {}, s1: {kind: switch}}\nlinks: [[h1, s1], [h2, s1]]\n", "t.yaml")
    network = cast(Network, SimpleNamespace(topology=topology, now=lambda: 0.0))
    wanted = SimpleNamespace(link="h1-s1", node="s1")
    with pytest.raises(UsageError, match="capture at the other end of link h1-s1, which is h1"), \
            Captures(tmp_path, network, [wanted]):
        pass
