"""Addresses, interface names and MAC addresses: given, assigned, never twice, and steady under change."""

from __future__ import annotations

import json
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import networks

from testbed.topology.load import parse
from testbed.topology.model import Interface, Topology


def made(text: str) -> Topology:
    return parse(text, "net.yaml")


def ends(topology: Topology) -> list[Interface]:
    return [end for link in topology.links.values() for end in link.ends]


def addresses(topology: Topology) -> dict[str, list[str]]:
    return {
        name: [str(end.ipv4) for _, end in topology.interfaces[name]]
        for name, node in topology.nodes.items()
        if node.kind != "switch"
    }


@given(networks())
@settings(max_examples=80, deadline=None)
def test_no_address_mac_or_name_is_given_twice(text: str) -> None:
    topology = made(text)
    for chosen in ([e.ipv4.ip for e in ends(topology) if e.ipv4], [e.ipv6.ip for e in ends(topology) if e.ipv6],
                   [e.mac for e in ends(topology)], [(e.node, e.name) for e in ends(topology)]):  # fmt: skip
        assert len(set(chosen)) == len(chosen)
    ports = [end.name for end in ends(topology) if topology.nodes[end.node].kind == "switch"]
    assert len(set(ports)) == len(ports), "all switches can live side by side"
    assert all(len(end.name) <= 15 for end in ends(topology))


@given(networks())
@settings(max_examples=80, deadline=None)
def test_what_is_on_one_lan_shares_a_subnet_that_no_other_has(text: str) -> None:
    topology = made(text)
    lan: dict[str, str] = {link: link for link in topology.links}

    def of(link: str) -> str:
        return link if lan[link] == link else of(lan[link])

    for node in topology.of_kind("switch"):
        links = [link.name for link, _ in topology.interfaces[node.name]]
        for other in links[1:]:
            lan[of(other)] = of(links[0])
    networks_of: dict[str, set[Any]] = {}
    for link in topology.links.values():
        for end in link.ends:
            networks_of.setdefault(of(link.name), set()).update(a.network for a in (end.ipv4, end.ipv6) if a)
    assert all(len({n for n in each if n.version == 4}) <= 1 for each in networks_of.values())
    subnets = sorted((n for each in networks_of.values() for n in each if n.version == 4), key=int_of)
    assert all(int(a.broadcast_address) < int(b.network_address) for a, b in pairwise(subnets))


def int_of(network: Any) -> int:
    return int(network.network_address)


def test_hosts_and_routers_have_eth_interfaces_and_switches_have_ports() -> None:
    topology = made(
        "nodes: {h: {}, s: {kind: switch}, t: {kind: switch}, r: {kind: router}}\nlinks: [[h, s], [s, t], [t, r]]\n"
    )
    assert [[end.name for end in link.ends] for link in topology.links.values()] == [
        ["eth0", "p1"], ["p2", "p3"], ["p4", "eth0"]
    ]  # fmt: skip
    assert all(end.ipv4 is None and end.ipv6 is None for end in ends(topology) if end.name.startswith("p"))


def test_subnets_come_in_the_order_of_the_file_with_one_number_in_both_families() -> None:
    topology = made("nodes: {a: {}, r: {kind: router}, b: {}}\nlinks: [[a, r], [r, b]]\n")
    told = [(str(end.ipv4), str(end.ipv6)) for end in ends(topology)]
    assert told == [
        ("10.0.0.1/24", "fd00::1/64"),
        ("10.0.0.2/24", "fd00::2/64"),
        ("10.0.1.1/24", "fd00:0:0:1::1/64"),
        ("10.0.1.2/24", "fd00:0:0:1::2/64"),
    ]
    assert topology.address("r") == "10.0.0.2" and topology.address("b", 6) == "fd00:0:0:1::2"


def test_mac_addresses_are_local_unicast_and_follow_from_the_name_alone() -> None:
    one = made("nodes: {a: {}, b: {}}\nlinks: [[a, b]]\n")
    other = made("nodes: {z: {}, a: {}, b: {}, y: {}}\nlinks: [[z, y], [a, b]]\n")
    assert all(int(end.mac[:2], 16) & 3 == 2 for end in ends(one))
    assert {(e.node, e.mac) for e in ends(one)} <= {(e.node, e.mac) for e in ends(other)}


