"""What names and patterns of an experiment mean: nodes, links, agents; and what to say of those that mean nothing."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Sequence

from testbed.document import Document, Place, nearest, show
from testbed.errors import Problem
from testbed.timeline import events as given
from testbed.timeline.actions import Action, Agent, Attach, Hold, Release
from testbed.topology.model import End, Kind, Topology
from testbed.topology.shape import Shape


def select(topology: Topology, pattern: str, *kinds: Kind) -> list[str]:
    """The nodes that ``pattern`` names: a name, a shell pattern such as ``w*``, or ``tag:leaf``.

    Only nodes of these kinds; without any, hosts and routers.
    """
    nodes = topology.of_kind(*(kinds or ("host", "router")))
    if pattern.startswith("tag:"):
        return [node.name for node in nodes if pattern[4:] in node.tags]
    return [node.name for node in nodes if fnmatch.fnmatchcase(node.name, pattern)]


class Teller:
    """Adds to the ``problems`` of a file."""

    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self.document, self.problems = document, problems

    def wrong(self, place: Place, found: str, expected: str, hint: str = "") -> None:
        """Something at ``place`` does not fit; told once, however often it is found."""
        problem = self.document.problem(place, found, expected, hint)
        if problem not in self.problems:
            self.problems.append(problem)

    def unknown(self, place: Place, name: str, kind: str, known: Iterable[str]) -> None:
        """A name that nothing has."""
        names = list(known)
        listed = ", ".join(names) if 0 < len(names) <= 12 else f"{len(names)} are known"
        self.wrong(place, show(name), f"{kind} ({listed})", nearest(name, names))


class Naming(Teller):
    """Resolves the names in a timeline. ``client`` is the role of clients."""

    def __init__(
        self, document: Document, problems: list[Problem], topology: Topology, placement: Sequence[Agent], client: str
    ) -> None:
        super().__init__(document, problems)
        self.topology, self.placement, self.client = topology, tuple(placement), client

    def _each(
        self, place: Place, patterns: Sequence[str], found: Callable[[str], list[str]], kind: str, known: Iterable[str]
    ) -> list[str]:
        """What all patterns mean together, each once; a pattern that means nothing is told."""
        is_list, names = isinstance(self.document.at(self.document.in_file(place)), list), dict[str, None]()
        for index, pattern in enumerate(patterns):
            meant = found(pattern)
            names |= dict.fromkeys(meant)
            if not meant:
                self.unknown((*place, index) if is_list else place, pattern, kind, known)
        return list(names)

    # Links.

    def links(self, place: Place, patterns: Sequence[str]) -> list[str]:
        """The links that are meant."""
        links = self.topology.links
        kind = f"a link of {self.topology.name}"
        return self._each(place, patterns, lambda each: [name for name in links if fnmatch.fnmatchcase(name, each)],
                          kind, links)  # fmt: skip

    def ends(self, place: Place, patterns: Sequence[str], leaving: str | None) -> Iterator[tuple[str, tuple[End, ...]]]:
        """Each link that is meant with its ends: the one on the node ``leaving``, or both."""
        links = self.links((*place, "link"), patterns)
        nodes = {link: [end.node for end in self.topology.links[link].ends] for link in links}
        there = {link: tuple(End(link, node) for node in nodes[link] if leaving in (None, node)) for link in links}
        if links and not any(there.values()):
            known = list(dict.fromkeys(node for each in nodes.values() for node in each))
            self.unknown((*place, "leaving"), str(leaving), f"an end of {', '.join(links)}", known)
        yield from ((link, ends) for link, ends in there.items() if ends)

    def check_change(self, place: Place, event: given.Reshape) -> None:
        """Tell what no shape can have."""
        for each in self.document.attempt(Shape, (*place, "change")).problems:
            if each not in self.problems:
                self.problems.append(each)

    def links_of(self, node: str) -> tuple[str, ...]:
        """All links of a node."""
        return tuple(link.name for link, _ in self.topology.interfaces[node])

    # Nodes and agents.

    def agents_of(self, node: str) -> tuple[Agent, ...]:
        """The agents of a node."""
        return tuple(each for each in self.placement if each[0] == node)

    def machines(self, place: Place, patterns: Sequence[str]) -> list[str]:
        """Nodes of any kind."""
        return self._each(place, patterns, lambda each: select(self.topology, each, "host", "router", "switch"),
                          f"a node of {self.topology.name}", self.topology.nodes)  # fmt: skip

    def hosts(self, place: Place, patterns: Sequence[str]) -> list[str]:
        """Hosts and routers."""
        known = [node.name for node in self.topology.of_kind("host", "router")]
        kind = f"a host or router of {self.topology.name}"
        return self._each(place, patterns, lambda each: select(self.topology, each), kind, known)

    def homes(self, place: Place, patterns: Sequence[str]) -> list[str]:
        """Nodes that have agents."""
        known = dict(self.placement)
        return self._each(place, patterns, lambda each: [node for node in select(self.topology, each) if node in known],
                          "a node with a role", known)  # fmt: skip

    def agents(self, place: Place, event: given.Kill | given.Restart) -> Iterator[Agent]:
        """The agents that are meant: of one role, on each node."""
        for node in self.homes((*place, "node"), event.node):
            roles = [role for _, role in self.agents_of(node)]
            if event.role in roles or (event.role is None and len(roles) == 1):
                yield node, event.role or roles[0]
            else:
                found = show(event.role) if event.role else "no role"
                self.wrong((*place, "role"), found, f"a role of {node} ({', '.join(roles)})")

    # Groups.

    def parted(self, place: Place, groups: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[str]]:
        """The nodes of each group, and the links between groups; of one group, all other nodes are the second."""
        named = [self.machines((*place, "groups", index), patterns) for index, patterns in enumerate(groups)]
        side: dict[str, int] = {}
        for index, group in enumerate(named):
            for node in group:
                if side.setdefault(node, index) != index:
                    self.wrong((*place, "groups", index), f"{node} a second time", "each node in one group")
        if len(named) == 1:
            named.append([node for node in self.topology.nodes if node not in side])
            side |= dict.fromkeys(named[1], 1)
        links = self.topology.links.values()
        cut = [link.name for link in links if len({side.get(end.node) for end in link.ends} - {None}) == 2]
        between = self._between(side, set(cut))
        if between is not None:
            self.wrong((*place, "groups"), f"groups between which {between} is left as a way",
                       f"{between} in one of them")  # fmt: skip
        elif not cut and all(named):
            self.wrong((*place, "groups"), "groups without a link between them", "groups that are joined")
        return named, cut

    def _between(self, side: dict[str, int], cut: set[str]) -> str | None:
        """A node of no group through which one group still reaches another."""
        for start in (node for node in self.topology.nodes if node not in side):
            seen, todo, met = {start}, [start], set[int]()
            while todo:
                node = todo.pop()
                if node in side:
                    met.add(side[node])
                    continue
                beyond = [link.beyond(node).node for link, _ in self.topology.interfaces[node] if link.name not in cut]
                todo += [each for each in beyond if each not in seen]
                seen.update(beyond)
            if len(met) > 1:
                return start
        return None

    # Mobility.

    def is_movable(self, place: Place, event: given.Move) -> bool:
        """Whether a move names a host and two of its links; tells what is wrong if not."""
        hosts = [node.name for node in self.topology.of_kind("host")]
        if event.node not in hosts:
            self.unknown((*place, "node"), event.node, f"a host of {self.topology.name}", hosts)
            return False
        own = self.links_of(event.node)
        for key, link in (("from", event.start), ("to", event.to)):
            if link not in own:
                self.unknown((*place, key), link, f"a link of {event.node}", own)
        if event.start == event.to:
            self.wrong((*place, "to"), show(event.to), "another link than the one it leaves")
        return event.start in own and event.to in own and event.start != event.to

    def moved(self, event: given.Move) -> tuple[Action, ...]:
        """What a move does."""
        cause = f"move {event.node}"
        return Hold((event.start,), cause), Release((event.to,), cause), Attach(event.node, event.to)
