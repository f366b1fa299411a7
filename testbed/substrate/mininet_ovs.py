"""Open vSwitch for Mininet networks: private daemons, and switches without a controller.

The daemons run in the arena, with their files in its own /run, where all tools look for them (``ovs-vsctl show``,
``ovs-ofctl dump-flows s1``); those of the machine are neither needed nor touched. Where the kernel has the datapath, it
moves the packets, else the daemon does; an ordinary user who may not open /dev/net/tun gets the daemon's datapath
without the interface that each bridge has for its machine, which nothing here uses.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import MachineLacks, TestbedError
from testbed.linux import entered
from testbed.shaping import offload
from testbed.shaping.base import Port
from testbed.substrate import programs
from testbed.substrate.arena import RUNTIME
from testbed.substrate.base import Capabilities
from testbed.substrate.layout import FABRIC, Layout
from testbed.substrate.mininet_nodes import Bridge, bridge_name
from testbed.topology.model import End, Interface, Link, Topology

_FOLDER = RUNTIME.parent / "openvswitch"  # where Debian's tools look
_SCHEMA = "usr/share/openvswitch/vswitch.ovsschema"
_PATIENCE_S = 20
_END_S = 5.0
_EVERYONE = "priority=1,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=flood"


class OpenSwitch(Bridge):
    """A switch of Open vSwitch, made before; nothing to start."""

    def dpctl(self, *args: str) -> Any:
        """``dpctl dump-flows`` of Mininet's command line."""
        return self.cmd(programs.find("ovs-ofctl"), args[0], self, *args[1:])


@dataclass(frozen=True, slots=True)
class Datapath:
    """What moves the packets: Open vSwitch's name for it, and ours."""

    kind: str
    title: str

    @property
    def in_kernel(self) -> bool:
        """Whether packets stay in the kernel."""
        return self.kind == "system"


def datapath(offer: Capabilities) -> Datapath:
    """The best datapath that this machine and user can have."""
    if offer.has("openvswitch"):
        return Datapath("system", "in the kernel")
    tun = offer.has("tun") and os.access("/dev/net/tun", os.R_OK | os.W_OK)  # asked for this very user
    return Datapath("netdev" if tun else "dummy", "in user space")


def start(
    topology: Topology, layout: Layout, net: Mapping[str, int], static: bool, offer: Capabilities, undo: ExitStack
) -> str:
    """Start the daemons and make all switches, in the fabric among the namespaces ``net``; what records say of them.

    ``static``: the switches forward by fixed flows, else they learn. Raises TestbedError with what a daemon said.
    """
    path = datapath(offer)
    _start_daemons(net[FABRIC], path, undo)
    if not path.in_kernel:
        _complete_checksums(topology, layout, net)
    words = [word for at, switch in enumerate(topology.of_kind("switch"))
             for word in _bridge(topology, layout, switch.name, at, path, static)]  # fmt: skip
    if words:  # a network may have no switches
        _vsctl(words)
    if static:
        for at, switch in enumerate(topology.of_kind("switch")):
            flows = "\n".join([_EVERYONE, *static_flows(topology, switch.name)])
            _run(["ovs-ofctl", "add-flows", bridge_name(switch.name, at), "-"], flows)
    version = _run(["ovs-vsctl", "--version"]).split("\n", 1)[0].rsplit(" ", 1)[-1]
    return f"Open vSwitch {version} {path.title}, {'static flows' if static else 'learning'}"


def _complete_checksums(topology: Topology, layout: Layout, net: Mapping[str, int]) -> None:
    """Have hosts and routers compute checksums before a packet leaves for a switch.

    The datapath in user space reads what is on the wire; the kernel's own virtual wires may leave the sum for later.
    """
    switches = {node.name for node in topology.of_kind("switch")}
    for link in topology.links.values():
        names = [end.node for end in link.ends]
        if switches.intersection(names):
            for name in set(names) - switches:
                spot = layout.ends[End(link.name, name)]
                offload.switch(Port(net[name], spot.name, spot.index), False, offload.CHECKSUMS)


def static_flows(topology: Topology, switch: str) -> Iterator[str]:
    """For each machine in the LAN the flow that sends it what is meant for it; ports count from 1, as links do."""
    for number, (link, _) in enumerate(topology.interfaces[switch], 1):
        for end in _members(topology, switch, link):
            yield f"priority=2,dl_dst={end.mac},actions=output:{number}"


