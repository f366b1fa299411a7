"""What the user-space relay costs and how well it keeps time, beside plain veth pairs in the same run.

    python benchmarks/relay.py [--links 1 20 100] [--seconds 3] [--delay 10ms]

For each number of links: pings on all of them at once (2,000 a second in all at most), then as many flows as there are
links (at most 20) at full speed, of large segments and of 64-byte datagrams. Errors are of the round trip: what it
took, by the kernel's own receive stamps, less what was asked for; the plain veth line shows what the machine itself
takes. Repeat on an idle machine and take medians: neighbours are seen in p99.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from testbed import units
from testbed.linux import entered
from testbed.substrate import arena
from testbed.substrate.netns import NetnsNetwork, NetnsSubstrate
from testbed.topology.load import parse

_SO_TIMESTAMPNS = 35
_PINGS_A_SECOND = 2000
_FLOWS = 20


@dataclass(frozen=True)
class Usage:
    """Processor seconds of the relay's processes over a stretch of wall time."""

    cpu_s: float
    wall_s: float

    @property
    def cores(self) -> float:
        return self.cpu_s / self.wall_s


class Meter:
    """Measures what the relay's processes use."""

    def __init__(self) -> None:
        workers = psutil.Process().children(recursive=True)
        self._workers = [each for each in workers if "testbed.shaping.worker" in each.cmdline()]
        self._start = self._now()

    def _now(self) -> tuple[float, float]:
        return sum(sum(each.cpu_times()[:2]) for each in self._workers), time.monotonic()

    def usage(self) -> Usage:
        (cpu, wall), now = self._start, self._now()
        return Usage(now[0] - cpu, now[1] - wall)


@contextmanager
def pairs(count: int, keys: str) -> Iterator[NetnsNetwork]:
    """``count`` separate links between two hosts each, of this shape."""
    links = "".join(f"  - {{ends: [a{n}, b{n}], {keys}}}\n" for n in range(count))
    nodes = ", ".join(f"a{n}: {{}}, b{n}: {{}}" for n in range(count))
    topology = parse(f"name: pairs\nnodes: {{{nodes}}}\nlinks:\n{links}", "pairs.yaml")
    with tempfile.TemporaryDirectory() as folder, NetnsSubstrate().open(topology, Path(folder), 1, {}) as network:
        yield network


