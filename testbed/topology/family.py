"""The families of networks that ``generate`` knows, as entries of a file; ``generate.py`` builds them.

Routers of a family are called r1, r2, ... (switches s1, s2, ...), hosts h1, h2, ... or, with several hosts at each
router, h1-1, h1-2, ...; ``prefix`` goes before every name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from testbed.topology.limits import Limits
from testbed.topology.shape import LinkShape
from testbed.units import refuse

MAX_NODES = 10_000
"""How many nodes a network may have; one machine does not carry more."""


class Generator(Limits):
    """What all families have in common. The limits are those of the generated hosts."""

    prefix: str = Field("", description="Goes before the name of every generated node, to combine families.")
    link: LinkShape = Field(LinkShape(), description="Shape and MTU of the links between routers (star: of all links).")
    tags: tuple[str, ...] = Field((), description="Tags of the generated hosts.")

    @property
    def size(self) -> int:
        """How many nodes will be made."""
        raise NotImplementedError


class Spined(Generator):
    """A family whose routers each have some hosts."""

    hosts: int = Field(1, ge=0, le=MAX_NODES, description="Hosts at each router or switch.")
    access: LinkShape = Field(LinkShape(), description="Shape and MTU of the links to hosts.")


class Line(Spined):
    """``nodes`` routers or switches in a row."""

    family: Literal["line"] = Field(description="line")
    nodes: int = Field(ge=1, le=MAX_NODES, description="Routers or switches in the row.")
    kind: Literal["router", "switch"] = Field("router", description="What the row consists of.")

    @property
    def size(self) -> int:
        """How many nodes will be made."""
        return self.nodes * (1 + self.hosts)


class Ring(Spined):
    """``nodes`` routers in a circle."""

    family: Literal["ring"] = Field(description="ring")
    nodes: int = Field(ge=3, le=MAX_NODES, description="Routers in the circle.")

    @property
    def size(self) -> int:
        """How many nodes will be made."""
        return self.nodes * (1 + self.hosts)


class Star(Generator):
    """Hosts around one switch or router."""

    family: Literal["star"] = Field(description="star")
    hosts: int = Field(ge=1, le=MAX_NODES, description="Hosts around the centre.")
    kind: Literal["router", "switch"] = Field("switch", description="What the centre is.")

    @property
    def size(self) -> int:
        """How many nodes will be made."""
        return self.hosts + 1


class Tree(Generator):
    """A tree whose leaves are hosts: ``depth`` levels of links, ``fanout`` children for each inner node."""

    family: Literal["tree"] = Field(description="tree")
    depth: int = Field(ge=1, le=14, description="Levels of links between the root and the hosts.")
    fanout: int = Field(2, ge=1, le=MAX_NODES, description="Children of each inner node.")
    kind: Literal["router", "switch"] = Field("router", description="What the inner nodes are.")
    access: LinkShape = Field(LinkShape(), description="Shape and MTU of the links to hosts.")

    @property
    def size(self) -> int:
        """How many nodes will be made."""
        return sum(self.fanout**level for level in range(self.depth + 1))


class Grid(Spined):
    """Routers in rows and columns, each linked to its neighbours."""

    family: Literal["grid"] = Field(description="grid")
    rows: int = Field(ge=1, le=MAX_NODES, description="Rows of routers.")
    columns: int = Field(ge=1, le=MAX_NODES, description="Columns of routers.")

    @property
    def size(self) -> int:
        """How many nodes will be made."""
        return self.rows * self.columns * (1 + self.hosts)


def _even(value: int) -> int:
    if value % 2:
        raise refuse("an even number", f"Try {value + 1}.")
    return value


class FatTree(Generator):
    """A k-ary fat tree: (k/2)² core routers c1..., k pods of k/2 aggregation (a1-1...) and k/2 edge routers (e1-1...),
    k/2 hosts at each edge router (h1-1-1: pod, edge router, host)."""

    family: Literal["fat-tree"] = Field(description="fat-tree")
    k: Annotated[int, AfterValidator(_even)] = Field(ge=2, le=30, description="Ports of each router; even.")
    access: LinkShape = Field(LinkShape(), description="Shape and MTU of the links to hosts.")

    @property
    def size(self) -> int:
        """How many nodes will be made."""
        return self.k**3 // 4 + self.k * self.k + (self.k // 2) ** 2


class RandomGeometric(Spined):
    """Routers at random places of a square of side 1, linked where they are at most ``radius`` apart."""

    family: Literal["random-geometric"] = Field(description="random-geometric")
    nodes: int = Field(ge=1, le=1000, description="Routers in the square.")
    radius: float = Field(gt=0, le=2, description="Longest link, as a part of the side of the square.")
    seed: int = Field(0, description="Chooses the places; one seed gives one network everywhere.")

    @property
    def size(self) -> int:
        """How many nodes will be made."""
        return self.nodes * (1 + self.hosts)


Family = Annotated[Line | Ring | Star | Tree | Grid | FatTree | RandomGeometric, Field(discriminator="family")]
