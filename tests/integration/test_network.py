"""One suite for all substrates of this machine: what was asked for is there, reaches, is counted, is cut, goes away.

What hosts do is in test_hosts.py, how well links are shaped in test_shaping_conformance.py, what happens when the
driver is killed in test_kill.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from in_arena import LINE, each_substrate, each_switching, each_user, line, opened, passes, star

from shaping_traffic import NETEM, offering  # isort: skip  # a helper in this folder, as in_arena is
from testbed.errors import ShapeNotInForce, TestbedError
from testbed.substrate.arena import RUNTIME
from testbed.substrate.find import named
from testbed.substrate.netns import NetnsNetwork
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape

pytestmark = pytest.mark.feature("netns")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def reaches(network: NetnsNetwork, start: str, goal: str, family: int) -> bool:
    argv = ["ping", f"-{family}", "-n", "-c1", "-W5", network.topology.address(goal, 4 if family == 4 else 6)]
    return network.host(start).run(argv, check=False).status == 0


@pytest.mark.ability("networks", "no network touches the machine's own namespaces")
@each_substrate
def test_a_network_cannot_be_opened_outside_of_an_arena(
    substrate: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TESTBED_ARENA", raising=False)
    with pytest.raises(TestbedError, match="arena"), named(substrate).open(line(), tmp_path, 1, {}):
        pass


@pytest.mark.ability("networks", "hosts reach each other over switches and routers, IPv4 and IPv6")
@each_switching
@pytest.mark.feature("ping")
@each_user
def test_hosts_reach_each_other_over_switches_and_routers_in_both_families(substrate: str, user: str) -> None:
    def work() -> None:
        with opened(substrate, line()) as network:
            for start, goal in [("h1", "h3"), ("h1", "h2"), ("h2", "h3"), ("r1", "h1")]:
                assert reaches(network, start, goal, 4), (start, goal, 4)
                assert reaches(network, start, goal, 6), (start, goal, 6)

    passes(work, user)


@pytest.mark.ability("networks", "names resolve on every host, and each knows its own")
@each_substrate
@each_user
def test_names_resolve_on_every_host_and_each_knows_its_own(substrate: str, user: str) -> None:
    def work() -> None:
        before = Path("/etc/hosts").read_text()
        with opened(substrate, line()) as network:
            for name in ("h1", "h2", "h3", "r1"):
                assert network.host(name).run(["hostname"]).stdout.strip() == name
                found = network.host(name).run(["getent", "ahosts", "h2"]).stdout
                assert network.topology.address("h2", 4) in found
                assert network.topology.address("h2", 6) in found
        assert Path("/etc/hosts").read_text() == before

    passes(work, user)


@pytest.mark.ability("networks", "interfaces have the names, hardware addresses and MTU of the topology")
@each_substrate
def test_hardware_addresses_names_and_mtu_are_those_of_the_topology(substrate: str) -> None:
    def work() -> None:
        topology = line("name: small\nnodes: {a: {}, b: {}}\nlinks: [{ends: [a, b], mtu: 1400}]\n")
        with opened(substrate, topology) as network:
            for link, end in topology.interfaces["a"]:
                said = network.host("a").run(["ip", "-o", "link", "show", end.name]).stdout
                assert end.mac in said
                assert f"mtu {link.mtu} " in said

    passes(work)


@pytest.mark.ability("networks", "addresses and routes are those of the topology")
@each_substrate
@each_user
def test_addresses_and_routes_are_those_of_the_topology(substrate: str, user: str) -> None:
    def work() -> None:
        with opened(substrate, line()) as network:
            for node in network.topology.of_kind("host", "router"):
                host = network.host(node.name)
                addresses, routes = (host.run(["ip", "-o", *words]).stdout
                                     for words in (["addr"], ["route", "show", "table", "main"]))  # fmt: skip
                routes += host.run(["ip", "-o", "-6", "route"]).stdout
                for _, end in network.topology.interfaces[node.name]:
                    assert f"{end.name}    inet {end.ipv4} " in addresses
                    assert f"{end.name}    inet6 {end.ipv6} " in addresses
                for route in node.routes:
                    goal = "default" if route.destination.prefixlen == 0 else route.destination
                    assert f"{goal} via {route.gateway} dev {route.interface} " in routes
            assert any(network.topology.nodes[name].routes for name in ("h1", "h2"))

    passes(work, user)


@pytest.mark.ability("networks", "every packet on a link is counted, for each direction")
@each_switching
def test_every_packet_that_passes_a_link_is_counted_in_its_direction(substrate: str) -> None:
    def work() -> None:
        with opened(substrate, line()) as network:
            address = network.topology.address("h2", 4)
            assert reaches(network, "h1", "h2", 4)
            before = network.counters()
            network.host("h1").run(["ping", "-n", "-c20", "-i0.01", "-s", "958", address])
            after = network.counters()
            for end in network.topology.path("h1", "h2"):
                assert 20 <= after[end].packets - before[end].packets <= 26, end  # and some neighbour discovery
                assert 20_000 <= after[end].size_bytes - before[end].size_bytes <= 20_600, end
            links = network.topology.links.values()
            assert set(after) == {End(link.name, end.node) for link in links for end in link.ends}

    passes(work)


SHAPED = {
    "none": LINE,
    "tbf": LINE.replace("[r1, h2]", "{ends: [r1, h2], rate: 50Mbit}"),
    "relay": LINE.replace("[r1, h2]", "{ends: [r1, h2], delay: 1ms}"),
    "netem": LINE.replace("[r1, h2]", "{ends: [r1, h2], delay: 1ms}"),
}


@pytest.mark.ability("networks", "a cut link loses no address and no route, and works again when mended")
@each_switching
@pytest.mark.feature("ping")
@pytest.mark.parametrize("mechanism", ["none", "tbf", "relay", NETEM])
def test_a_link_that_was_cut_and_mended_carries_both_families_again(substrate: str, mechanism: str) -> None:
    def work() -> None:
        carrier = offering(substrate, mechanism)
        with carrier.open(line(SHAPED[mechanism]), RUNTIME / "hosts", 1, {}) as network:
            assert network.mechanisms["r1-h2"] == mechanism
            assert isinstance(network, NetnsNetwork)
            assert reaches(network, "h1", "h2", 4)
            assert reaches(network, "h1", "h2", 6)
            addresses = network.host("h2").run(["ip", "-o", "addr"]).stdout
            routes = network.host("h2").run(["ip", "route"]).stdout
            network.connect("r1-h2", False)
            for family in (4, 6):
                address = network.topology.address("h2", family)  # type: ignore[arg-type]
                argv = ["ping", "-n", "-c5", "-i0.02", "-W1", address]
                assert network.host("h1").run(argv, check=False).status == 1
            assert network.host("h2").run(["ip", "-o", "addr"]).stdout == addresses
            assert network.host("h2").run(["ip", "route"]).stdout == routes
            assert network.counters()[End("r1-h2", "r1")].dropped_down >= 5
            network.connect("r1-h2", True)
            assert reaches(network, "h1", "h2", 4)
            assert reaches(network, "h1", "h2", 6)
            assert network.counters()[End("r1-h2", "r1")].dropped_down >= 5
            network.connect("r1-h2", True)  # mending what is whole does nothing

    passes(work)


@pytest.mark.ability("networks", "a shape that nothing can put in force is refused")
@each_switching
def test_a_shape_that_was_not_announced_is_refused_where_nothing_can_put_it_in_force(substrate: str) -> None:
    def work() -> None:
        with opened(substrate, line()) as network, pytest.raises(ShapeNotInForce, match="h1-s1"):
            network.shape(End("h1-s1", "h1"), Shape(delay="10ms"))
        with opened(substrate, line(), later={"h1-s1": [Shape(delay="10ms")]}) as network:
            assert network.mechanisms["h1-s1"] in ("netem", "relay")
            network.shape(End("h1-s1", "h1"), Shape(delay="10ms"))

    passes(work)


@pytest.mark.ability("networks", "networks open one after the other and leave nothing open")
@each_switching
@each_user
def test_networks_can_be_opened_one_after_the_other_and_leave_nothing_open(substrate: str, user: str) -> None:
    def work() -> None:
        counts = []
        for _ in range(3):
            with opened(substrate, star(10)) as network:
                network.host("h10").run(["true"])
            counts.append(open_files())
        assert counts[0] == counts[1] == counts[2]
        mounts = Path("/proc/self/mounts").read_text()
        assert "/etc/hosts" not in mounts

    passes(work, user)


@pytest.mark.ability("networks", "a hundred hosts on one switch reach each other")
@each_substrate
@pytest.mark.feature("ping")
def test_a_hundred_hosts_on_a_switch_reach_each_other(substrate: str) -> None:
    def work() -> None:
        with opened(substrate, star(100)) as network:
            for start, goal in [("h1", "h100"), ("h50", "h51"), ("h99", "h2")]:
                assert reaches(network, start, goal, 4)
                assert reaches(network, start, goal, 6)

    passes(work)


@pytest.mark.ability("networks", "a network that the kernel refuses says which part, and leaves nothing")
@each_substrate
def test_a_network_that_the_kernel_refuses_says_which_part_and_leaves_nothing(substrate: str) -> None:
    def work() -> None:
        text = "name: small\nnodes: {a: {}, b: {}}\nlinks: [{ends: [a, b], mtu: 1500}]\n"
        topology = line(text)
        link = topology.links["a-b"]
        broken = Topology("broken", topology.nodes, {"a-b": type(link)("a-b", link.ends, 70_000)}, "")
        open_before = open_files()
        with pytest.raises(TestbedError, match="The kernel refused link a-b: "), opened(substrate, broken):
            pass
        assert open_files() == open_before

    passes(work)
