"""Several machines as one network: sessions with all of them, what they tell of themselves, and hosts that they are."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

from testbed import places
from testbed.errors import MachineLacks, TestbedError, UsageError
from testbed.shaping.base import Counters, Lateness
from testbed.substrate.away import Program
from testbed.substrate.inventory import Inventory
from testbed.substrate.processes import Reading, Usage
from testbed.substrate.processors import Processors
from testbed.substrate.remote_host import RemoteHost
from testbed.substrate.remote_session import Session, packed
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape

Result = TypeVar("Result")
SIDE_BY_SIDE = 16


class Sessions:
    """All machines of an inventory that are used, for the time of a run."""

    def __init__(self, inventory: Inventory, sessions: Mapping[str, Session]) -> None:
        self.inventory, self.by_name = inventory, sessions

    def __getitem__(self, name: str) -> Session:
        return self.by_name[name]

    def each(self, ask: Callable[[Session], Result]) -> list[Result]:
        """Ask all machines side by side; raises what the first of them raised."""
        with ThreadPoolExecutor(SIDE_BY_SIDE, "machines") as pool:
            return list(pool.map(ask, self.by_name.values()))

    def some(self, names: Iterable[str], ask: Callable[[Session], Result]) -> list[Result]:
        """Ask some machines side by side; raises what the first of them raised."""
        asked = [self.by_name[name] for name in names]
        if len(asked) == 1:
            return [ask(asked[0])]
        with ThreadPoolExecutor(SIDE_BY_SIDE, "machines") as pool:
            return list(pool.map(ask, asked))

    def begin(self) -> None:
        """Put the program onto all machines, and start their deputies."""
        archive = packed([(places.PACKAGE, "testbed"), (places.home() / "roles", "roles")])
        self.each(lambda session: session.begin(archive))

    def check(self) -> None:
        """Raise MachineLost if a machine is lost."""
        for session in self.by_name.values():
            if session.lost:
                raise session.gone()

    def rows(self) -> dict[str, dict[str, Any]]:
        """What ``run.json`` says of each machine, with its clocks read anew."""
        self.each(Session.follow_clocks)
        return {
            name: {**{key: value for key, value in session.facts.items() if key not in ("addresses", "folder")},
                   "address": session.entry.address, "clock": session.clocks.row()}
            for name, session in self.by_name.items()
        }  # fmt: skip

    def look(self, programs: Sequence[Program], machine_of: Mapping[str, str]) -> MachinesLook:
        """What programs use and how busy the machines are; of a lost one, nothing."""
        pids: dict[str, list[int]] = {name: [] for name in self.by_name}
        for node, pid in programs:
            pids[machine_of[node]].append(pid)

        def ask(session: Session) -> dict[str, Any] | None:
            return None if session.lost else session.ask("host.sample", pids=pids[session.name])

        told = dict(zip(self.by_name, self.each(ask), strict=True))
        return MachinesLook(told, pids, machine_of)


class MachinesLook:
    """One look at all machines; see :class:`testbed.substrate.away.Look`."""

    def __init__(
        self, told: Mapping[str, dict[str, Any] | None], pids: Mapping[str, Sequence[int]],
        machine_of: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._readings: dict[str, Reading] = {}
        self._usage: dict[Program, Usage] = {}
        self._machine_of = machine_of
        for name, answer in told.items():
            if answer is not None:
                own = {int(pid): cpu_s for pid, cpu_s in answer["own"].items()}
                self._readings[name] = Reading(answer["t"], Processors(*answer["processors"]), own)
                trees = zip(pids[name], answer["trees"], strict=True)
                self._usage |= {(name, pid): Usage(*used) for pid, used in trees}

    def agent(self, node: str, pid: int) -> Usage:
        """What a program and its descendants use."""
        return self._usage.get((self._machine_of[node], pid), Usage())

    def machines(self, programs: Iterable[Program]) -> Mapping[str, Reading]:
        """How busy each machine is that could be asked."""
        return self._readings


@contextmanager
def reached(
    inventory: Inventory, libraries: Mapping[str, str], options: Callable[[str], Mapping[str, Any]]
) -> Iterator[Sessions]:
    """Connections to all machines that are used, each checked; nothing has been made there yet.

    ``options`` tells what the deputy of each machine is begun with.
    Raises one error that tells what all of them lack.
    """
    sessions = {name: Session(inventory, name) for name in inventory.used}
    found = Sessions(inventory, sessions)
    with ExitStack() as undo:
        undo.callback(found.each, Session.close)
        looked = found.each(lambda session: _trouble(session, libraries, options(session.name)))
        troubles = [each for each in looked if each]
        if len(troubles) == 1:
            raise troubles[0]
        if troubles:
            lacking = all(isinstance(each, MachineLacks) for each in troubles)
            error = TestbedError("\n".join(map(str, troubles)))
            error.exit_status = MachineLacks.exit_status if lacking else error.exit_status
            raise error
        yield found


def _trouble(session: Session, libraries: Mapping[str, str], options: Mapping[str, Any]) -> TestbedError | None:
    try:
        session.reach(libraries, options)
    except TestbedError as error:
        return error
    return None


class MachinesNetwork:
    """What every network on machines is, whether they are its hosts or carry parts of it; see the Network contract."""

    def __init__(
        self, topology: Topology, sessions: Sessions, machine_of: Mapping[str, str], hosts: Mapping[str, RemoteHost]
    ) -> None:
        self.topology, self.machine_of = topology, machine_of
        self._sessions, self._hosts = sessions, hosts

    def host(self, name: str) -> RemoteHost:
        """The host or router of this name; KeyError for a switch, for what no machine is, and for an unknown name."""
        return self._hosts[name]

    def check(self) -> None:
        """Raise MachineLost if a machine no longer answers."""
        self._sessions.check()

    def now(self) -> float:
        """Seconds on the driver's monotonic clock."""
        return time.monotonic()

    def look(self, programs: Sequence[Program]) -> MachinesLook:
        """A look at these programs and at all machines."""
        return self._sessions.look(programs, self.machine_of)

    def machines(self) -> Mapping[str, Mapping[str, Any]]:
        """What each machine is, and its clock."""
        return self._sessions.rows()

    def gather(self, folder: Path) -> None:
        """Copy the hosts' folders to ``folder/<host>`` of this machine."""
        for name, host in self._hosts.items():
            host.fetch(folder / name)


