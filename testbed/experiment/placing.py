"""Where the roles are: the nodes that each entry of ``place`` means, in the order of the file.

    w1, w*, tag:leaf   names, shell patterns, tags
    random:6           six hosts, each at most once, drawn from the experiment's seed
    role:worker        the nodes of a duty or role that is placed above
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from testbed.document import Document, Place
from testbed.errors import Problem
from testbed.experiment.naming import Teller, select
from testbed.roles.api import System
from testbed.seeds import stream
from testbed.topology.model import Topology

DUTIES = ("control", "gateway", "worker", "client")


class Placing(Teller):
    """Resolves ``place`` for one system on one network."""

    def __init__(
        self, document: Document, problems: list[Problem], topology: Topology, system: System, seed: int
    ) -> None:
        super().__init__(document, problems)
        self.topology, self.system, self.seed = topology, system, seed
        self._placed: dict[tuple[str, str], None] = {}

    def placement(self, place: Mapping[str, Sequence[str]]) -> tuple[tuple[str, str], ...]:
        """(node, role), each once; what cannot be placed is told."""
        for key, patterns in place.items():
            role = self._role(key)
            if role in self.system.roles:
                for index, pattern in enumerate(patterns):
                    self._placed |= dict.fromkeys((node, role) for node in self._nodes(key, index, pattern))
            elif key not in DUTIES:  # a duty that this system does not have is another system's
                known = dict.fromkeys((*self.system.duties, *self.system.roles))
                self.unknown(("place", key), key, f"a duty, or a role of {self.system.name}", known)
        if not any(role == self.system.duties["client"] for _, role in self._placed):
            self.wrong(("place",), "no client", "at least one node with the duty client", "Add `client: [NODE]`.")
        return tuple(self._placed)

    def _role(self, key: str) -> str:
        """The role of a duty; a key that is no duty may be a role."""
        return next((role for duty, role in self.system.duties.items() if duty == key), key)

    def _nodes(self, key: str, index: int, pattern: str) -> list[str]:
        place: Place = ("place", key, index)
        if pattern.startswith("random:"):
            return self._drawn(place, pattern)
        if pattern.startswith("role:"):
            return self._beside(place, pattern)
        nodes = select(self.topology, pattern)
        if not nodes:
            known = [node.name for node in self.topology.of_kind("host", "router")]
            self.unknown(place, pattern, f"a host or router of {self.topology.name}", known)
        return nodes

    def _drawn(self, place: Place, pattern: str) -> list[str]:
        hosts, count = [node.name for node in self.topology.of_kind("host")], pattern.removeprefix("random:")
        if not count.isdecimal() or not 0 < int(count) <= len(hosts):
            self.wrong(place, pattern, f"random:N, N from 1 to {len(hosts)}, the hosts of {self.topology.name}")
            return []
        return stream(self.seed, *map(str, place)).sample(hosts, int(count))

    def _beside(self, place: Place, pattern: str) -> list[str]:
        name = pattern.removeprefix("role:")
        nodes = [node for node, role in self._placed if role == self._role(name)]
        if not nodes:
            self.unknown(place, name, "a duty or role that is placed above", self._above())
        return nodes

    def _above(self) -> Iterator[str]:
        roles = {role for _, role in self._placed}
        yield from (duty for duty, role in self.system.duties.items() if role in roles)
        yield from sorted(roles)
