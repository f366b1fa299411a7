"""Traffic between two hosts of one process: what is sent, what arrives, and when, by the kernel's own stamps."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal

import pytest

from testbed.linux import entered
from testbed.shaping.base import Counters
from testbed.substrate.base import Capabilities, Feature, Substrate
from testbed.substrate.find import named
from testbed.topology.load import parse
from testbed.topology.model import End
from testbed.topology.shape import Shape

Family = Literal[4, 6]

LINK = "h1-h2"
TWO_HOSTS = """
name: two
nodes: {h1: {}, h2: {}}
links: [{ends: [h1, h2], name: h1-h2}]
"""
THERE, BACK = End(LINK, "h1"), End(LINK, "h2")
OVERHEAD = {4: 42, 6: 62}  # bytes of Ethernet, IP and UDP headers
CLOCKS_S = 50e-6  # two clocks are read one after the other
LATE_S = 0.005
FRAME = 1514
TCP_MBIT = 20 if "TESTBED_VM" in os.environ else 100  # what TCP fills everywhere: system calls are slow in the VM
THEIR_OWN = 5  # packets that two hosts may exchange about neighbours and groups while a test counts its own
NETEM = pytest.param("netem", marks=pytest.mark.feature("netem"))
each_full = pytest.mark.parametrize("mechanism", ["relay", NETEM])
each_rate = pytest.mark.parametrize("mechanism", ["relay", "tbf", NETEM])
each_family = pytest.mark.parametrize("family", [4, 6])
_SO_TIMESTAMPNS = 35
_STAMPED = struct.Struct("=Id")


def best_of_five(attempt: Callable[[], str]) -> None:
    """Repeat until the attempt has nothing to say against its result, at most five times."""
    said = [attempt()]
    while said[-1] and len(said) < 5:
        said.append(attempt())
    assert not said[-1], said


def offering(carrier: str, mechanism: str) -> Substrate:
    """A substrate on a machine that has this one mechanism only."""
    names = ("netem", "tbf", "relay")
    found = Capabilities({name: Feature(name, name == mechanism, "") for name in names})

    class Offering(type(named(carrier))):  # type: ignore[misc]
        def probe(self) -> Capabilities:
            return found

    option = carrier.partition(":")[2]
    made: Substrate = Offering(option) if option else Offering()
    return made


def shape(**keys: object) -> Shape:
    """A shape in the words of a topology file."""
    return Shape.model_validate(keys)


@contextmanager
def shaped(
    mechanism: str, forward: Shape, backward: Shape | None = None, carrier: str = "netns"
) -> Iterator[Any]:
    """Two hosts and a link that this mechanism serves, with these shapes."""
    topology = parse(TWO_HOSTS, "two.yaml")
    shapes = (forward, forward if backward is None else backward)
    with (tempfile.TemporaryDirectory() as folder,
          offering(carrier, mechanism).open(topology, Path(folder), 1, {LINK: shapes}) as network):  # fmt: skip
        assert network.mechanisms[LINK] == mechanism
        for end, each in zip((THERE, BACK), shapes, strict=True):
            network.shape(end, each)
        yield network


@dataclass(frozen=True)
class Arrival:
    """One datagram that came: its number, and when it was sent and received (seconds on the wall clock)."""

    number: int
    sent: float
    received: float

    @property
    def took(self) -> float:
        return self.received - self.sent


class Flow:
    """Numbered datagrams from one host to the other, of ``size`` bytes on the wire."""

    def __init__(self, network: Any, sender: str, receiver: str, size: int = 142, family: Family = 4) -> None:
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        with entered(network.host(receiver).net):
            self._inbox = socket.socket(kind, socket.SOCK_DGRAM)
        with entered(network.host(sender).net):
            self._outbox = socket.socket(kind, socket.SOCK_DGRAM)
        self._inbox.bind((network.topology.address(receiver, family), 0))
        self._inbox.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._outbox.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self._outbox.connect(self._inbox.getsockname())
        self._padding = bytes(size - OVERHEAD[family] - _STAMPED.size)
        self.sent = 0
        self.arrivals: list[Arrival] = []

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *_: object) -> None:
        self._inbox.close()
        self._outbox.close()

    def send(self, count: int, interval: float = 0.0) -> None:
        """Send so many, one each ``interval`` seconds, and take in what comes meanwhile."""
        start = time.monotonic()
        for turn in range(count):
            self.collect(start + turn * interval - time.monotonic() if interval else 0.0)
            with suppress(BlockingIOError):
                self._outbox.send(_STAMPED.pack(self.sent, time.time()) + self._padding)
            self.sent += 1

    def collect(self, seconds: float, until: float = inf) -> None:
        """Take in what comes within this time, and what is there already; stop when there are ``until`` in all."""
        end = time.monotonic() + seconds
        while len(self.arrivals) < until:
            self._inbox.settimeout(max(0.0, end - time.monotonic()))
            try:
                data, notes, *_ = self._inbox.recvmsg(4096, 64)
            except (BlockingIOError, TimeoutError):
                return
            number, sent = _STAMPED.unpack_from(data)
            whole, nano = struct.unpack("=qq", notes[0][2])
            self.arrivals.append(Arrival(number, sent, whole + nano * 1e-9))

    def settle(self, quiet: float = 0.3) -> None:
        """Take in what comes until nothing has come for so long: a busy machine takes its time."""
        before = -1
        while len(self.arrivals) > before:
            before = len(self.arrivals)
            self.collect(quiet)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the datagrams that came, in the order in which they came."""
        return [each.number for each in self.arrivals]

    @property
    def took(self) -> list[float]:
        """How long each of them took (seconds), in the same order."""
        return [each.took for each in self.arrivals]