class RemoteNetwork(MachinesNetwork):
    """A network whose hosts are machines themselves, with the links that they have."""

    shaped = False

    def __init__(self, topology: Topology, sessions: Sessions) -> None:
        machine_of = sessions.inventory.file.hosts
        self.addresses = {node: inner_address(sessions[name]) for node, name in machine_of.items()}
        hosts = {node: _open_host(sessions[name], node) for node, name in machine_of.items()}
        super().__init__(topology, sessions, machine_of, hosts)
        self.mechanisms: Mapping[str, str] = dict.fromkeys(topology.links, "real")
        self.notes: Mapping[str, str] = {"links": "those between the machines, as they are"}

    def shape(self, end: End, shape: Shape) -> None:
        """Raises UsageError: real links are taken as they are."""
        raise UsageError(f"The link {end.link} is real: it has no shape that could be changed (see `links: shaped`).")

    def connect(self, link: str, up: bool) -> None:
        """Raises UsageError: real links are taken as they are."""
        raise UsageError(f"The link {link} is real: it cannot be cut or mended (see `links: shaped`).")

    def counters(self) -> Mapping[End, Counters]:
        """Nothing: the links of the topology are none of the machines'."""
        return {}

    def lateness(self) -> Lateness | None:
        """None: no packet passes through a program of ours."""
        return None

    @property
    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every ordered pair of hosts."""
        return itertools.permutations(self.machine_of, 2)


def _open_host(session: Session, node: str) -> RemoteHost:
    return RemoteHost(session, node, Path(session.ask("host.open", name=node)["folder"]))


def inner_address(session: Session) -> str:
    """The IPv4 address at which other machines reach this one; raises UsageError if it does not have it."""
    entry, own = session.entry, session.facts["addresses"]
    known = [address for found in own.values() for address in found]
    wanted = entry.inside or _resolved(entry.address, own.get(entry.interface, []), is_behind=entry.jump is not None)
    if wanted in known:
        return wanted
    what = f"does not have the address {wanted}" if wanted else f"is not found under its name {entry.address!r}"
    listed = ", ".join(each for each in known if not each.startswith("127.")) or "none"
    raise UsageError(f"Machine {session.name!r} {what}; its IPv4 addresses are: {listed}. Put the one at which the "
                     "other machines reach it into the inventory (inside).")  # fmt: skip


def _resolved(address: str, at_interface: Sequence[str], is_behind: bool) -> str:
    try:
        return str(IPv4Address(address))
    except ValueError:
        pass
    if at_interface:
        return at_interface[0]
    try:
        return "" if is_behind else socket.gethostbyname(address)
    except OSError:
        return ""
