"""Host names inside the arena: /etc/hosts and the order of its sources, as all programs there see them."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from pathlib import Path

from testbed import linux
from testbed.substrate.arena import RUNTIME
from testbed.topology.model import Topology


def hosts_file(topology: Topology) -> str:
    """The text of /etc/hosts: every host and router by its first address, in both families."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    for node in topology.of_kind("host", "router"):
        for family in (4, 6):
            with suppress(KeyError):
                lines.append(f"{topology.address(node.name, family)} {node.name}")
    return "\n".join(lines) + "\n"


def cover(file: str, text: str, undo: ExitStack) -> None:
    """Show ``text`` in the place of a system file to everyone in the arena, until ``undo``."""
    if not Path(file).exists():
        return
    cover = RUNTIME / f"{Path(file).name}-{time.monotonic_ns()}"
    cover.write_text(text)
    undo.callback(cover.unlink)
    linux.mount(str(cover), file, flags=linux.MS_BIND)
    undo.callback(linux.unmount, file)


def _name_sources() -> str:
    """/etc/nsswitch.conf with /etc/hosts asked first, whatever the machine prefers."""
    lines = Path("/etc/nsswitch.conf").read_text().splitlines()
    return "\n".join("hosts: files dns" if line.startswith("hosts:") else line for line in lines) + "\n"


def resolve_names(topology: Topology, undo: ExitStack) -> None:
    """Make the names of all hosts and routers known to every program in the arena, until ``undo``."""
    cover("/etc/hosts", hosts_file(topology), undo)
    if Path("/etc/nsswitch.conf").exists():
        cover("/etc/nsswitch.conf", _name_sources(), undo)
