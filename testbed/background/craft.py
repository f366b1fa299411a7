"""Packets built with scapy, once for each size, and the files in which a sender finds them."""

from __future__ import annotations

import json
from array import array
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from testbed.background.flows import Flow
from testbed.background.spec import HEADERS, Packets


def built(flow: Flow, size: int) -> bytes:
    """One packet of the flow with ``size`` bytes of payload, from its IP header on, checksums included."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP  # takes half a second to load
    from scapy.packet import Raw

    what = flow.what
    assert isinstance(what, Packets)
    head = IP(src=flow.source_ip, dst=flow.target_ip, ttl=what.ttl, tos=what.dscp << 2)
    ports = {"sport": flow.source_port, "dport": flow.port}
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "udp": (UDP, ports),
        "tcp": (TCP, {**ports, "flags": "A", "seq": 1, "ack": 1}),
        "icmp": (ICMP, {"type": "echo-request", "id": flow.source_port, "seq": 1}),
    }
    kind, fields = kinds[what.protocol]
    return bytes(head / kind(**fields) / Raw(bytes(size)))


def plan(flow: Flow, schedule: Sequence[tuple[float, int]]) -> str:
    """The text of ``flow.json``, from which a sender sends."""
    assert isinstance(flow.what, Packets)
    sizes = sorted({size for _, size in schedule})
    place = {size: number for number, size in enumerate(sizes)}
    times = array("d", [t for t, _ in schedule])
    which = array("H", [place[size] for _, size in schedule])
    return json.dumps({
        "target": flow.target_ip, "begin": flow.begin, "end": flow.end,
        "packets": [b64encode(built(flow, size)).decode() for size in sizes],
        "frames": [size + HEADERS[flow.what.protocol] for size in sizes],
        "times": b64encode(times.tobytes()).decode(), "which": b64encode(which.tobytes()).decode(),
    })  # fmt: skip
