"""What one agent knows of the experiment: where it is, who else is where, what the functions are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict


class Function(BaseModel):
    """A function as an experiment defines it: real code, or a modelled one (``service_s`` or ``operations``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    code: str | None = None  # absolute path of a Python file that defines code(ctx, payload)
    service_s: float | None = None  # modelled: seconds on an otherwise idle core
    operations_per_byte: float = 0.0  # modelled: operations for each byte of input
    operations: float = 0.0  # modelled: operations whatever the input
    memory_bytes: int = 128_000_000
    time_limit_s: float = 60.0
    concurrency: int = 1  # invocations of it that one worker node runs at a time
    image: str = ""  # its container image; empty: one of its own, called as the function
    image_bytes: int = 10_000_000
    storage_bytes: int = 512_000_000  # private storage of an invocation

    @property
    def file_name(self) -> str:
        """The name as part of a file's, whatever is in it: ``/guest/copy`` is a name, too."""
        return quote(self.name, safe="")


@dataclass(frozen=True)
class Site:
    """All that one agent knows of the experiment: where it is, who else is where, what the functions are.

    ``addresses`` gives each node's address, ``places`` the nodes of each role of the system in the order of the
    experiment, ``hops`` the number of links from this node to each other. ``graph`` has the neighbours of every node of
    the network, switches included, where the system asks for it (:attr:`System.sees_network`), else nothing.
    ``cores`` and ``memory_bytes`` are what the topology lets this node have at most, None where it sets no limit:
    modelled functions keep to them (see :class:`testbed.roles.processor.Processor`).
    """

    node: str
    role: str
    seed: int
    addresses: Mapping[str, str]
    places: Mapping[str, tuple[str, ...]]
    functions: Mapping[str, Function]
    hops: Mapping[str, int] = field(default_factory=dict)
    graph: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cores: float | None = None
    memory_bytes: int | None = None

    @property
    def address(self) -> str:
        """This node's own address."""
        return self.addresses[self.node]

    def cores_of(self, own: float) -> float:
        """``own`` cores, or fewer where the topology lets this node have fewer."""
        return own if self.cores is None else min(own, self.cores)

    def memory_of(self, own: int) -> int:
        """``own`` bytes, or fewer where the topology lets this node have fewer."""
        return own if self.memory_bytes is None else min(own, self.memory_bytes)

    def nearest(self, role: str) -> str | None:
        """The node of ``role`` with the fewest links from here (ties: first in the file), or None if nobody has it."""
        nodes = self.places.get(role, ())
        return min(nodes, key=lambda node: self.hops.get(node, 0), default=None)

    def endpoint(self, node: str, port: int) -> str:
        """``address:port`` of a node, with an IPv6 address in brackets."""
        address = self.addresses[node]
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
