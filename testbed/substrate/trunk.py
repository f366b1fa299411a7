"""Trunks: what joins the two stubs of a cut link on two machines, seen from one of the machines.

``vxlan``: a device of the kernel for each link, as a port of the stub's bridge. It needs root, and a way between the
machines that takes frames 50 bytes larger than the link's. ``udp``: one process a machine carries the frames of all
links in datagrams (``trunk_worker.py``). It needs no right at all, and takes frames of any size.

Both begin in the machine's own network, at sockets that have to be opened before the arena is entered: ``Doors``.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from testbed import linux
from testbed.errors import TestbedError, UsageError
from testbed.netlink import CREATE, NESTED, Netlink, Request, attribute, number, text
from testbed.shaping.base import Lateness
from testbed.shaping.child import Child
from testbed.shaping.relay import lateness_of
from testbed.substrate.requests import raise_link

VXLAN_BYTES = 50  # Ethernet of the link, VXLAN, UDP and IPv4 around what the link carries
VXLAN_PORT = 4789  # assigned by IANA
_UDP_BYTES = 28
_IP_MTU = 14
_LARGEST_DATAGRAM = 65_507
_LINK = struct.Struct("=BxHiII")
_NEW_LINK = 16
_QUESTIONS = 21


@dataclass(frozen=True, slots=True)
class Way:
    """The way to another machine: its name, address and UDP port, and the largest packet (bytes) that it takes."""

    name: str
    address: str
    port: int
    mtu: int


@dataclass(frozen=True, slots=True)
class Trip:
    """What a question to another machine took, medians in seconds: there and back on the way, and turning round.

    ``turn_s`` is what a process there needed to wake up and answer.
    """

    way_s: float
    turn_s: float

    def one_way_s(self, kind: str) -> float:
        """What a trunk of this kind adds to a link's delay: in a tunnel, frames wake a process on both machines."""
        return self.way_s / 2 + (2 * self.turn_s if kind == "udp" else 0.0)


