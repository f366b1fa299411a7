"""Small networks of the twin for tests: built from a few words, driven in virtual time."""

from __future__ import annotations

from collections.abc import Callable

from testbed.topology.load import parse
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape
from testbed.twin.loop import VirtualLoop
from testbed.twin.network import TwinNetwork
from testbed.twin.options import TwinOptions
from testbed.twin.transport import Connection

IDEAL = TwinOptions(tcp_efficiency=1.0)
FREE = TwinOptions(messages="free")
THERE, BACK = End("l1", "a"), End("l1", "b")


def shape(**keys: object) -> Shape:
    """A shape in the words of a topology file."""
    return Shape.model_validate(keys)


def chain(*shapes: str, extra: str = "") -> Topology:
    """Host a, routers, host b: one link l1, l2 ... for each shape, such as ``delay: 1ms, rate: 1Mbit``."""
    nodes = ["a", *(f"r{number}" for number in range(1, len(shapes))), "b"]
    kinds = ", ".join(f"{node}: {{kind: {'router' if node[0] == 'r' else 'host'}}}" for node in nodes)
    links = [f"  - {{ends: [{nodes[number]}, {nodes[number + 1]}], name: l{number + 1}{', ' if shape else ''}{shape}}}"
             for number, shape in enumerate(shapes)]  # fmt: skip
    return parse(f"name: chain\nnodes: {{{kinds}}}\nlinks:\n" + "\n".join(links) + "\n" + extra, "chain.yaml")


def alive(topology: Topology, options: TwinOptions | None = None, seed: int = 1) -> tuple[VirtualLoop, TwinNetwork]:
    """The topology in virtual time."""
    loop = VirtualLoop()
    return loop, TwinNetwork(topology, seed, loop, options or TwinOptions())


class Talk:
    """One connection from a to b, and what arrived over it: (time, what) in the order of arrival."""

    def __init__(self, loop: VirtualLoop, network: TwinNetwork, listening: Callable[[], bool] = lambda: True) -> None:
        self.loop, self.seen, self.opened = loop, list[tuple[float, str]](), list[tuple[float, bool]]()
        self.connection: Connection = network.connection("a", "b", listening)

    def open(self) -> None:
        """Shake hands; ``opened`` has the time and the outcome."""
        self.connection.open(lambda accepted: self.opened.append((self.loop.now, accepted)))

    def send(self, size: int, name: str = "message", sender: str = "a") -> None:
        """Send at this instant; ``seen`` has the name when the last byte is there."""
        self.connection.send(sender, size, lambda: self.seen.append((self.loop.now, name)))

    def at(self, when: float, size: int, name: str = "message", sender: str = "a") -> None:
        """Send at that time."""
        self.loop.at(when, self.send, size, name, sender)
