"""How a controller fills the routers' tables: flat (everyone knows every computer) or hierarchical (home routers).

An installer is told who comes and who goes, and answers with the changes to send. It keeps what it was told.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from roles.serverless_on_edge.limits import shown
from roles.serverless_on_edge.messages import Action, EdgeRouterConf

FIRST_WEIGHT = 1.0
Objective = Literal["min-max", "min-avg"]


class Push(NamedTuple):
    """A change to send to one router, named by the endpoint where it takes calls."""

    router: str
    change: EdgeRouterConf


def put(function: str, destination: str, final: bool) -> EdgeRouterConf:
    """Adds an entry with the first weight."""
    return EdgeRouterConf(Action.CHANGE, function, destination, FIRST_WEIGHT, final)


def drop(function: str, destination: str) -> EdgeRouterConf:
    """Removes an entry from all tables."""
    return EdgeRouterConf(Action.REMOVE, function, destination)


def host_of(endpoint: str) -> str:
    """The host of ``host:port``, without the brackets of an IPv6 address."""
    return endpoint.rsplit(":", 1)[0].strip("[]")


class Installer(ABC):
    """What the routers should know. ``computers`` maps endpoints to functions, ``routers`` is in order of arrival."""

    def __init__(self) -> None:
        self.computers: dict[str, tuple[str, ...]] = {}
        self.routers: list[str] = []

    def refuses(self, endpoint: str) -> str:
        """Why an agent with this endpoint cannot take part; empty if it can."""
        return ""

    @abstractmethod
    def computer_added(self, computer: str, functions: tuple[str, ...]) -> list[Push]:
        """A computer that was not known is there."""

    @abstractmethod
    def computer_removed(self, computer: str) -> list[Push]:
        """A known computer is gone."""

    @abstractmethod
    def router_added(self, router: str) -> list[Push]:
        """A router that was not known is there."""

    @abstractmethod
    def router_removed(self, router: str) -> list[Push]:
        """A known router is gone."""

    @abstractmethod
    def view(self, router: str) -> list[Push]:
        """All that a router should have in its tables."""


class FlatInstaller(Installer):
    """Each router has a final entry for each function of each computer."""

    def computer_added(self, computer: str, functions: tuple[str, ...]) -> list[Push]:
        """Goes to all routers."""
        self.computers[computer] = functions
        return [Push(router, put(each, computer, True)) for router in self.routers for each in functions]

    def computer_removed(self, computer: str) -> list[Push]:
        """Goes to all routers."""
        functions = self.computers.pop(computer)
        return [Push(router, drop(each, computer)) for router in self.routers for each in functions]

    def router_added(self, router: str) -> list[Push]:
        """The new one receives all."""
        self.routers.append(router)
        return self.view(router)

    def router_removed(self, router: str) -> list[Push]:
        """Nobody else is concerned."""
        self.routers.remove(router)
        return []

    def view(self, router: str) -> list[Push]:
        """Every function of every computer."""
        return [Push(router, put(each, c, True)) for c, functions in self.computers.items() for each in functions]


class HierarchicalInstaller(Installer):
    """Each computer has a home router; the other routers know that router only.

    The home ``r`` of computer ``c`` minimises ``omega A + B`` (min-max) or ``A + omega B`` (min-avg), where
    ``A = d(r,c) + max d(r,j)``, ``B = N d(r,c) + sum d(r,j)``, j over the routers' hosts, N hosts in the distances and
    ``omega = 1 + 2 N^2``. ``distances`` maps host and host to a number; all hosts must be in it.
    """

    def __init__(self, distances: Mapping[str, Mapping[str, float]], objective: Objective, rng: random.Random) -> None:
        super().__init__()
        self._distances, self._objective, self._rng = distances, objective, rng
        self._homes: dict[str, str] = {}

    def refuses(self, endpoint: str) -> str:
        """A host without distances has no place in the hierarchy."""
        host = host_of(endpoint)
        return "" if host in self._distances else f"the topology-file of the controller has no row for {shown(host)}"

    def computer_added(self, computer: str, functions: tuple[str, ...]) -> list[Push]:
        """Its home gets final entries; the others an entry for the home, unless it served that function already."""
        self.computers[computer] = functions
        if not self.routers:
            return []
        home = self._home(computer)
        served = {each for each in functions if self._serves(home, each)}
        self._homes[computer] = home
        own = [Push(home, put(each, computer, True)) for each in functions]
        return own + [Push(r, put(each, home, False)) for r in self._others(home) for each in functions
                      if each not in served]  # fmt: skip

    def computer_removed(self, computer: str) -> list[Push]:
        """The reverse: the others lose the home when it serves that function no longer."""
        functions = self.computers.pop(computer)
        home = self._homes.pop(computer, None)
        if home is None:
            return []
        own = [Push(home, drop(each, computer)) for each in functions]
        return own + [Push(r, drop(each, home)) for r in self._others(home) for each in functions
                      if not self._serves(home, each)]  # fmt: skip

    def router_added(self, router: str) -> list[Push]:
        """All homes are chosen anew."""
        self.routers.append(router)
        return self._rebuild()

    def router_removed(self, router: str) -> list[Push]:
        """All homes are chosen anew."""
        self.routers.remove(router)
        return self._rebuild()

    def view(self, router: str) -> list[Push]:
        """Its own computers, and the homes of the others."""
        entries: dict[tuple[str, str], bool] = {}
        for computer, home in self._homes.items():
            for function in self.computers[computer]:
                entries[function, computer if home == router else home] = home == router
        return [Push(router, put(function, to, final)) for (function, to), final in entries.items()]

    def _rebuild(self) -> list[Push]:
        self._homes = {}
        pushes = [Push(router, EdgeRouterConf(Action.FLUSH)) for router in self.routers]
        for computer, functions in list(self.computers.items()):
            pushes += self.computer_added(computer, functions)
        return pushes

    def _others(self, home: str) -> list[str]:
        return [router for router in self.routers if router != home]

    def _serves(self, home: str, function: str) -> bool:
        return any(of == home and function in self.computers[computer] for computer, of in self._homes.items())

    def _home(self, computer: str) -> str:
        hosts = dict.fromkeys(host_of(router) for router in self.routers)
        best = min(hosts, key=lambda host: self._cost(host, host_of(computer), hosts))
        return self._rng.choice([router for router in self.routers if host_of(router) == best])

    def _cost(self, host: str, computer: str, hosts: Iterable[str]) -> float:
        away, n = self._distances[host], len(self._distances)
        far = away[computer] + max(away[other] for other in hosts)
        total = n * away[computer] + sum(away[other] for other in hosts)
        omega = 1 + 2 * n**2
        return omega * far + total if self._objective == "min-max" else far + omega * total


def read_distances(text: str) -> dict[str, dict[str, float]]:
    """A square matrix with a host's name before each row; ``#`` begins a comment. Raises ValueError."""
    rows: Sequence[list[str]] = [words for line in text.splitlines() if (words := line.split("#")[0].split())]
    hosts = [row[0] for row in rows]
    if len(set(hosts)) != len(hosts):
        raise ValueError("the distance matrix names a host twice")
    for row in rows:
        if len(row) != len(hosts) + 1:
            raise ValueError(f"the distances of {row[0]} are {len(row) - 1} numbers; {len(hosts)} hosts need as many")
    return {row[0]: {host: float(cell) for host, cell in zip(hosts, row[1:], strict=True)} for row in rows}
