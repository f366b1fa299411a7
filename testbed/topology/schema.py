"""What may stand in a topology file: one model for each kind of entry, one described field for each key.

Delays are one-way, for each direction by itself: a round trip crosses two. The reference documentation is made from
these models; what the file means as a whole is checked in ``check.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from testbed.topology.family import Family
from testbed.topology.limits import Limits
from testbed.topology.model import Kind
from testbed.topology.routing import Routing
from testbed.topology.shape import LinkShape, Shape
from testbed.units import refuse

N = TypeVar("N")


def _reader(read: Callable[[str], N], expected: str) -> BeforeValidator:
    def read_text(value: object) -> N:
        if isinstance(value, str) and "/" in value:
            try:
                return read(value.strip())
            except ValueError as error:
                raise refuse(expected, _why(error)) from None
        raise refuse(expected, f"Add the prefix length: {value}/24." if _is_bare(value) else "")

    return BeforeValidator(read_text)


def _is_bare(value: object) -> bool:
    return isinstance(value, str) and value.count(".") == 3 and value.replace(".", "").isdigit()


def _why(error: ValueError) -> str:
    text = str(error)
    return "The part beyond the prefix must be zero." if "host bits" in text else ""


Subnet = Annotated[IPv4Network | IPv6Network, _reader(ip_network, "a subnet such as 10.0.1.0/24 or fd00:1::/64")]
Address = Annotated[
    IPv4Interface | IPv6Interface,
    _reader(ip_interface, "an address with its prefix length, such as 10.0.1.1/24 or fd00:1::1/64"),
]


def _pool(version: int, example: str) -> AfterValidator:
    expected = f"an IPv{version} pool such as {example}, or none"

    def check(value: IPv4Network | IPv6Network | None) -> IPv4Network | IPv6Network | None:
        if value is not None and value.version != version:
            raise refuse(expected)
        if value is not None and version == 6 and value.prefixlen > 64:
            raise refuse(expected, "Give a pool of at least one /64.")
        return value

    return AfterValidator(check)


def _none(value: object) -> object:
    return None if value == "none" else value


def _pair(value: object) -> object:
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise refuse("the names of two nodes, such as [h1, r1]")


class Entry(BaseModel):
    """The base of all entries: frozen, and without room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(Entry):
    """What a node is, and how it can be chosen."""

    kind: Kind = Field(
        "host",
        description="host runs programs; router also forwards packets between its links; switch joins its links into "
        "one LAN (a Linux bridge without addresses).",
    )
    tags: tuple[str, ...] = Field((), description="Words by which an experiment chooses nodes, such as [edge, arm].")


class NodeEntry(Limits, Named):
    """One node. ``{}`` is a host. Limits are for hosts and routers; ``none`` undoes one of the defaults."""


class Addressed(LinkShape):
    """What links and LANs have in common: shape, MTU, and addresses where they are not to be assigned."""

    subnets: tuple[Subnet, ...] = Field(
        (), description="The subnet of the LAN that this link is a part of, at most one for each family; else one is "
        "taken from the pool."
    )
    addresses: Mapping[str, tuple[Address, ...]] = Field(
        {}, description="Addresses of nodes on this link, at most one for each family, such as {h1: [10.0.1.5/24]}; "
        "the others are assigned."
    )


class LinkEntry(Addressed):
    """A link between two nodes. The short form ``[a, b]`` takes everything from the defaults."""

    ends: Annotated[tuple[str, str], BeforeValidator(_pair)] = Field(description="The two nodes that the link joins.")
    name: str | None = Field(
        None, description="What events and datasets call the link; default: the two names joined by a hyphen."
    )
    forward: Shape | None = Field(None, description="What is different from the first end to the second.")
    backward: Shape | None = Field(None, description="What is different from the second end to the first.")

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, value: Any) -> Any:
        if not isinstance(value, (list, dict, LinkEntry)):
            raise refuse("[a, b] or {ends: [a, b], ...}")
        return {"ends": value} if isinstance(value, list) else value


class LanEntry(Addressed):
    """A LAN: a switch of this name with one link to each member, all with the same shape in both directions."""

    members: tuple[str, ...] = Field(min_length=1, description="The nodes on the LAN.")


class Defaults(Entry):
    """What entries take where they say nothing."""

    link: LinkShape = Field(LinkShape(), description="Shape and MTU of all links and LANs.")
    node: NodeEntry = Field(
        NodeEntry(), description="Kind and tags of the nodes that are listed; limits of all hosts and routers."
    )


class Addressing(Entry):
    """Where addresses come from that are not given: each LAN or link gets the next subnet of the pool."""

    ipv4: Annotated[Subnet | None, BeforeValidator(_none), _pool(4, "10.0.0.0/8")] = Field(
        IPv4Network("10.0.0.0/8"),
        description="Pool of IPv4 subnets (a /24 each, or larger for a LAN that needs it; smaller where the pool is "
        "small), or none.",
    )
    ipv6: Annotated[Subnet | None, BeforeValidator(_none), _pool(6, "fd00::/48")] = Field(
        IPv6Network("fd00::/48"), description="Pool of IPv6 subnets (a /64 each), or none."
    )


class TopologyFile(Entry):
    """A network. Order matters only for addresses: what is appended leaves the addresses of the rest as they are."""

    name: str = Field("", max_length=100, description="What reports call the network; default: the name of the file.")
    defaults: Defaults = Field(Defaults(), description="What links and nodes take where they say nothing.")
    nodes: Mapping[str, Annotated[NodeEntry, BeforeValidator(lambda value: value or {})]] = Field(
        {}, description="The nodes by name. Names are DNS labels: small letters, digits and hyphens, a letter first."
    )
    links: tuple[LinkEntry, ...] = Field((), description="The links, each {ends: [a, b], ...} or, in short, [a, b].")
    lans: Mapping[str, LanEntry] = Field({}, description="LANs by name.")
    generate: tuple[Family, ...] = Field((), description="Networks of the usual families, made from a few numbers.")
    addressing: Addressing = Field(Addressing(), description="Where addresses come from.")
    routing: Routing = Field(Routing(), description="How routes are chosen.")
