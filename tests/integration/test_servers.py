"""One network over several emulation servers: what holds on one machine holds there, over VXLAN and over the tunnel."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from host_contract import keeps_the_host_contract
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_arena import LINE, opened, passes
from random_networks import networks
from server_lab import WIDE, Lab, lab, stretched

from testbed.errors import InputError
from testbed.substrate.remote_connection import MachineLost
from testbed.topology.load import parse
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("sshd"), pytest.mark.feature("ping")]
each_trunk = pytest.mark.parametrize("trunk", ["udp", pytest.param("vxlan", marks=pytest.mark.feature("vxlan"))])
each_user = pytest.mark.parametrize(
    ("trunk", "user"),
    [("udp", "root"), pytest.param("vxlan", "root", marks=pytest.mark.feature("vxlan")), ("auto", "nobody")],
)

TWO = {"m1": ["h1", "s1", "r1"], "m2": ["h2", "h3"]}  # cut: h3-s1, between a host and a switch, and r1-h2
SLOW = LINE.replace("[r1, h2]", "{ends: [r1, h2], forward: {delay: 10ms}, backward: {delay: 20ms}}")


@contextmanager
def on_two(trunk: str, text: str, later: Mapping[str, Sequence[Shape]] | None = None) -> Iterator[tuple[Lab, Any]]:
    """A network over two servers of a lab, in the parts TWO."""
    with (
        lab(mtu=WIDE if trunk == "vxlan" else 1500) as made,
        stretched(made, parse(text, "line.yaml"), made.inventory(TWO, tunnel=trunk), later) as net,
    ):
        yield made, net


def reaches(network: Any, start: str, goal: str, family: int, *more: str) -> bool:
    argv = ["ping", f"-{family}", "-n", "-c1", "-W5", *more, network.topology.address(goal, family)]
    return bool(network.host(start).run(argv, check=False).status == 0)


def trips(network: Any, start: str, goal: str, count: int = 30) -> list[float]:
    """Round trips in seconds, the first, with its address resolution, left out."""
    argv = ["ping", "-n", f"-c{count}", "-i0.01", "-W2", network.topology.address(goal)]
    said = network.host(start).run(argv, check=False).stdout
    return [float(found) / 1e3 for found in re.findall(r"time=([\d.]+) ms", said)[1:]]


@pytest.mark.ability("networks", "hosts reach each other over switches and routers, IPv4 and IPv6", on="servers")
@pytest.mark.ability("networks", "names resolve on every host, and each knows its own", on="servers")
@pytest.mark.ability("networks", "interfaces have the names, hardware addresses and MTU of the topology", on="servers")
@pytest.mark.ability("networks", "addresses and routes are those of the topology", on="servers")
@each_user
def test_hosts_on_two_servers_reach_each_other_and_have_names_addresses_and_routes(trunk: str, user: str) -> None:
    def work() -> None:
        with on_two(trunk, LINE) as (made, net):
            assert net.notes["trunks"].startswith("vxlan" if trunk == "vxlan" else "udp")
            for start, goal in [("h1", "h3"), ("h1", "h2"), ("h2", "h3"), ("r1", "h2")]:
                assert reaches(net, start, goal, 4, "-M", "do", "-s", "1472"), (start, goal, 4)
                assert reaches(net, start, goal, 6), (start, goal, 6)
            there = (("m1", "h1"), ("m2", "h2")) if user == "root" else ()  # in the lab, others have two user numbers
            for machine, name in there:  # whoever logs in there reaches the hosts of that part
                argv = [sys.executable, "-m", "testbed", "exec", name, "--", "hostname"]
                assert made.network.host(machine).run(argv).stdout.strip() == name
            for name in ("h1", "h2", "h3", "r1"):
                _has_what_the_topology_says(net, name)

    passes(work, user)


def _has_what_the_topology_says(net: Any, name: str) -> None:
    host, topology = net.host(name), net.topology
    assert host.run(["hostname"]).stdout.strip() == name
    assert topology.address("h2", 4) in host.run(["getent", "ahosts", "h2"]).stdout
    said = {words: host.run(["ip", "-o", *words.split()]).stdout for words in ("link", "addr", "route", "-6 route")}
    for link, end in topology.interfaces[name]:
        assert re.search(f" {end.name}@.* mtu {link.mtu} .* {end.mac} ", said["link"])
        assert f"{end.name}    inet {end.ipv4} " in said["addr"]
        assert f"{end.name}    inet6 {end.ipv6} " in said["addr"]
    for route in topology.nodes[name].routes:
        goal = "default" if route.destination.prefixlen == 0 else route.destination
        assert f"{goal} via {route.gateway} dev {route.interface} " in said["route"] + said["-6 route"]


@pytest.mark.ability("links", "a link between servers has its shape in each direction, and changes it", on="servers")
@each_trunk
def test_a_link_between_servers_has_its_shape_in_each_direction_and_changes_it(trunk: str) -> None:
    def work() -> None:
        later = {"r1-h2": [Shape.model_validate({"delay": "50ms"}), Shape.model_validate({"loss": "50%"})]}
        with on_two(trunk, SLOW, later) as (_, net):
            assert net.mechanisms["r1-h2"] in ("relay", "netem")
            near, far = End("r1-h2", "r1"), End("r1-h2", "h2")
            assert 0.029 <= min(trips(net, "h1", "h2")) <= 0.045
            net.shape(near, Shape.model_validate({"delay": "50ms"}))
            assert 0.069 <= min(trips(net, "h1", "h2")) <= 0.085
            net.shape(near, Shape.model_validate({"delay": "0s"}))
            net.shape(far, Shape.model_validate({"loss": "50%"}))
            came = len(trips(net, "h1", "h2", 100))
            assert 20 <= came <= 80
            assert 20 <= net.counters()[far].dropped_loss <= 85

    passes(work)


def test_what_the_way_between_servers_takes_is_taken_off_the_delay_unless_told_otherwise() -> None:
    def work() -> None:
        with lab(delay="4ms") as made:
            shortest = {}
            for latency in ("subtract", "add"):
                inventory = made.inventory(TWO, tunnel="udp", latency=latency)
                with stretched(made, parse(SLOW, "l.yaml"), inventory) as net:
                    assert "m1 to m2 8." in net.notes["trunks one way"]
                    assert ("trunks too slow for" in net.notes) == (latency == "subtract")
                    shortest[latency] = min(trips(net, "h1", "h2"))
            assert shortest["subtract"] < 0.040
            assert 0.011 <= shortest["add"] - shortest["subtract"] <= 0.021  # 16 ms are two ways of 8 ms

    passes(work)


@pytest.mark.ability("hosts", "a command gives its status and its output", on="servers")
@pytest.mark.ability("hosts", "a process has its output, number and status in its own folder", on="servers")
def test_a_host_on_a_server_keeps_the_host_contract() -> None:
    def work() -> None:
        with lab() as made:
            with stretched(made, parse(LINE, "l.yaml"), made.inventory(TWO)) as net:
                keeps_the_host_contract(net.host("h2"))
            assert (made.place / "hosts" / "h2" / "deep" / "er" / "text").read_text() == "Grüße\n"
            assert (made.place / "hosts" / "h2" / "large").stat().st_size == 3_000_000

    passes(work)


@pytest.mark.ability("networks", "every packet on a link is counted, for each direction", on="servers")
@pytest.mark.ability("links", "a cut link carries nothing, and a mended one has its shape again", on="servers")
@each_trunk
def test_packets_over_a_cut_link_are_counted_once_in_their_direction_and_cuts_heal(trunk: str) -> None:
    def work() -> None:
        with on_two(trunk, SLOW) as (_, net):
            assert reaches(net, "h1", "h2", 4)
            before = net.counters()
            net.host("h1").run(["ping", "-n", "-c20", "-i0.01", "-s", "958", net.topology.address("h2", 4)])
            after = net.counters()
            links = net.topology.links.values()
            assert set(after) == {End(link.name, end.node) for link in links for end in link.ends}
            for end in (*net.topology.path("h1", "h2"), *net.topology.path("h2", "h1")):
                assert 20 <= after[end].packets - before[end].packets <= 26, end
                assert 20_000 <= after[end].size_bytes - before[end].size_bytes <= 20_600, end
            assert not any(each.dropped_relay for each in after.values())
            for link in ("r1-h2", "h3-s1", "s1-r1"):  # shaped and cut, plain and cut, inside one machine
                net.connect(link, False)
                goal = "h2" if link != "h3-s1" else "h3"
                assert net.host("h1").run(["ping", "-n", "-c4", "-i0.05", "-W1", goal], check=False).status == 1
                net.connect(link, True)
                assert reaches(net, "h1", goal, 4)
                assert reaches(net, "h1", goal, 6)
            assert net.counters()[End("r1-h2", "r1")].dropped_down >= 2

    passes(work)


def test_three_servers_share_a_network_that_nobody_divided() -> None:
    text = """
