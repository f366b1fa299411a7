"""OSPF on emulated routers: ways found, links lost and mended, who hears of it, and daemons that end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import jinja2.ext  # noqa: F401 - loaded before rights are given up, as is testbed.substrate.bird
import pytest
from in_arena import USERS, opened, passes

import testbed.substrate.bird  # noqa: F401
from testbed.collect.events import EventRecorder
from testbed.collect.routes import RouteWatch
from testbed.errors import TestbedError
from testbed.substrate import kernel_routes
from testbed.substrate.arena import RUNTIME
from testbed.topology.load import parse
from testbed.topology.model import Topology

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("bird"), pytest.mark.feature("ping")]

RING = """
nodes: {{c: {{}}, w: {{}}, r1: {{kind: router}}, r2: {{kind: router}}, r3: {{kind: router}}}}
links:
  - [c, r1]
  - {{name: short, ends: [r1, r2]}}
  - [r2, w]
  - {{name: there, ends: [r1, r3], delay: 5ms}}
  - {{name: on, ends: [r3, r2], delay: 5ms}}
routing: {{{routing}}}
"""
LAN = """
nodes: {a: {}, b: {}, r1: {kind: router}, r2: {kind: router}, r3: {kind: router}}
links: [[a, r1], [b, r3]]
lans: {middle: {members: [r1, r2, r3]}}
routing: {protocol: ospf, dead: 2s}
"""


def ring(routing: str) -> Topology:
    return parse(RING.format(routing=routing), "ring.yaml")


def pings(host: Any, target: str, family: int) -> bool:
    return bool(host.run(["ping", f"-{family}", "-c", "1", "-W", "1", target], check=False).status == 0)


def within(seconds: float, what: Callable[[], bool]) -> float:
    """How long it took until ``what`` held."""
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < seconds
        time.sleep(0.02)
    return time.monotonic() - started


def gateway(network: Any, router: str, destination: str) -> str:
    found = kernel_routes.routes(network.host(router).net).get(ip_network(destination))
    return found.gateway if found else ""


@pytest.mark.ability("networks", "routers find their ways by OSPF, also when a link is lost")
@pytest.mark.parametrize(
    ("substrate", "user"),
    [*(("netns", user) for user in USERS),
     pytest.param("mininet", USERS[0], marks=[pytest.mark.feature("mininet"), pytest.mark.feature("mnexec")])],
)  # fmt: skip
def test_a_lost_link_is_gone_round_and_used_again_when_it_is_back(substrate: str, user: str) -> None:
    def work() -> None:
        (RUNTIME / "run").mkdir()
        with opened(substrate, ring("protocol: ospf, dead: 3s")) as network:
            c, short, detour = network.host("c"), "10.0.1.2", "10.0.3.2"
            assert gateway(network, "r1", "10.0.2.0/24") == short
            assert all(pings(c, "w", family) for family in (4, 6))
            with (
                EventRecorder(RUNTIME / "run", network.now) as events,
                RouteWatch(network, events, network.now),
            ):
                cut = network.now()
                network.connect("short", False)
                assert not pings(c, "w", 4)
                within(60, lambda: gateway(network, "r1", "10.0.2.0/24") == detour)
                seen = network.now()
                within(60, lambda: all(pings(c, "w", family) for family in (4, 6)))
                network.connect("short", True)
                within(60, lambda: gateway(network, "r1", "10.0.2.0/24") == short)
                network.check()
            changes = [row for row in events.rows if row["subject"] == "r1"]
            assert {row["kind"] for row in events.rows} == {"route_change"}
            assert "10.0.2.0/24 via 10.0.3.2" in changes[0]["detail"]
            # The dead interval, less the time since the last hello. A burst is told by its last change.
            assert cut + 1.5 < changes[0]["t_actual"] < seen + 1
            assert "10.0.2.0/24 via 10.0.1.2" in " ".join(row["detail"] for row in changes[1:])

    passes(work, user)


def test_bfd_notices_a_lost_link_much_sooner() -> None:
    def work() -> None:
        with opened("netns", ring("protocol: ospf, dead: 60s, bfd: 200ms")) as network:
            network.connect("short", False)
            assert within(30, lambda: gateway(network, "r1", "10.0.2.0/24") == "10.0.3.2") < 30

    passes(work)


@pytest.mark.parametrize("family", [4, 6])
def test_routers_on_a_lan_find_each_other_in_either_family(family: int) -> None:
    def work() -> None:
        other = "ipv6" if family == 4 else "ipv4"
        with opened("netns", parse(f"{LAN}addressing: {{{other}: none}}\n", "lan.yaml")) as network:
            assert pings(network.host("a"), "b", family)
            assert not network.host("r2").run(["ip", "-6" if family == 4 else "-4", "route", "show", "proto", "bird"]
                                              ).stdout  # fmt: skip

    passes(work)


def test_a_router_keeps_a_log_and_a_daemon_that_ends_is_told() -> None:
    def work() -> None:
        with opened("netns", ring("protocol: ospf")) as network:
            network.check()
            folder: Path = network.host("r1").folder / "bird"
            assert "cost" in (folder / "bird.conf").read_text()
            assert "to Full" in (folder / "stderr").read_text()
            assert network.notes["routing"].startswith("BIRD")
            os.kill(int((network.host("r3").folder / "bird" / "pid").read_text()), signal.SIGKILL)

            def told() -> bool:
                try:
                    network.check()
                except TestbedError as error:
                    return "BIRD on router r3 ended with status -9" in str(error)
                return False

            within(30, told)

    passes(work)


def test_a_daemon_that_cannot_start_ends_the_building_with_its_words() -> None:
    def work() -> None:
        taken = RUNTIME / "bird" / "r2.ctl"
        taken.mkdir(parents=True)  # no socket can be made there
        said = r"BIRD on router r2 ended with status 1\. .*r2\.ctl"
        with pytest.raises(TestbedError, match=said), opened("netns", ring("protocol: ospf")):
            pass

    passes(work)


def test_without_routing_routers_forward_to_their_own_lans_only() -> None:
    def work() -> None:
        with opened("netns", ring("protocol: none")) as network:
            assert pings(network.host("c"), "10.0.0.2", 4)
            done = network.host("c").run(["ping", "-4", "-c", "1", "w"], check=False)
            assert "unreachable" in (done.stdout + done.stderr).lower()

    passes(work)
