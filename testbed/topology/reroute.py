"""The routes of a network after links were lost, as a routing protocol finds them."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from testbed.topology.address import Plan
from testbed.topology.draft import Draft, LinkDraft, NodeDraft
from testbed.topology.model import End, Topology
from testbed.topology.route import Router
from testbed.topology.segment import segments


def rerouted(topology: Topology, lost: Set[str]) -> Topology:
    """The topology with the routes of its routers as they are when these links carry nothing between routers.

    Hosts keep their routes, and the subnets of lost links are still told by the routers at their ends, whose
    interfaces stay up.
    """
    draft = _draft(topology)
    parts, _ = segments(draft)
    interfaces = {End(link.name, end.node): end for link in topology.links.values() for end in link.ends}
    plans = []
    for version in (4, 6):
        found = {end: each for end, interface in interfaces.items()
                 if (each := interface.ipv4 if version == 4 else interface.ipv6) is not None}
        subnets = [next((found[End(link.name, node)].network for node, link in part.members
                         if End(link.name, node) in found), None) for part in parts]  # fmt: skip
        plans.append(Plan(tuple(subnets), found))
    router = Router(draft, parts, plans, topology.routing.metric, lost)
    nodes = {name: replace(node, routes=router.routes(name, interfaces)) if node.kind == "router" else node
             for name, node in topology.nodes.items()}
    return replace(topology, nodes=nodes)


def _draft(topology: Topology) -> Draft:
    nodes = [NodeDraft(node.name, node.kind, node.tags, ()) for node in topology.nodes.values()]
    links = [
        LinkDraft(link.name, (link.ends[0].node, link.ends[1].node), (link.ends[0].shape, link.ends[1].shape),
                  link.mtu, ())
        for link in topology.links.values()
    ]
    return Draft(tuple(nodes), tuple(links))