name: sites
nodes: {a1: {}, a2: {}, ra: {kind: router}, b1: {}, b2: {}, rb: {kind: router}, c1: {}, c2: {}, rc: {kind: router}}
links: [[a1, ra], [a2, ra], [b1, rb], [b2, rb], [c1, rc], [c2, rc], {ends: [ra, rb], delay: 5ms},
        {ends: [rb, rc], delay: 5ms}, {ends: [rc, ra], delay: 5ms}]
"""

    def work() -> None:
        topology = parse(text, "sites.yaml")
        with lab(3) as made, stretched(made, topology, made.inventory({"m1": [], "m2": [], "m3": []})) as net:
            for site in "abc":
                assert len({net.machine_of[name] for name in (f"{site}1", f"{site}2", f"r{site}")}) == 1
            assert len(set(net.machine_of.values())) == 3
            for start, goal in [("a1", "b2"), ("b1", "c2"), ("c1", "a2")]:
                assert 0.009 <= min(trips(net, start, goal)) <= 0.025
                assert reaches(net, start, goal, 6)

    passes(work)


@pytest.mark.ability("networks", "routers find their ways by OSPF, also when a link is lost", on="servers")
@pytest.mark.feature("bird")
def test_routers_on_two_servers_find_their_ways_with_ospf() -> None:
    text = """