class Doors:
    """What an arena needs of the machine's own network: a UDP socket, and the network itself for VXLAN.

    ``address`` is where the other machines reach this one; the socket listens there and nowhere else.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.net = linux.namespace("net")
        self.datagrams, self._asker = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        try:
            self.datagrams.bind((address, 0))
            self._asker.bind((address, 0))
        except OSError as error:
            self.close()
            what = f"This machine cannot listen at {address} ({error.strerror}), where others are to reach it."
            raise UsageError(f"{what} Name its address with `inside` in the inventory.") from error
        self.port = int(self.datagrams.getsockname()[1])

    def mtu(self, address: str) -> int:
        """The largest packet that the way to another machine takes, as far as this one knows."""
        try:
            self._asker.connect((address, 9))
        except OSError as error:
            raise TestbedError(f"There is no way from {self.address} to {address}: {error.strerror}.") from error
        return self._asker.getsockopt(socket.IPPROTO_IP, _IP_MTU)

    def close(self) -> None:
        """Close all."""
        self.datagrams.close()
        self._asker.close()
        os.close(self.net)


def own_address() -> str:
    """The address at which the SSH server of this machine was reached; UsageError if that does not say it."""
    said = os.environ.get("SSH_CONNECTION", "").split()
    if len(said) == 4 and ":" not in said[2]:
        return said[2]
    raise UsageError("At which IPv4 address do the other machines reach this one? Say it with `inside`.")


def vxlan(name: str, identifier: int, ends: tuple[str, str], mtu: int, into: int) -> Request:
    """Make a VXLAN device between two addresses (``ends``: ours, theirs) in the namespace with descriptor ``into``."""
    here, there = (socket.inet_aton(each) for each in ends)
    tunnel = number(1, identifier) + attribute(2, there) + attribute(4, here)
    tunnel += attribute(5, b"\x40") + attribute(7, b"\0") + attribute(15, struct.pack("!H", VXLAN_PORT))
    kind = attribute(18 | NESTED, text(1, "vxlan") + attribute(2 | NESTED, tunnel))
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + text(3, name) + number(4, mtu) + number(28, into) + kind
    return Request(_NEW_LINK, CREATE, body, f"the VXLAN device {name} to {ends[1]}")


def without_vxlan(doors: Doors) -> str:
    """Why this process cannot make VXLAN devices; empty if it can. One is made and thrown away."""
    found = ["the attempt did not end"]

    def attempt() -> None:
        try:
            linux.unshare(linux.CLONE_NEWNET)
            here = linux.namespace("net")
            try:
                with Netlink(doors.net) as machine:
                    machine.do([vxlan("probe", 0xFFFFFF, (doors.address, doors.address), 1400, here)])
            finally:
                os.close(here)
            found[0] = ""
        except (OSError, TestbedError) as error:
            found[0] = str(error)

    thread = threading.Thread(target=attempt)  # the namespace goes with it
    thread.start()
    thread.join()
    return found[0]


@dataclass(frozen=True, slots=True)
class Joint:
    """One cut link at this machine: its number, the way to the other end's machine, the stub's bridge and port."""

    link: str
    number: int
    way: Way
    mtu: int
    bridge: int
    port: int


def lay_vxlan(doors: Doors, fabric: int, joints: Sequence[Joint], base: int) -> None:
    """A VXLAN device as a port of each stub's bridge; network identifiers count from ``base``."""
    with Netlink(doors.net) as machine, Netlink(fabric) as inside:
        for joint in joints:
            name, ends = f"x{joint.number}", (doors.address, joint.way.address)
            machine.do([vxlan(name, base + joint.number & 0xFFFFFF, ends, joint.mtu, fabric)])
            with linux.entered(fabric):
                index = socket.if_nametoindex(name)
            inside.do([raise_link(index, f"the VXLAN device of link {joint.link}", joint.bridge)])


class Tunnel:
    """The UDP tunnel of this machine: one process, for all its cut links."""

    def __init__(self, doors: Doors, secret: str, ways: Sequence[Way]) -> None:
        self._talking = threading.Lock()
        file = doors.datagrams.fileno()
        does = "carries links to other machines"
        self._child = Child("testbed.substrate.trunk_worker", [file], "tunnel", does, str(file))
        peers = [(way.name, way.address, way.port, min(way.mtu - _UDP_BYTES, _LARGEST_DATAGRAM)) for way in ways]
        self._ask("peers", secret=secret, peers=peers)

    def measure(self, peer: str) -> Trip:
        """What a question to another machine takes. TestbedError if none is answered."""
        said = self._ask("measure", peer=peer, count=_QUESTIONS)
        if not said["answers"]:
            raise TestbedError(
                f"Datagrams between this machine and {peer} do not arrive: let UDP through any firewall between them."
            )
        return Trip(said["trip_s"], said["turn_s"])

    def carry(self, fabric: int, joints: Sequence[Joint]) -> None:
        """Carry these links from now on; ``fabric`` is the namespace of their stubs."""
        links = [(joint.link, joint.number, joint.port, joint.way.name) for joint in joints]
        self._ask("links", netns=f"/proc/{os.getpid()}/fd/{fabric}", links=links)

    def counters(self) -> dict[str, Any]:
        """For each link frames that this machine could not read in time, and those that were lost on the way to it."""
        found: dict[str, Any] = self._ask("counters")
        return found

    def lateness(self) -> Lateness:
        """How long frames were in the hands of the tunnel's process since the last call."""
        return lateness_of([self._ask("lateness")])

    def check(self) -> None:
        """Raise ShapeNotInForce, with what it said last, if the process has ended."""
        self._child.check()

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _ask(self, do: str, **arguments: object) -> Any:
        with self._talking:
            return self._child.ask(do, **arguments)
