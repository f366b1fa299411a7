"""A topology as plain JSON data and back, as it is sent to the machine that is to build it: nothing is lost."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_network
from typing import Any

from testbed.topology.limits import Limits
from testbed.topology.model import Interface, Link, Node, Route, Topology
from testbed.topology.routing import Routing
from testbed.topology.shape import Shape
from testbed.units import Queue


def to_wire(topology: Topology) -> dict[str, Any]:
    """Dictionaries, lists, text and numbers; :func:`from_wire` makes an equal topology of them."""
    return {
        "name": topology.name, "source": topology.source, "notes": list(topology.notes),
        "routing": topology.routing.model_dump(exclude_none=True),
        "nodes": [_node(node) for node in topology.nodes.values()],
        "links": [[link.name, link.mtu, [_end(end) for end in link.ends]] for link in topology.links.values()],
    }  # fmt: skip


def from_wire(data: dict[str, Any]) -> Topology:
    """The topology that :func:`to_wire` wrote."""
    nodes = {each[0]: _read_node(*each) for each in data["nodes"]}
    links = {name: Link(name, (_read_end(*one), _read_end(*two)), mtu) for name, mtu, (one, two) in data["links"]}
    routing = Routing.model_validate(data["routing"])
    return Topology(data["name"], nodes, links, data["source"], routing, tuple(data["notes"]))


def shape_to_wire(shape: Shape) -> dict[str, Any]:
    """The parts of a shape as plain numbers: seconds, shares, bits per second, bytes."""
    return {**{name: getattr(shape, name) for name in Shape.model_fields if name != "queue"},
            "queue": [shape.queue.packets, shape.queue.size_bytes]}  # fmt: skip


def shape_from_wire(data: dict[str, Any]) -> Shape:
    """The shape that :func:`shape_to_wire` wrote; its numbers were checked before they were sent."""
    packets, size_bytes = data["queue"]
    return Shape.model_construct(**{**data, "queue": Queue(packets=packets, size_bytes=size_bytes)})


def _node(node: Node) -> list[Any]:
    routes = [[str(route.destination), route.gateway, route.interface] for route in node.routes]
    return [node.name, node.kind, list(node.tags), routes, node.limits.data()]


def _read_node(name: str, kind: Any, tags: list[str], routes: list[list[str]], limits: dict[str, Any]) -> Node:
    found = (Route(ip_network(destination), gateway, interface) for destination, gateway, interface in routes)
    return Node(name, kind, tuple(tags), tuple(found), Limits.model_validate(limits))


def _end(end: Interface) -> list[Any]:
    addresses = [None if each is None else str(each) for each in (end.ipv4, end.ipv6)]
    return [end.node, end.name, end.mac, *addresses, shape_to_wire(end.shape)]


def _read_end(
    node: str, name: str, mac: str, ipv4: str | None, ipv6: str | None, shape: dict[str, Any]
) -> Interface:
    return Interface(node, name, mac, None if ipv4 is None else IPv4Interface(ipv4),
                     None if ipv6 is None else IPv6Interface(ipv6), shape_from_wire(shape))  # fmt: skip