name: ospf
routing: {protocol: ospf, hello: 1s, dead: 4s}
nodes: {h1: {}, r1: {kind: router}, r2: {kind: router}, h2: {}}
links: [[h1, r1], [r1, r2], [r2, h2]]
"""

    def work() -> None:
        parts = {"m1": ["h1", "r1"], "m2": ["r2", "h2"]}
        with lab() as made, stretched(made, parse(text, "o.yaml"), made.inventory(parts)) as net:
            assert "proto bird" in net.host("r1").run(["ip", "route"]).stdout
            assert reaches(net, "h1", "h2", 4)
            assert reaches(net, "h1", "h2", 6)

    passes(work)


def _answers(net: Any, topology: Topology) -> dict[tuple[str, str], bool]:
    """For all pairs of hosts, whether one answers the other; each host asks all others at once."""
    names = [node.name for node in topology.of_kind("host")]
    found = {}
    for start in names:
        script = "; ".join(f"(ping -n -c1 -W3 {topology.address(goal)} >/dev/null && echo {goal}) &" .removesuffix(";")
                           for goal in names if goal != start).replace("&;", "&")  # fmt: skip
        said = net.host(start).run(["sh", "-c", f"{script} wait"]).stdout.split()
        found.update({(start, goal): goal in said for goal in names if goal != start})
    return found


def test_a_network_split_at_random_reaches_what_the_whole_one_reaches() -> None:
    def work() -> None:
        with lab() as made:

            @settings(max_examples=3, deadline=None, database=None, derandomize=True,
                      suppress_health_check=list(HealthCheck))
            @given(networks(), st.randoms(use_true_random=False))
            def same(text: str, rng: Any) -> None:
                topology = parse(text, "random.yaml")
                split = {"m1": ["no-such*"], "m2": []}
                for name in topology.nodes:
                    split[rng.choice(["m1", "m2"])].append(name)
                split["m1"].remove("no-such*")
                with stretched(made, topology, made.inventory(split, tunnel="udp")) as net:
                    stretched_answers = _answers(net, topology)
                with opened("netns", topology) as whole:
                    assert stretched_answers == _answers(whole, topology)

            same()

    passes(work)


def test_a_server_that_dies_is_told_of_and_what_others_have_is_kept() -> None:
    def work() -> None:
        with lab() as made:
            with stretched(made, parse(LINE, "l.yaml"), made.inventory(TWO, tunnel="udp")) as net:
                assert reaches(net, "h1", "h2", 4)
                net.check()
                before = net.counters()
                net.host("h1").put("kept", Path("kept.txt"))
                made.kill("m2")
                with pytest.raises(MachineLost, match="Machine 'm2' is lost"):
                    for _ in range(200):
                        net.host("h2").run(["true"])
                with pytest.raises(MachineLost, match="Machine 'm2' is lost"):
                    net.check()
                after = net.counters()
                assert set(after) == set(before)
                assert after[End("r1-h2", "h2")] == before[End("r1-h2", "h2")]
                net.lateness()
            assert (made.place / "hosts" / "h1" / "kept.txt").read_text() == "kept"

    passes(work)


@pytest.mark.ability("networks", "networks open one after the other and leave nothing open", on="servers")
@each_trunk
def test_nothing_is_left_on_a_server(trunk: str) -> None:
    def work() -> None:
        with lab(mtu=WIDE) as made:
            with stretched(made, parse(SLOW, "l.yaml"), made.inventory(TWO, tunnel=trunk)) as net:
                net.host("h2").start(["sleep", "1000"], Path("left"))
                assert [command for command in made.commands("m2") if "testbed.substrate" in command]
                assert len(list(made.place.glob("testbed-*"))) == 2
            for name in ("m1", "m2"):
                assert [command for command in made.commands(name) if "sshd" not in command] == []
            assert list(made.place.glob("testbed-*")) == []
            for name in ("m1", "m2"):
                assert len(made.network.host(name).run(["ip", "-o", "link"]).stdout.splitlines()) == 2  # lo and its own

    passes(work)


def test_parts_that_do_not_fit_the_network_are_refused_with_their_place() -> None:
    def work() -> None:
        with lab() as made:
            inventory = made.inventory({"m1": ["h1"], "m2": ["h9"]})
            with pytest.raises(InputError, match=r"inventory.yaml.* parts.*'h9', which no node of line has"), \
                    stretched(made, parse(LINE, "l.yaml"), inventory):
                pass

    passes(work)