def round_trips(network: NetnsNetwork, count: int, seconds: float) -> list[float]:
    """Seconds that each of many pings took; the far kernel answers, and the near one notes the arrival."""
    rate = min(100.0, _PINGS_A_SECOND / count)
    took: list[float] = []
    with ExitStack() as stack:
        inbox = stack.enter_context(selectors.DefaultSelector())
        sockets = []
        for number in range(count):
            with entered(network.host(f"a{number}").net):
                opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            stack.enter_context(opened)
            opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            opened.connect((network.topology.address(f"b{number}"), 0))
            inbox.register(opened, selectors.EVENT_READ)
            sockets.append(opened)
        start = time.monotonic() + 0.05
        plan = [(start + (turn + number / count) / rate, number) for turn in range(round(seconds * rate)) for number in
                range(count)]  # fmt: skip
        for when, number in plan:
            while (left := when - time.monotonic()) > 0:
                took += _answers(inbox, left)
            sockets[number].send(_echo())
        end = time.monotonic() + 1.0
        while len(took) < len(plan) and time.monotonic() < end:
            took += _answers(inbox, 0.1)
    return took[len(took) // 10 :]  # the first ones resolve addresses


def _echo() -> bytes:
    """An ICMP echo request that carries its time of sending."""
    body = struct.pack("=d", time.time()) + bytes(48)
    head = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    total = sum(struct.unpack(f"!{(len(head) + len(body)) // 2}H", head + body))
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return struct.pack("!BBHHH", 8, 0, ~total & 0xFFFF, 1, 1) + body


def _answers(inbox: selectors.BaseSelector, wait: float) -> list[float]:
    found = []
    for key, _ in inbox.select(wait):
        data, notes, *_ = key.fileobj.recvmsg(2048, 64)  # type: ignore[union-attr]
        seconds, nanoseconds = struct.unpack("=qq", notes[0][2])
        if data[20] == 0:  # an echo reply, behind 20 bytes of IP header
            found.append(seconds + nanoseconds * 1e-9 - struct.unpack_from("=d", data, 28)[0])
    return found


def flood(network: NetnsNetwork, count: int, seconds: float, options: Sequence[str]) -> Mapping[str, float]:
    """Bits and packets a second that arrived over all flows, one iperf3 pair a link."""
    flows = min(count, _FLOWS)
    servers = [_start(network, f"b{n}", ["iperf3", "-s", "-1", "-J"]) for n in range(flows)]
    for number, server in enumerate(servers):
        _until_listening(network, f"b{number}", server)
    clients = []
    for number in range(flows):
        target = network.topology.address(f"b{number}")
        clients.append(_start(network, f"a{number}", ["iperf3", "-c", target, "-t", f"{seconds:g}", *options]))
    for client in clients:
        client.communicate()
    bits = packets = 0.0
    for server in servers:
        report = json.loads(server.communicate()[0])
        summary = report["end"].get("sum_received") or report["end"]["sum"]
        if not summary["bytes"]:
            summary = report["end"]["sum"]
        bits += summary["bits_per_second"]
        packets += (summary.get("packets", 0) - summary.get("lost_packets", 0)) / summary["seconds"]
    return {"bits": bits, "packets": packets}


def _start(network: NetnsNetwork, host: str, argv: Sequence[str]) -> subprocess.Popen[str]:
    with entered(network.host(host).net):
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _until_listening(network: NetnsNetwork, host: str, server: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and server.poll() is None:
        with entered(network.host(host).net):
            lines = Path("/proc/thread-self/net/tcp6").read_text().splitlines()[1:]
        if any(line.split()[1].endswith(":1451") and line.split()[3] == "0A" for line in lines):  # port 5201 listens
            return
        time.sleep(0.01)
    raise RuntimeError(f"iperf3 on {host} does not listen")


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of all lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure(title: str, count: int, keys: str, expected_s: float, seconds: float) -> None:
    """Print one line of the table."""
    with pairs(count, keys) as network:
        meter = Meter()
        errors = [took - expected_s for took in round_trips(network, count, seconds)]
        pinging = meter.usage()
        meter = Meter()
        stream = flood(network, count, seconds, [])
        streaming = meter.usage()
        meter = Meter()
        datagrams = flood(network, count, seconds, ["-u", "-l", "64", "-b", "0"])
        flooding = meter.usage()
        mechanism = next(iter(network.mechanisms.values()))
    print(f"{title:<22}{count:>6}{mechanism:>8}"
          f"{quantile(errors, 0.5) * 1e3:>9.3f}{quantile(errors, 0.99) * 1e3:>9.3f}{pinging.cores:>7.2f}"
          f"{stream['bits'] / 1e6:>11,.0f}{streaming.cores:>7.2f}{datagrams['packets']:>11,.0f}{flooding.cores:>7.2f}",
          flush=True)  # fmt: skip


def compare(options: argparse.Namespace) -> int:
    """Print the table: for each number of links the plain pairs, the relay with a delay, and with a rate as well."""
    delay = units.delay(options.delay)
    print(f"{'':<22}{'links':>6}{'by':>8}{'p50 ms':>9}{'p99 ms':>9}{'cores':>7}{'Mbit/s':>11}{'cores':>7}"
          f"{'packets/s':>11}{'cores':>7}")  # fmt: skip
    for count in options.links:
        measure("plain veth", count, "queue: 1000p", 0.0, options.seconds)
        measure(f"delay {options.delay}", count, f"delay: {options.delay}", 2 * delay, options.seconds)
        per_packet = f"delay: {options.delay}, rate: 100Gbit, queue: 10000p"
        measure(f"delay {options.delay}, rate", count, per_packet, 2 * delay, options.seconds)
    return 0


def main() -> int:
    """Read the command line and measure in an arena."""
    parser = argparse.ArgumentParser(description="Measure the relay beside plain veth pairs.")
    parser.add_argument("--links", type=int, nargs="+", default=[1, 20, 100])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--delay", default="10ms")
    options = parser.parse_args()
    return arena.run_inside(lambda: compare(options), "bench-relay")


if __name__ == "__main__":
    sys.exit(main())
