"""Mininet's classes, made to fit networks that this program builds: its nodes, switches and links, and its network.

Mininet makes the nodes (``mnexec`` and a shell in namespaces of their own); interfaces, addresses, routes and shapes
are put in place by the code that serves the namespace substrate. So a link means the same on both, and Mininet's own
ways (its command line, ``net['h1'].cmd(...)``) find the nodes, interfaces and links that they expect.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mininet.link import Link
from mininet.log import output, setLogLevel
from mininet.net import VERSION, Mininet
from mininet.node import Node, Switch

from testbed.linux import entered
from testbed.shaping.base import Mechanism
from testbed.substrate.cgroups_hosts import HostGroup
from testbed.substrate.layout import FABRIC, Layout, Spot
from testbed.topology.model import End, Interface, Topology

_HANG_UP_S = 2.0  # for a node's shell to end by itself
_LONGEST_NAME = 15  # of an interface, in the kernel
_OURS = re.compile(r"lo|[bpr]\d+[ab]?|.*-eth.*")  # names that another interface of the fabric may have


class _Placed(Node):  # type: ignore[misc]
    """A node of Mininet whose processes start in given namespaces and groups, ended without waiting for ever."""

    isSetup = True  # noqa: N815 - Mininet's name; what a node needs was asked for before the first is made

    def __init__(self, name: str, place: tuple[int, int], group: HostGroup | None = None, **params: Any) -> None:
        self._group = group
        self._place = place  # network and host name; Mininet's constructor starts the shell already
        super().__init__(name, **params)

    def _popen(self, cmd: Sequence[str], **params: Any) -> subprocess.Popen[bytes]:
        if self._group is not None:
            params["preexec_fn"] = self._group.join
        with entered(*self._place):
            child: subprocess.Popen[bytes] = super()._popen(cmd, **params)
        if self.shell is None:
            self._leave_the_terminal()
        return child

    def _leave_the_terminal(self) -> None:
        """Let go of the shell's end, or a shell that is killed while Mininet waits for its words is waited for ever."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, self.slave, inheritable=False)
        os.close(nothing)

    def terminate(self) -> None:
        """End the node's shell, with SIGKILL if it must be, and forget its terminal."""
        if self.shell is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.shell.pid, signal.SIGHUP)
        try:
            self.shell.wait(_HANG_UP_S)
        except subprocess.TimeoutExpired:
            self.shell.kill()
        self.inToNode.pop(self.stdin.fileno(), None)
        self.outToNode.pop(self.stdout.fileno(), None)
        self.cleanup()


class Machine(_Placed):
    """A host or router: a shell in a network and mount namespace that mnexec makes, with a host name of its own."""


class Bridge(_Placed, Switch):  # type: ignore[misc]
    """A switch that is a Linux bridge in the fabric, made before; nothing to start."""

    def start(self, controllers: Sequence[Any]) -> None:
        """It forwards since it was built, and learns by itself: no controller."""

    def stop(self, deleteIntfs: bool = True) -> None:  # noqa: N803 - Mininet's name
        """It goes with the fabric."""

    def dpctl(self, *args: str) -> Any:
        """``dpctl fdb show`` of Mininet's command line: what ``bridge`` has to say."""
        return self.cmd("bridge", *args)


class Cable(Link):  # type: ignore[misc]
    """A link whose two interfaces exist already; ``title`` is what the topology calls it."""

    def __init__(self, *nodes: Any, title: str, **params: Any) -> None:
        self.title = title
        super().__init__(*nodes, **params)

    def __str__(self) -> str:
        return f"{self.title}: {self.intf1.node}:{self.intf1}<->{self.intf2.node}:{self.intf2}"

    @classmethod
    def makeIntfPair(cls, *args: Any, **params: Any) -> None:  # noqa: N802 - Mininet's name
        """The builder has made them."""

    def stop(self) -> None:
        """It goes with the fabric, and all links with it in one request."""


class Emulation(Mininet):  # type: ignore[misc]
    """A Mininet network without controllers that sets no limits of the machine, and cuts links as the testbed does."""

    def __init__(self, switch: type[Bridge]) -> None:
        Mininet.inited = True  # its initialisation would set limits for the whole machine, where root runs it
        setLogLevel("critical")
        super().__init__(controller=None, build=False, switch=switch, host=Machine, link=Cable)
        self.cut: Callable[[str, bool], None] = lambda link, up: None  # the network's ``connect``, once there is one

    def configHosts(self) -> None:  # noqa: N802 - Mininet's name
        """Addresses and routes are in place."""

    def configLinkStatus(self, src: str, dst: str, status: str) -> None:  # noqa: N802 - Mininet's name
        """``link h1 s1 down`` of Mininet's command line: addresses and routes stay, unlike with Mininet's own."""
        if not {src, dst} <= set(self.nameToNode):
            output(f"There is no node called {dst if src in self.nameToNode else src!r}.\n")
            return
        links = self.linksBetween(self[src], self[dst])
        if not links:
            output(f"There is no link between {src} and {dst}.\n")
        for each in links:
            self.cut(each.title, status == "up")


def version() -> str:
    """Mininet's version."""
    return str(VERSION)


class NamedLayout(Layout):
    """Switches and their ports are called as Mininet calls them, ``s1`` and ``s1-eth2``, if the kernel permits it."""

    def __init__(self, topology: Topology, mechanisms: Mapping[str, Mechanism], bridged: bool = True) -> None:
        self._bridged = bridged
        self._used: dict[str, int] = {}
        super().__init__(topology, mechanisms)

    def _bridges(self, topology: Topology) -> dict[str, Spot]:
        if not self._bridged:
            return {}
        numbered = enumerate(node.name for node in topology.of_kind("switch"))
        return {name: self._spot(FABRIC, bridge_name(name, at)) for at, name in numbered}

    def _port(self, end: Interface, label: str) -> str:
        self._used[end.node] = number = self._used.get(end.node, 0) + 1
        name = f"{end.node}-eth{number}"
        return name if len(name) <= _LONGEST_NAME else super()._port(end, label)


def bridge_name(switch: str, at: int) -> str:
    """What the device of the switch number ``at`` is called."""
    return switch if len(switch) <= _LONGEST_NAME and not _OURS.fullmatch(switch) else f"b{at}"


def add_links(net: Emulation, topology: Topology, layout: Layout) -> None:
    """Tell Mininet of the links, with their interfaces as they are in the kernel."""
    for link in topology.links.values():
        one, two = link.ends
        spots = [layout.ends[End(link.name, end.node)] for end in link.ends]
        cable = net.addLink(
            one.node, two.node, title=link.name, intfName1=spots[0].name, intfName2=spots[1].name,
            addr1=one.mac, addr2=two.mac, up=None,
        )  # fmt: skip
        for end, interface in zip(link.ends, (cable.intf1, cable.intf2), strict=True):
            if end.ipv4 is not None:
                interface.ip, interface.prefixLen = str(end.ipv4.ip), end.ipv4.network.prefixlen
