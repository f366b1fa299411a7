"""OSPF on the routers of a network: one BIRD each, which finds the routes that nobody computes in advance.

Its configuration and its log are in the router's own folder, its control socket is ``/run/testbed/bird/<router>.ctl``
inside the arena: `testbed exec r1 -- birdc -s /run/testbed/bird/r1.ctl show ospf neighbors`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from testbed.errors import MachineLacks, TestbedError
from testbed.linux import entered
from testbed.substrate import arena, kernel_routes, programs
from testbed.substrate.host import NetnsHost, NetnsProcess
from testbed.topology.model import Topology
from testbed.topology.ospf import Ospf, Port
from testbed.topology.routing import BFD_MISSES, Routing
from testbed.topology.walk import Family, address

SOCKETS = arena.RUNTIME / "bird"
_STARTING_S = 40.0  # on a busy machine, beside what the protocol's own times ask for
_ASK_AGAIN_S = 0.1
_SAID_LAST = 300  # characters of a log


class Birds:
    """The routing daemons of one network, on those of its routers that are here; they end with other processes."""

    def __init__(self, topology: Topology, hosts: Mapping[str, NetnsHost]) -> None:
        self._ospf, self._routing = Ospf(topology), topology.routing
        self._hosts = {name: hosts[name] for name in self._ospf.ports if name in hosts}
        self._running: dict[str, NetnsProcess] = {}
        self._program = programs.find("bird") or ""

    def start(self) -> None:
        """Start them all; raises MachineLacks where there is no BIRD."""
        if not self._program:
            remedy = ("Install it (Debian: apt-get install bird2; its service of the machine is not needed), or use "
                      "`routing: {protocol: static}`.")  # fmt: skip
            raise MachineLacks("the program bird, which the topology's `protocol: ospf` asks for", remedy)
        SOCKETS.mkdir(parents=True, exist_ok=True)
        for name, host in self._hosts.items():
            folder = host.folder / "bird"
            host.put(configuration(self._ospf, self._routing, name), folder / "bird.conf")
            argv = [self._program, "-f", "-c", str(folder / "bird.conf"), "-s", str(control(name))]
            self._running[name] = host.start(argv, folder)

    def wait(self) -> None:
        """Return when each router has all neighbours and its kernel the shortest ways; raises TestbedError."""
        deadline = time.monotonic() + _STARTING_S + 4 * self._routing.dead_s + len(self._hosts) / 4
        waiting = dict(self._hosts)
        while waiting:
            lacks = {name: why for name, host in waiting.items() if (why := self._lack(host))}
            waiting = {name: self._hosts[name] for name in lacks}
            if not waiting:
                return
            self.check()
            if time.monotonic() > deadline:
                first, why = next(iter(lacks.items()))
                raise TestbedError(f"OSPF did not settle: {len(lacks)} of {len(self._hosts)} routers are not ready, "
                                   f"the first of them {first}: {why}. {_log(self._hosts[first])}")  # fmt: skip
            time.sleep(_ASK_AGAIN_S)

    def version(self) -> str:
        """What finds the ways, for the record of a run."""
        said = next(iter(self._hosts.values())).run([self._program, "--version"], check=False) if self._hosts else None
        return (said.stderr or said.stdout).strip() if said else "no routers"

    def check(self) -> None:
        """Raise TestbedError if one of them has ended."""
        for name, process in self._running.items():
            status = process.poll()
            if status is not None:
                raise TestbedError(f"BIRD on router {name} ended with status {status}. {_log(self._hosts[name])}")

    def _lack(self, host: NetnsHost) -> str:
        """What a router still lacks; empty if nothing."""
        neighbours = _neighbours(host.name)
        for family in self._ospf.families:
            ports = [port for port in self._ospf.ports[host.name] if _is_in(port, family)]
            wanted = sum(address(beyond, family) is not None for port in ports for beyond in port.neighbours)
            states = neighbours.get(family, [])
            good = sum(state.startswith(("Full", "2-Way/Other")) for state in states)
            if good < wanted:
                seen = ", ".join(states) or "none seen"
                return f"{good} of {wanted} neighbours are adjacent over IPv{family} ({seen})"
        return self._missing(host)

    def _missing(self, host: NetnsHost) -> str:
        expected = {subnet: names for family in self._ospf.families
                    for subnet, names in self._ospf.expected(host.name, family).items()}
        found = kernel_routes.routes(host.net)
        with entered(host.net):
            names = dict(socket.if_nameindex())
        for subnet, ways in expected.items():
            route = found.get(subnet)
            if route is None:
                return f"there is no route to {subnet}"
            if names.get(route.interface) not in ways:
                return f"the route to {subnet} is not the shortest: it leads over {names.get(route.interface)}"
        return ""


def control(router: str) -> Path:
    """The control socket of a router's BIRD, inside the arena."""
    return SOCKETS / f"{router}.ctl"


def configuration(ospf: Ospf, routing: Routing, router: str) -> str:
    """What BIRD on this router is told."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # most networks have no use for it

    engine = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), undefined=StrictUndefined, autoescape=False,
        keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    families = [(family, [port for port in ospf.ports[router] if _is_in(port, family)]) for family in ospf.families]
    return engine.get_template("bird.conf.j2").render(
        router=router, router_id=ospf.router_id(router), families=families, hello=round(routing.hello),
        dead=round(routing.dead_s), bfd_ms=round(routing.bfd * 1e3) if routing.bfd else 0, bfd_misses=BFD_MISSES,
    )


def _is_in(port: Port, family: Family) -> bool:
    return address(port.interface, family) is not None


def _neighbours(router: str) -> dict[Family, list[str]]:
    """The states of a router's neighbours in each family, as BIRD tells them on its control socket."""
    found: dict[Family, list[str]] = {4: [], 6: []}
    both: tuple[Family, ...] = (4, 6)
    with suppress(OSError), socket.socket(socket.AF_UNIX) as asking:  # it may not listen yet
        asking.settimeout(5)
        asking.connect(str(control(router)))
        with asking.makefile("rw", encoding="utf-8", newline="\n") as talk:
            talk.readline()  # its greeting
            for family in both:
                talk.write(f"show ospf neighbors ospf{family}\n")
                talk.flush()
                found[family] = [words[2] for line in _answer(talk) if len(words := line.split()) >= 5
                                 and "/" in words[2]]
    return found


def _answer(talk: Iterator[str]) -> Iterator[str]:
    """The lines of one answer; its last begins with a number and a space that is below 1000 or from 8000 up."""
    for line in talk:
        if line[:4].isdigit() and line[4:5] == " " and (line[0] in "089"):
            return
        yield line[5:] if line[:4].isdigit() else line


def _log(host: NetnsHost) -> str:
    said = (host.folder / "bird" / "stderr").read_text(encoding="utf-8", errors="replace").strip()
    return f"Its log ends with: {said[-_SAID_LAST:]!r}" if said else "It has written nothing."