def warmed(network: Any, family: Family = 4) -> Any:
    """Addresses are resolved both ways, whatever the link loses."""
    deadline = time.monotonic() + 10
    for sender, receiver in (("h1", "h2"), ("h2", "h1")):
        with Flow(network, sender, receiver, family=family) as flow:
            while not flow.arrivals:
                assert time.monotonic() < deadline, f"nothing came from {sender} to {receiver} within 10 s"
                flow.send(1)
                flow.collect(0.25)
    return network


def since(before: Mapping[End, Counters], network: Any, end: End) -> Counters:
    """What ``end`` has counted since ``before``."""
    old, new = before[end], network.counters()[end]
    return Counters(*(getattr(new, name) - getattr(old, name) for name in Counters.__slots__))


def transfer(network: Any, sender: str, receiver: str, size: int, family: Family = 4) -> float:
    """Send ``size`` bytes over TCP in pieces of 64 KiB; how many seconds it took. What comes is what was sent."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    piece = hashlib.sha256(b"piece").digest() * 2048
    with ExitStack() as stack:
        with entered(network.host(receiver).net):
            listener = stack.enter_context(socket.create_server(
                (network.topology.address(receiver, family), 0), family=kind))  # fmt: skip
        with entered(network.host(sender).net):
            client = stack.enter_context(socket.socket(kind, socket.SOCK_STREAM))
        listener.settimeout(30)
        client.settimeout(30)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        stack.enter_context(server)
        server.settimeout(30)
        writer = threading.Thread(target=_write, args=(client, piece, size))
        start = time.monotonic()
        writer.start()
        received, digest = _read(server)
        took = time.monotonic() - start
        writer.join()
    assert received == size
    assert digest == _digest(piece, size)
    return took


def _write(client: socket.socket, piece: bytes, size: int) -> None:
    for start in range(0, size, len(piece)):
        client.sendall(piece[: min(len(piece), size - start)])
    client.shutdown(socket.SHUT_WR)


def _read(server: socket.socket) -> tuple[int, str]:
    received, digest = 0, hashlib.sha256()
    while data := server.recv(1 << 18):
        received += len(data)
        digest.update(data)
    return received, digest.hexdigest()


def _digest(piece: bytes, size: int) -> str:
    digest = hashlib.sha256()
    for start in range(0, size, len(piece)):
        digest.update(piece[: min(len(piece), size - start)])
    return digest.hexdigest()


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of all lies."""
    return sorted(values)[int(len(values) * share)]
