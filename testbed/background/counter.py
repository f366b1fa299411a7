"""Counts the packets of flows that arrive at a host; stands alone and is run there.

    python3 counter.py FOLDER

FOLDER/flows.json lists the flows: name, protocol number, addresses, ports. FOLDER/counts.json, replaced about four
times a second and at SIGTERM, says how many packets and bytes of each have come. The kernel sorts out what is no flow's
(a filter for each) and counts packets also while this program does not get a turn.
"""

import ctypes
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PERIOD_S = 0.25
BUFFER = 4 << 20
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
SOL_PACKET, PACKET_STATISTICS = 263, 6
ETHERNET, IPV4 = 14, 0x0800
UDP, ICMP, ECHO_REQUEST = 17, 1, 8
LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30  # of the packet, from its IP header on
LOAD_HALF_BEHIND, LOAD_BYTE_BEHIND, SKIP_HEADER = 0x48, 0x50, 0xB1  # relative to what follows the IP header
IF_EQUAL, GIVE = 0x15, 0x06


def address(text: str) -> int:
    """An IPv4 address as a number."""
    return int.from_bytes(socket.inet_aton(text), "big")


def program(flow: dict[str, Any]) -> list[list[int]]:
    """The socket filter that lets the packets of one flow through: (code, if true, if false, operand)."""
    behind = [(LOAD_HALF_BEHIND, 0, flow["source_port"]), (LOAD_HALF_BEHIND, 2, flow["port"])]
    if flow["protocol"] == ICMP:
        behind = [(LOAD_BYTE_BEHIND, 0, ECHO_REQUEST), (LOAD_HALF_BEHIND, 4, flow["source_port"])]
    tests = [(LOAD_BYTE, 9, flow["protocol"]), (LOAD_WORD, 12, address(flow["source"])),
             (LOAD_WORD, 16, address(flow["target"])), (SKIP_HEADER, 0, None), *behind]
    steps: list[list[int]] = []
    for code, place, wanted in tests:
        steps.append([code, 0, 0, place])
        if wanted is not None:
            steps.append([IF_EQUAL, 0, 0, wanted])
    refuse = len(steps) + 1  # the last step but one lets the packet through, the last one does not
    for at, step in enumerate(steps):
        if step[0] == IF_EQUAL:
            step[2] = refuse - at - 1
    return [*steps, [GIVE, 0, 0, 0xFFFF], [GIVE, 0, 0, 0]]


def listening(flow: dict[str, Any]) -> socket.socket:
    """A socket that gets the packets of one flow, and of no other."""
    found = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(IPV4))
    code = b"".join(struct.pack("=HBBI", *step) for step in program(flow))
    held = ctypes.create_string_buffer(code)
    described = struct.pack("HP", len(code) // 8, ctypes.addressof(held))
    found.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
    try:
        found.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    except OSError:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    found.setblocking(False)
    with suppress(BlockingIOError):
        while True:  # what came before the filter was there
            found.recv(1)
    found.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)  # which sets them back to zero
    return found


def sink(flow: dict[str, Any]) -> socket.socket | None:
    """A socket that takes the datagrams of a flow, so that the kernel does not answer that nobody is there."""
    if flow["protocol"] != UDP:
        return None
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with suppress(OSError):  # somebody serves there, or another flow has it already
        found.bind((flow["target"], flow["port"]))
    return found


class Count:
    """The books of one flow."""

    def __init__(self, flow: dict[str, Any]) -> None:
        self.flow, self.socket, self.sink = flow, listening(flow), sink(flow)
        self.read = self.bytes = self.seen = 0
        self.first: float | None = None
        self.last: float | None = None

    def take(self) -> None:
        """Read what has come."""
        head = bytearray(1)
        with suppress(BlockingIOError):
            while True:
                size = self.socket.recv_into(head, 1, socket.MSG_TRUNC)
                self.read += 1
                self.bytes += size + ETHERNET
                self.last = time.monotonic()
                if self.first is None:
                    self.first = self.last

    def told(self) -> dict[str, Any]:
        """What has come, also what the kernel could not keep until it was read."""
        packets, _ = struct.unpack("=II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self.seen += packets
        known = max(self.seen, self.read)
        mean = self.bytes / self.read if self.read else 0
        return {"packets": known, "bytes": round(self.bytes + mean * (known - self.read)),
                "first": self.first, "last": self.last}


def say(folder: Path, counts: list[Count]) -> None:
    """Replace ``counts.json`` in one step."""
    half = folder / "counts.part"
    half.write_text(json.dumps({each.flow["name"]: each.told() for each in counts}))
    half.replace(folder / "counts.json")


def main(folder: Path) -> None:
    """Count until SIGTERM comes, or whoever started this is gone."""
    ends: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ends.append(1))
    parent = os.getppid()
    counts = [Count(flow) for flow in json.loads((folder / "flows.json").read_text())]
    with selectors.DefaultSelector() as selector:
        for each in counts:
            selector.register(each.socket, selectors.EVENT_READ, each)
        say(folder, counts)
        said = time.monotonic()
        while not ends and os.getppid() == parent:
            for key, _ in selector.select(PERIOD_S):
                key.data.take()
            if time.monotonic() - said >= PERIOD_S:
                say(folder, counts)
                said = time.monotonic()
    for each in counts:
        each.take()
    say(folder, counts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