def _members(topology: Topology, switch: str, link: Link) -> Iterator[Interface]:
    """The interfaces of hosts and routers that are reached through ``link``; switches join links without loops."""
    waiting = [(switch, link)]
    while waiting:
        near, through = waiting.pop()
        end = through.beyond(near)
        if topology.nodes[end.node].kind != "switch":
            yield end
            continue
        waiting += [(end.node, other) for other, _ in topology.interfaces[end.node] if other is not through]


def _bridge(
    topology: Topology, layout: Layout, switch: str, at: int, path: Datapath, static: bool
) -> Iterator[str]:
    """The words that make one switch with all its ports."""
    name = bridge_name(switch, at)
    yield from ("--", "add-br", name, "--", "set", "Bridge", name, f"datapath_type={path.kind}")
    yield from (f"fail_mode={'secure' if static else 'standalone'}", "other_config:disable-in-band=true")
    yield from (f"other_config:datapath-id={at + 1:016x}", f"other_config:dp-desc={switch}")
    for number, (link, _) in enumerate(topology.interfaces[switch], 1):
        port = layout.ends[End(link.name, switch)].name
        yield from ("--", "add-port", name, port, "--", "set", "Interface", port, f"ofport_request={number}")


def _start_daemons(fabric: int, path: Datapath, undo: ExitStack) -> None:
    _FOLDER.mkdir()
    undo.callback(shutil.rmtree, _FOLDER)
    database, socket = _FOLDER / "conf.db", _FOLDER / "db.sock"
    _run(["ovsdb-tool", "create", str(database), str(_schema())])
    _daemon(["ovsdb-server", str(database), f"--remote=punix:{socket}"], fabric, undo)
    _await(socket)
    _vsctl(["--no-wait", "init"])
    wish = ["--enable-dummy"] if path.kind == "dummy" else []
    _daemon(["ovs-vswitchd", f"unix:{socket}", *wish], fabric, undo)


def _schema() -> Path:
    """The database's schema: the machine's, or that of the package which `./tb test` has unpacked."""
    installed = Path("/", _SCHEMA)
    return installed if installed.exists() else Path(sys.prefix, "debian", _SCHEMA)


def _await(socket: Path) -> None:
    """Return when the database can be asked; its own tools would look once a second only."""
    deadline = time.monotonic() + _PATIENCE_S
    while not socket.exists():
        if time.monotonic() > deadline:
            raise TestbedError(f"Open vSwitch's database did not open {socket} within {_PATIENCE_S} s.{_logged()}")
        time.sleep(0.002)


def _daemon(argv: Sequence[str], fabric: int, undo: ExitStack) -> None:
    """Start a daemon that is gone with the network; what it says is in a file beside its socket."""
    with (_FOLDER / f"{argv[0]}.log").open("wb") as log, entered(fabric):
        child = subprocess.Popen(_found(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    undo.callback(programs.end, child, _END_S)


def _found(argv: Sequence[str]) -> list[str]:
    program = programs.find(argv[0])
    if program is None:
        raise MachineLacks(f"{argv[0]} for switches of Open vSwitch", "apt-get install openvswitch-switch.")
    return [program, *argv[1:]]


def _vsctl(words: Sequence[str]) -> None:
    """Change the configuration; returns when the switch daemon has put it in force, or raises what it says."""
    _run(["ovs-vsctl", "--retry", f"--timeout={_PATIENCE_S}", *words])


def _run(argv: Sequence[str], text: str = "") -> str:
    """Run a tool of Open vSwitch; its output. It tells what a daemon refused on stderr, with exit status 0."""
    done = subprocess.run(_found(argv), input=text, capture_output=True, text=True, timeout=2 * _PATIENCE_S)
    if done.returncode or "rror" in done.stderr:
        raise TestbedError(f"Open vSwitch: {' '.join(argv[:4])} failed: {_last(done.stderr)}{_logged()}")
    return done.stdout


def _logged() -> str:
    """The last warnings of the daemons."""
    lines = [line for log in sorted(_FOLDER.glob("*.log")) for line in log.read_text(errors="replace").splitlines()]
    return "".join(f"\n    {line}" for line in lines if re.search(r"\|(WARN|ERR|EMER)\|", line))[-2000:]


def _last(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "it said nothing"
