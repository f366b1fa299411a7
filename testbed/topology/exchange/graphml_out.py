"""A topology as GraphML, complete: ``testbed import`` makes the same network of it again.

Every attribute names its unit: ``forward_delay_s`` acts from source to target, ``backward_delay_s`` the other way.
What a link has like one that nobody shaped is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from xml.etree import ElementTree as Xml

from testbed.document.source import printable
from testbed.topology.exchange.graphml import ENDS, OWN, WAYS
from testbed.topology.exchange.plain import Number, limits, unusual
from testbed.topology.model import Link, Node, Topology

_TYPES = {str: "string", int: "long", float: "double"}


def write(topology: Topology) -> str:
    """The text of the file."""
    root = Xml.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    graph = Xml.Element("graph", edgedefault="undirected")
    keys: dict[tuple[str, str], Xml.Element] = {}

    def put(scope: str, element: Xml.Element, values: dict[str, Number]) -> None:
        for name, value in values.items():
            if (scope, name) not in keys:
                kind = _TYPES[type(value)]
                said = {"id": f"d{len(keys)}", "for": scope, "attr.name": name, "attr.type": kind}
                keys[scope, name] = Xml.SubElement(root, "key", said)
            Xml.SubElement(element, "data", key=keys[scope, name].attrib["id"]).text = printable(str(value))

    routing = {"metric": topology.routing.metric, **topology.routing.model_dump(mode="json", exclude_defaults=True)}
    put("graph", graph, {"format": f"{OWN} 1", "name": topology.name,
                         **{f"routing_{key}": value for key, value in routing.items()}})
    for node in topology.nodes.values():
        put("node", Xml.SubElement(graph, "node", id=node.name), dict(_node(node)))
    for number, link in enumerate(topology.links.values()):
        a, b = (end.node for end in link.ends)
        put("edge", Xml.SubElement(graph, "edge", id=f"e{number}", source=a, target=b), dict(_link(link)))
    root.append(graph)
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def _node(node: Node) -> Iterator[tuple[str, Number]]:
    yield "kind", node.kind
    if node.tags:
        yield "tags", json.dumps(node.tags)
    yield from limits(node.limits).items()


def _link(link: Link) -> Iterator[tuple[str, Number]]:
    yield "name", link.name
    yield "mtu_bytes", link.mtu
    for end, way, which in zip(link.ends, WAYS, ENDS, strict=True):
        for address, family in ((end.ipv4, "ipv4"), (end.ipv6, "ipv6")):
            if address is not None:
                yield f"{which}_{family}", str(address)
        for key, value in unusual(end.shape).items():
            yield f"{way}_{key}", value