@given(networks(), st.sampled_from(["r0", "h0", "h1"]))
@settings(max_examples=40, deadline=None)
def test_what_is_appended_leaves_all_addresses_and_names_as_they_were(text: str, neighbour: str) -> None:
    before = made(text)
    if before.nodes[neighbour].kind == "host":
        neighbour = "r0"
    data = json.loads(text)
    data["nodes"]["new"] = {}
    data["links"].append(["new", neighbour])
    after = made(json.dumps(data))
    for end in ends(before):
        (same,) = [each for each in ends(after) if (each.node, each.name, each.mac) == (end.node, end.name, end.mac)]
        assert (same.ipv4, same.ipv6) == (end.ipv4, end.ipv6)


def test_a_rename_changes_no_address() -> None:
    text = "nodes: {a: {}, r: {kind: router}, b: {}}\nlinks: [[a, r], [r, b]]\n"
    assert list(addresses(made(text)).values()) == list(
        addresses(made(text.replace("a:", "x:").replace("[a", "[x"))).values()
    )


def test_given_addresses_are_kept_and_the_rest_is_put_around_them() -> None:
    topology = made("""
nodes: {a: {}, b: {}, c: {}, d: {}, r: {kind: router}}
lans:
  lan: {members: [a, b, c, r], subnets: [192.168.7.0/24],
        addresses: {b: [192.168.7.1/24], r: [192.168.7.254/24, fd01::1/64]}}
links: [{ends: [r, d], subnets: [fd02::/64]}]
""")
    assert [str(e.ipv4) for e in ends(topology) if e.ipv4 and e.node in "abcr"][1:] == [
        "192.168.7.2/24", "192.168.7.1/24", "192.168.7.3/24", "192.168.7.254/24"
    ]  # fmt: skip
    assert [topology.address(name, 6) for name in ("a", "b", "c")] == ["fd01::2", "fd01::3", "fd01::4"]
    assert topology.address("d", 6) == "fd02::2" and topology.address("d") == "10.0.0.2"


def test_the_pool_leaves_out_what_is_given() -> None:
    topology = made("""
addressing: {ipv4: 10.0.0.0/22}
nodes: {a: {}, b: {}, c: {}, d: {}}
links: [[a, b], {ends: [b, c], subnets: [10.0.1.0/25]}, [c, d]]
""")
    found = [str(link.ends[0].ipv4.network) for link in topology.links.values() if link.ends[0].ipv4]
    assert found == ["10.0.0.0/24", "10.0.1.0/25", "10.0.2.0/24"]


def test_a_lan_of_a_thousand_hosts_gets_a_subnet_that_holds_them() -> None:
    topology = made("generate: [{family: star, hosts: 1000}]\n")
    found = {end.ipv4.network for end in ends(topology) if end.ipv4}
    assert found == {ip_network("10.0.0.0/22")}
    assert topology.address("h1000") == "10.0.3.232"


def test_a_small_pool_is_cut_into_small_subnets() -> None:
    topology = made("addressing: {ipv4: 10.9.0.0/27}\ngenerate: [{family: line, nodes: 4}]\n")
    found = [link.ends[0].ipv4.network for link in topology.links.values() if link.ends[0].ipv4]
    assert [str(each) for each in found][:3] == ["10.9.0.0/30", "10.9.0.4/30", "10.9.0.8/30"]
    assert len(found) == 7 and all(ip_network("10.9.0.0/27").supernet_of(each) for each in found)  # type: ignore[arg-type]


def test_a_family_without_a_pool_has_only_what_is_given() -> None:
    topology = made("""
addressing: {ipv6: none}
nodes: {a: {}, b: {}, c: {}}
links: [{ends: [a, b], addresses: {a: [fd05::1/64]}}, [b, c]]
""")
    assert topology.address("b", 6) == "fd05::2"
    with pytest.raises(KeyError, match="c has no IPv6 address"):
        topology.address("c", 6)
