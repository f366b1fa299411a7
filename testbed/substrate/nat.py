"""A way from an emulated network to the outside of the machine, only for who asks for it on the command line.

The program slirp4netns carries it: it is a TAP device in the namespace of one node on one side, and an ordinary program
with ordinary sockets in the machine's own network on the other. So nothing changes on the machine: no rule, no address,
no setting; and it dies with the arena. The node forwards for the others, whose packets go out with their own addresses:
since it answers ARP for them on the TAP device, slirp4netns can tell them apart, and no NAT in the kernel is needed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Interface
from pathlib import Path

from testbed import linux
from testbed.errors import MachineLacks, TestbedError, UsageError
from testbed.netlink import Netlink
from testbed.substrate import build, programs, requests
from testbed.substrate.base import Capabilities, Network, Substrate
from testbed.substrate.host import NetnsHost
from testbed.substrate.names import cover
from testbed.substrate.netns import NetnsNetwork
from testbed.substrate.outside_routes import EVERYWHERE, Change, Outwards
from testbed.topology.model import Topology
from testbed.topology.shape import Shape

PROGRAM = "slirp4netns"
DEVICE = "outside"
READY_S, END_S = 10.0, 2.0
_RESOLVER = Path("/etc/resolv.conf")
_OWN, _GATEWAY, _NAMES = 100, 2, 3  # addresses in the subnet between the node and the program
_SETTINGS = {
    "ipv4/ip_forward": "1",
    f"ipv4/conf/{DEVICE}/proxy_arp": "1",
    f"ipv4/neigh/{DEVICE}/proxy_delay": "0",
}


class WithOutside:
    """A substrate whose networks reach the outside through ``door``; make it outside of any arena, as root.

    Raises UsageError for a substrate that cannot, MachineLacks for a user or a machine that cannot.
    """

    def __init__(self, substrate: Substrate, door: str) -> None:
        if substrate.name not in ("netns", "mininet"):
            raise UsageError(f"Networks of the substrate {substrate.name} have no way to the outside: leave out --nat.")
        if os.geteuid() != 0:
            raise MachineLacks("the rights of root for --nat", "Run the command with sudo, or leave out --nat.")
        self._substrate, self._door = substrate, door
        self.name, self.virtual = substrate.name, substrate.virtual
        self._machine = linux.namespace("net")
        _require(substrate.probe())

    def probe(self) -> Capabilities:
        """What this machine offers."""
        return self._substrate.probe()

    def enter(self, work: Callable[[], int], name: str) -> int:
        """Run ``work`` where networks of this kind can be opened."""
        return self._substrate.enter(work, name)

    @contextmanager
    def open(
        self, topology: Topology, folder: Path, seed: int, later: Mapping[str, Sequence[Shape]]
    ) -> Iterator[Network]:
        """Build the network and open its door; both are gone when the context ends."""
        check_door(topology, self._door)
        with self._substrate.open(topology, folder, seed, later) as network, ExitStack() as undo:
            assert isinstance(network, NetnsNetwork)
            opened = _Door(network, self._door, self._machine, undo)
            network.notes = {**network.notes, "nat": opened.note}
            network.guards.append(opened.check)
            yield network


def check_door(topology: Topology, door: str) -> None:
    """Raise UsageError if ``door`` is no host or router of the topology with an IPv4 address."""
    known = [node.name for node in topology.of_kind("host", "router")]
    if door not in known:
        raise UsageError(f"--nat {door}: there is no host or router of that name; there are: {', '.join(known)}.")
    if all(end.ipv4 is None for _, end in topology.interfaces[door]):
        raise UsageError(f"--nat {door}: it has no IPv4 address, and the way to the outside is one of IPv4.")


def _require(offer: Capabilities) -> None:
    feature = offer.features[PROGRAM]
    if not feature.available:
        raise MachineLacks(f"{PROGRAM} for --nat ({feature.detail})", f"{feature.remedy}.")


class _Door:
    """The running program, and the routes that lead to it."""

    def __init__(self, network: NetnsNetwork, door: str, machine: int, undo: ExitStack) -> None:
        self._host = network.host(door)
        outwards = Outwards(network.topology, door)
        subnet = outwards.free_subnet()
        if subnet is None:
            raise UsageError("--nat: every subnet that could lie between the network and the outside is in use in it.")
        self._log = self._host.folder / "outside.log"
        self._process = _started(self._host, machine, str(subnet), self._log, undo)
        own = IPv4Interface((subnet.network_address + _OWN, subnet.prefixlen))
        self._furnish(own, str(subnet.network_address + _GATEWAY))
        changes = list(outwards.changes())
        for change in changes:
            _apply(network.host(change.node), change)
        resolver = subnet.network_address + _NAMES
        _show_resolver(f"nameserver {resolver}\n", undo)
        self.note = f"through {door} by {PROGRAM}, IPv4 only, names from {resolver}"

    def check(self) -> None:
        """Raise TestbedError if the program has ended."""
        status = self._process.poll()
        if status is not None:
            raise TestbedError(f"The way to the outside ended: {PROGRAM} exited with status {status}; see {self._log}.")

    def _furnish(self, own: IPv4Interface, gateway: str) -> None:
        """Address, default route and forwarding of the node at the door."""
        with linux.entered(self._host.net):
            index = socket.if_nametoindex(DEVICE)
            build.put_in_force(_SETTINGS)
        what = f"the way of {self._host.name} to the outside"
        with Netlink(self._host.net) as inside:
            inside.do([requests.raise_link(index, what), requests.address(index, own, what),
                       requests.route(index, EVERYWHERE, gateway, what)])  # fmt: skip


def _started(host: NetnsHost, machine: int, subnet: str, log: Path, undo: ExitStack) -> subprocess.Popen[bytes]:
    """The program, ready: its sockets in the machine's network, its TAP device in the host's."""
    path = programs.find(PROGRAM) or PROGRAM
    reading, writing = os.pipe()
    undo.callback(os.close, reading)
    argv = [path, "--netns-type=path", "--mtu=1500", "--disable-host-loopback", f"--cidr={subnet}",
            f"--ready-fd={writing}", "--enable-sandbox", "--enable-seccomp", f"/proc/{os.getpid()}/fd/{host.net}",
            DEVICE]  # fmt: skip
    found: list[subprocess.Popen[bytes]] = []
    with log.open("wb") as said:
        _in_machine(machine, lambda: found.append(subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, pass_fds=[writing], start_new_session=True)))
    os.close(writing)
    undo.callback(programs.end, found[0], END_S)
    os.set_blocking(reading, False)
    _await_ready(reading, found[0], log)
    return found[0]


def _in_machine(machine: int, start: Callable[[], object]) -> None:
    """Call ``start`` in a thread that sees the machine's network and its own /run, where its name server may stand."""
    errors: list[OSError] = []

    def work() -> None:
        try:
            linux.unshare(linux.CLONE_NEWNS)
            linux.unmount("/run")  # the arena's; what is below it is the machine's
            with linux.entered(machine):
                start()
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="outside")
    thread.start()
    thread.join()
    if errors:
        raise TestbedError(f"The way to the outside could not be opened: {errors[0]}.") from errors[0]


def _await_ready(reading: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            if os.read(reading, 1):
                return
        except BlockingIOError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            said = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing"])[-1]
            raise TestbedError(f"{PROGRAM} did not open the way to the outside; it said last: {said}")
        time.sleep(0.01)


def _apply(host: NetnsHost, change: Change) -> None:
    with linux.entered(host.net):
        index = {name: number for number, name in socket.if_nameindex()}
    what = f"the way of {host.name} to the outside"
    with Netlink(host.net) as inside:
        inside.do([requests.route(index[each.interface], each.destination, each.gateway, what) for each in change.new])
        inside.do([requests.delete_route(index[each.interface], each.destination, each.gateway, what)
                   for each in change.gone])  # fmt: skip


def _show_resolver(text: str, undo: ExitStack) -> None:
    """Show the programs on all hosts a resolver that they can reach, in the place of the machine's."""
    if _RESOLVER.exists():
        cover(str(_RESOLVER), text, undo)
        return
    target = Path(os.path.realpath(_RESOLVER))  # a link into the machine's /run, which the arena does not show
    if target.is_relative_to("/run"):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        undo.callback(target.unlink)
