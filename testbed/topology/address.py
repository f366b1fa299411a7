"""Addresses: one subnet for each segment and family, given in the file or taken from the pool in the order of the file.

Within a segment, hosts and routers are numbered from 1 in the order of the file, with the same number in both
families. Interfaces of a node are eth0, eth1, ...; ports of switches p1, p2, ... through the whole network, so that all
switches can live side by side. A MAC address follows from the names of node and interface alone.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network
from typing import Any, cast

from testbed.document import Place
from testbed.topology.draft import Draft
from testbed.topology.model import End
from testbed.topology.segment import Segment

Subnet = IPv4Network | IPv6Network
Address = IPv4Interface | IPv6Interface


class PoolIsEmpty(Exception):
    """The pool has no room for the subnets of all segments; the argument is how many there are."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The addresses of one family: a subnet for each segment (None where the family is not used), an address for each
    end that has one."""

    subnets: tuple[Subnet | None, ...]
    addresses: Mapping[End, Address]


def given_subnets(segment: Segment, version: int) -> Iterator[tuple[Subnet, Place]]:
    """The subnets that the file gives for ``segment``, by themselves or through an address, each with its place."""
    for link in segment.links:
        # the links of a LAN share what the LAN says
        top = link.place[:2]
        for index, subnet in enumerate(link.subnets):
            if subnet.version == version:
                yield subnet, (*top, "subnets", index)
        for node, addresses in link.addresses.items():
            for index, address in enumerate(addresses):
                if address.version == version:
                    yield address.network, (*top, "addresses", node, index)


def plan(segments: Sequence[Segment], pool: Subnet | None, version: int) -> Plan:
    """Addresses of one family for the whole network; raises PoolIsEmpty. What is given must have been checked."""
    given = [next((subnet for subnet, _ in given_subnets(segment, version)), None) for segment in segments]
    subnets = list(given)
    if pool is not None:
        free = [index for index, subnet in enumerate(given) if subnet is None]
        taken = sorted((_first(each), _last(each)) for each in given if each is not None)
        needs = [len(segments[index].members) for index in free]
        for index, subnet in zip(free, _take(pool, needs, taken), strict=True):
            subnets[index] = subnet
    addresses: dict[End, Address] = {}
    for segment, chosen in zip(segments, subnets, strict=True):
        if chosen is not None:
            addresses |= _number(segment, chosen)
    return Plan(tuple(subnets), addresses)


def _number(segment: Segment, subnet: Subnet) -> Iterator[tuple[End, Address]]:
    known = {
        End(link.name, node): address
        for node, link in segment.members
        for address in link.addresses.get(node, ())
        if address.version == subnet.version
    }
    used = {int(address.ip) for address in known.values()}
    offset = _first(subnet)
    for node, link in segment.members:
        end = End(link.name, node)
        if end in known:
            yield end, known[end]
            continue
        offset += 1
        while offset in used:
            offset += 1
        yield end, _interface(subnet, offset)


def _interface(subnet: Subnet, number: int) -> Address:
    if subnet.version == 4:
        return IPv4Interface((number, subnet.prefixlen))
    return IPv6Interface((number, subnet.prefixlen))


def _first(subnet: Subnet) -> int:
    return int(subnet.network_address)


def _last(subnet: Subnet) -> int:
    return int(subnet.broadcast_address)


def _take(pool: Subnet, needs: Iterable[int], taken: list[tuple[int, int]]) -> list[Subnet]:
    needs = list(needs)
    if pool.version == 6:
        return _cut(pool, [64 for _ in needs], taken)
    tight = [32 - (need + 1).bit_length() for need in needs]
    try:
        return _cut(pool, [min(24, length) for length in tight], taken)
    except PoolIsEmpty:
        return _cut(pool, tight, taken)


def _cut(pool: Subnet, lengths: Sequence[int], taken: list[tuple[int, int]]) -> list[Subnet]:
    """Subnets of these prefix lengths, in order from the start of the pool, around what is taken."""
    starts = [start for start, _ in taken]
    cursor, cut = _first(pool), []
    for length in lengths:
        size = 1 << (pool.max_prefixlen - length)
        while True:
            cursor = -(-cursor // size) * size
            before = bisect_left(starts, cursor + size)
            if before == 0 or taken[before - 1][1] < cursor:
                break
            cursor = taken[before - 1][1] + 1
        if cursor + size - 1 > _last(pool):
            raise PoolIsEmpty(len(lengths))
        cut.append(ip_network((cursor, length)))
        cursor += size
    return cast(list[Any], cut)


def interface_names(draft: Draft) -> dict[End, str]:
    """What the interface at each end is called on its node."""
    switches = {node.name for node in draft.nodes if node.kind == "switch"}
    count: dict[str, int] = {}
    names = {}
    for link in draft.links:
        for node in link.ends:
            counter = "" if node in switches else node
            count[counter] = count.get(counter, -1) + 1
            names[End(link.name, node)] = f"p{count[counter] + 1}" if node in switches else f"eth{count[counter]}"
    return names


def macs(names: Mapping[End, str]) -> dict[End, str]:
    """A locally administered unicast MAC address for each end, unlike all others."""
    used: set[str] = set()
    found = {}
    for end, name in names.items():
        salt = 0
        while True:
            digest = hashlib.sha256(f"{end.node}/{name}/{salt}".encode()).hexdigest()
            mac = ":".join(("02", *(digest[at : at + 2] for at in range(0, 10, 2))))
            if mac not in used:
                break
            salt += 1
        used.add(mac)
        found[end] = mac
    return found
