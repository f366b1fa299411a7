"""The inventory: which real machines there are, how they are reached, and what of the network each of them carries.

    inventory = load(Path("inventory.yaml"))     # InputError with every problem of the file
    inventory.machine("lab1").address

With ``hosts`` a machine *is* a host of the network; with ``parts`` it carries a part of it in namespaces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from testbed.document import Document, Finding, listed, nearest, read
from testbed.errors import InputError
from testbed.topology.model import Topology
from testbed.units import refuse

DEFAULT = Path("inventory.yaml")
_JUMP = re.compile(r"(?:(?P<user>[^@:\s]+)@)?(?P<host>[^@:\s]+)(?::(?P<port>\d{1,5}))?$")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")


@dataclass(frozen=True, slots=True)
class Door:
    """Where an SSH server listens; ``user`` is empty where the inventory names none."""

    host: str
    port: int = 22
    user: str = ""


def _jump(value: str) -> str:
    found = _JUMP.match(value)
    if found is None or not 0 < int(found["port"] or 22) < 65536:
        raise refuse("the SSH server to go through, such as me@gateway.example.org:22")
    return value


def _inner(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise refuse("an IPv4 address such as 10.0.0.5") from None


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(_Entry):
    """One machine, and how it is reached by SSH. Files on this side are relative to the inventory."""

    address: str = Field(min_length=1, description="Name or address at which its SSH server is reached.")
    port: int = Field(22, ge=1, le=65535, description="Port of its SSH server.")
    user: str = Field("", description="User to log in as; default: the one who runs the command.")
    key: str = Field("", description="File of the private key; default: the keys of the SSH agent and of ~/.ssh.")
    jump: Annotated[str, AfterValidator(_jump)] | None = Field(
        None, description="SSH server to go through, user@host:port; it takes the same key."
    )
    python: str = Field("python3", min_length=1, description="The Python there that has the libraries, 3.11 or newer.")
    known_hosts: str = Field(
        "~/.ssh/known_hosts", description="File with the host keys that are trusted; an unknown one is refused."
    )
    folder: str = Field("", description="Where the run's folder is made there; default: its $TMPDIR or /tmp.")
    inside: Annotated[str, AfterValidator(_inner)] | None = Field(
        None, description="IPv4 address at which the other machines reach it; default: that of `address`."
    )
    interface: str = Field("", description="Network interface to the other machines, for `links: shaped`.")
    sudo: bool = Field(False, description="Whether `sudo -n` may be used there for what needs root.")


class InventoryFile(_Entry):
    """The keys of an inventory. Either ``hosts`` or ``parts`` says what the machines are for."""

    machines: Mapping[str, Machine] = Field(min_length=1, description="The machines by name.")
    hosts: Mapping[str, str] = Field({}, description="Host or router of the network -> the machine that it is.")
    parts: Mapping[str, Annotated[tuple[str, ...], BeforeValidator(listed)]] = Field(
        {}, description="Machine -> the nodes that it carries in namespaces: names, patterns (`edge*`) or `tag:x`."
    )
    links: Literal["real", "shaped"] = Field(
        "real", description="With `hosts`: real takes the links between machines as they are; shaped puts the delay, "
        "loss and rate of the topology's paths in force."
    )
    tunnel: Literal["auto", "vxlan", "udp"] = Field(
        "auto", description="With `parts`: what carries links between machines; VXLAN needs root on both."
    )
    latency: Literal["subtract", "add"] = Field(
        "subtract", description="With `parts`: whether what the way between two machines takes is taken off the delay "
        "of the links between them, as far as they have one, or adds to it."
    )


@dataclass(frozen=True)
class Inventory:
    """An inventory, checked; ``document`` remembers its lines for what only the network shows to be wrong."""

    file: InventoryFile
    document: Document

    @property
    def is_direct(self) -> bool:
        """Whether machines are hosts themselves (else they carry parts of the network)."""
        return bool(self.file.hosts)

    def machine(self, name: str) -> Machine:
        """The machine of this name."""
        return self.file.machines[name]

    @property
    def used(self) -> tuple[str, ...]:
        """The machines that carry something, in the order of the file."""
        wanted = set(self.file.hosts.values()) | set(self.file.parts)
        return tuple(name for name in self.file.machines if name in wanted)

    def path(self, name: str) -> Path:
        """A file that the inventory names, on this machine."""
        return Path(self.document.file).resolve().parent / Path(name).expanduser()

    def refuse_misfits(self, topology: Topology, agents: Sequence[str]) -> None:
        """Raise InputError unless ``hosts`` fits the network and every node in ``agents`` has its machine."""
        found = [*_misfits(self.file, topology), *_unmapped(self.file, agents)]
        if found:
            raise InputError(self.document.tell(found))


def door(jump: str) -> Door:
    """The server that ``user@host:port`` names."""
    found = _JUMP.match(jump)
    assert found is not None, "the inventory has been checked"
    return Door(found["host"], int(found["port"] or 22), found["user"] or "")


def load(path: Path) -> Inventory:
    """The inventory in ``path``; raises InputError with every problem of the file."""
    document = read(path)
    file, rest, problems = document.attempt(InventoryFile)
    if file is None:
        raise InputError(problems)
    inventory = Inventory(file, rest)
    problems += rest.tell(_findings(inventory))
    if problems:
        raise InputError(sorted(dict.fromkeys(problems), key=lambda each: each.line))
    return inventory


def _findings(inventory: Inventory) -> Iterator[Finding]:
    file = inventory.file
    if bool(file.hosts) == bool(file.parts):
        found = "both hosts and parts" if file.hosts else "neither hosts nor parts"
        hint = "Machines are hosts themselves (hosts), or carry namespaces (parts)."
        yield Finding((), found, "one of them", hint)
    yield from _names(file)
    yield from _mapped(file, _written(inventory.document) or list(file.machines))
    for name in (each for each in inventory.used if each in file.machines):
        yield from _machine(inventory, name)


def _written(document: Document) -> list[str]:
    """The names of all machines, also of those with faults."""
    match document.data:
        case {"machines": dict(machines)}:
            return list(machines)
    return []


def _names(file: InventoryFile) -> Iterator[Finding]:
    for name in file.machines:
        if not _NAME.match(name):
            yield Finding(("machines", name), f'the name "{name[:40]}"', "letters, digits, hyphens, dots")


def _mapped(file: InventoryFile, names: Sequence[str]) -> Iterator[Finding]:
    known = f"one of {', '.join(names)}"
    for node, name in file.hosts.items():
        if name not in names:
            yield Finding(("hosts", node), f'"{name}", an unknown machine', known, nearest(name, names))
    for name in file.parts:
        if name not in names:
            yield Finding(("parts", name), "an unknown machine", known, nearest(name, names))
    for name, count in Counter(file.hosts.values()).items():
        if count > 1 and name in names:
            nodes = [node for node, each in file.hosts.items() if each == name]
            hint = "Use parts to put several nodes on one machine."
            yield Finding(("hosts", nodes[1]), f'"{name}", which is {nodes[0]} already', "a machine of its own", hint)


def _machine(inventory: Inventory, name: str) -> Iterator[Finding]:
    """What is wrong with a machine that is used: files that are not there, keys that the mode needs."""
    machine, place = inventory.machine(name), ("machines", name)
    if machine.key and not inventory.path(machine.key).is_file():
        yield Finding((*place, "key"), f'"{machine.key}", where no file is', "the file of a private key")
    if not inventory.path(machine.known_hosts).is_file():
        hint = f"Look at the key and note it: ssh-keyscan -p {machine.port} {machine.address} >> FILE."
        expected = "a file with the machines' host keys"
        where = (*place, "known_hosts") if "known_hosts" in machine.model_fields_set else place
        yield Finding(where, f'"{machine.known_hosts}", where no file is', expected, hint)
    if inventory.file.links == "shaped" and inventory.is_direct and not machine.interface:
        hint = "`ip route get ADDRESS` on the machine names it."
        yield Finding(place, "no key interface", "the interface on which `links: shaped` acts", hint)


def _misfits(file: InventoryFile, topology: Topology) -> Iterator[Finding]:
    """Entries of ``hosts`` that are no machine of the network."""
    able = [node.name for node in topology.of_kind("host", "router")]
    for node in file.hosts:
        if node not in able:
            found = "a switch, which runs nothing" if node in topology.nodes else f"no node of {topology.name}"
            yield Finding(("hosts", node), found, "the name of a host or router", nearest(node, able))


def _unmapped(file: InventoryFile, agents: Sequence[str]) -> Iterator[Finding]:
    missing = [node for node in agents if node not in file.hosts]
    if missing:
        free = [name for name in file.machines if name not in file.hosts.values()]
        hint = f"Add {missing[0]}: {free[0]}." if free else "Add a machine for it, or place its role elsewhere."
        found = f"no machine for {', '.join(missing)}"
        yield Finding(("hosts",), found, "a machine for each node that has an agent", hint)
