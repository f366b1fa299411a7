"""A topology as JSON, resolved: nodes, links, addresses, routes, and numbers whose keys name the unit."""

from __future__ import annotations

import json

from testbed.topology.exchange.plain import limits, plain
from testbed.topology.model import Interface, Link, Node, Topology


def write(topology: Topology) -> str:
    """The text of the file."""
    data = {
        "name": topology.name,
        "digest": topology.digest,
        "routing_protocol": topology.routing.protocol,
        "routing_metric": topology.routing.metric,
        "nodes": [_node(node) for node in topology.nodes.values()],
        "links": [_link(link) for link in topology.links.values()],
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _node(node: Node) -> dict[str, object]:
    routes = [{"destination": str(each.destination), "gateway": each.gateway, "interface": each.interface}
              for each in node.routes]
    return {"name": node.name, "kind": node.kind, "tags": list(node.tags), **limits(node.limits), "routes": routes}


def _link(link: Link) -> dict[str, object]:
    return {"name": link.name, "mtu_bytes": link.mtu, "ends": [_end(end) for end in link.ends]}


def _end(end: Interface) -> dict[str, object]:
    addresses = {family: str(address) if address is not None else None
                 for family, address in (("ipv4", end.ipv4), ("ipv6", end.ipv6))}
    return {"node": end.node, "interface": end.name, "mac": end.mac, **addresses, "leaving": plain(end.shape)}
