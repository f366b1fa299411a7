"""Requests as the kernel reads them, checked against pyroute2's independent decoder."""

from __future__ import annotations

import struct
from ipaddress import IPv4Interface, IPv6Interface, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from testbed.netlink import Request
from testbed.substrate import requests
from testbed.substrate.requests import VethEnd


def decoded(kind: type, request: Request) -> Any:
    body = request.body
    message = kind(struct.pack("=IHHII", 16 + len(body), request.kind, request.flags, 1, 0) + body)
    message.decode()
    return message


def test_a_veth_pair_names_both_ends_their_indices_and_where_the_far_one_goes() -> None:
    near = VethEnd(100, "p0a", "02:00:00:00:00:01", master=7, up=True)
    far = VethEnd(101, "eth0", "02:00:00:00:00:02", net=9)
    message = decoded(ifinfmsg, requests.veth(near, far, 1400, 77, "a link"))
    assert (message["index"], message["flags"] & 1) == (100, 1)
    assert message.get_attr("IFLA_IFNAME") == "p0a"
    assert message.get_attr("IFLA_ADDRESS") == "02:00:00:00:00:01"
    assert [message.get_attr(f"IFLA_{name}") for name in ("MTU", "GROUP", "MASTER")] == [1400, 77, 7]
    info = message.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert (peer["index"], peer["flags"]) == (101, 0)
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert (peer.get_attr("IFLA_NET_NS_FD"), peer.get_attr("IFLA_MTU")) == (9, 1400)


def test_a_bridge_learns_without_spanning_tree_or_delay() -> None:
    message = decoded(ifinfmsg, requests.bridge(5, "b0", "02:fb:00:00:00:00", "switch s1"))
    data = message.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    assert data.get_attr("IFLA_BR_STP_STATE") == 0
    assert data.get_attr("IFLA_BR_FORWARD_DELAY") == 0
    assert data.get_attr("IFLA_BR_MCAST_SNOOPING") == 0


@pytest.mark.parametrize(("address", "broadcast", "no_detection"), [
    (IPv4Interface("10.0.0.1/24"), "10.0.0.255", 0),
    (IPv4Interface("10.0.0.1/31"), None, 0),
    (IPv6Interface("fd00::1/64"), None, 2),
])  # fmt: skip
def test_an_address_has_its_prefix_and_needs_no_duplicate_detection(
    address: IPv4Interface | IPv6Interface, broadcast: str | None, no_detection: int
) -> None:
    message = decoded(ifaddrmsg, requests.address(3, address, "an address"))
    assert (message["index"], message["prefixlen"]) == (3, address.network.prefixlen)
    assert message["flags"] & 2 == no_detection
    assert message.get_attr("IFA_LOCAL") == str(address.ip)
    assert message.get_attr("IFA_BROADCAST") == broadcast


@pytest.mark.parametrize(("to", "gateway"), [("10.2.0.0/16", "10.1.0.1"), ("0.0.0.0/0", "10.1.0.1"), ("::/0", "fd::1")])
def test_a_route_names_destination_gateway_and_interface(to: str, gateway: str) -> None:
    network = ip_network(to)
    message = decoded(rtmsg, requests.route(4, network, gateway, "a route"))
    assert message["dst_len"] == network.prefixlen
    assert message.get_attr("RTA_DST") == str(network.network_address)
    assert (message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_OIF")) == (gateway, 4)


def test_a_permanent_neighbour_has_both_of_its_addresses() -> None:
    message = decoded(ndmsg, requests.neighbour(4, "10.0.0.2", "02:00:00:00:00:02", "a neighbour"))
    assert (message["ifindex"], message["state"]) == (4, 0x80)
    assert (message.get_attr("NDA_DST"), message.get_attr("NDA_LLADDR")) == ("10.0.0.2", "02:00:00:00:00:02")
