"""OSPF in the twin: when routes change after a cut and after a mend, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.topology.load import parse
from testbed.topology.model import End
from testbed.topology.shape import Shape
from testbed.twin.loop import VirtualLoop
from testbed.twin.network import TwinNetwork
from testbed.twin.options import TwinOptions

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
SHORT, ROUND = ["c-r1", "short", "r2-w"], ["c-r1", "there", "on", "r2-w"]


class Watched:
    """A network in virtual time: what happens when, and by which links packets go at any moment."""

    def __init__(self, routing: str, seed: int = 1) -> None:
        self.loop = VirtualLoop()
        self.network = TwinNetwork(parse(RING.format(routing=routing), "ring.yaml"), seed, self.loop, TwinOptions())
        self.told: list[tuple[float, str]] = []
        self.network.rerouting.told = lambda router, ways: self.told.append((self.loop.now, router))

    def links(self) -> list[str]:
        return [end.link for end in self.network.way("c", "w")]

    def run(self, seconds: float, *events: tuple[float, Callable[[], None]]) -> None:
        for t, event in events:
            self.loop.at(t, event)

        async def wait() -> None:
            await self.loop.sleep(seconds)

        self.loop.run(wait())

    def connect(self, up: bool, link: str = "short") -> Callable[[], None]:
        return lambda: self.network.connect(link, up)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("routing", "least", "most"), [
    ("protocol: ospf", 3, 4), ("protocol: ospf, hello: 2s, dead: 10s", 8, 10),
    ("protocol: ospf, bfd: 100ms", 0.2, 1.3),
])  # fmt: skip
def test_a_cut_is_gone_round_when_neighbours_have_been_silent_for_their_time(
    routing: str, least: float, most: float, seed: int
) -> None:
    watched = Watched(routing, seed)
    watched.run(30, (10.0, watched.connect(False)))
    assert watched.links() == ROUND
    assert {router for _, router in watched.told} == {"r1", "r2"}
    assert {t for t, _ in watched.told} == {watched.told[0][0]}
    assert 10 + least - 1e-6 <= watched.told[0][0] <= 10 + most + 1e-6


def test_a_link_that_is_mended_is_used_again_after_two_hellos_and_a_computation() -> None:
    watched = Watched("protocol: ospf")
    watched.run(20, (1.0, watched.connect(False)), (10.0, watched.connect(True)))
    assert watched.links() == SHORT
    assert 11 < watched.told[-1][0] <= 13.1


def test_a_cut_shorter_than_the_dead_interval_changes_nothing() -> None:
    watched = Watched("protocol: ospf")
    watched.run(30, *((t, watched.connect(up)) for t, up in ((5, False), (7, True), (8.5, False), (10.5, True))))
    assert watched.told == []


def test_fixed_routes_stay_and_a_link_to_a_host_moves_nobody() -> None:
    for routing, link in (("protocol: static", "short"), ("protocol: ospf", "r2-w")):
        watched = Watched(routing)
        watched.run(30, (1.0, watched.connect(False, link)))
        assert (watched.links(), watched.told) == (SHORT, [])


def test_a_router_that_is_down_and_a_link_that_loses_everything_are_gone_round_too() -> None:
    watched = Watched("protocol: ospf")
    watched.run(10, (1.0, lambda: watched.network.shape(End("short", "r1"), Shape.model_validate({"loss": "100%"}))))
    assert watched.links() == ROUND
    watched = Watched("protocol: ospf, metric: delay")
    watched.run(10, (1.0, lambda: watched.network.down("r3", True)), (1.0, watched.connect(False)))
    assert watched.links() == SHORT  # no way is left: packets end where the planned one is cut
    again = Watched("protocol: ospf")
    again.run(20, (1.0, watched.connect(False)))
    assert again.told == []


def test_equal_seeds_change_routes_at_equal_times() -> None:
    def moments(seed: int) -> list[tuple[float, str]]:
        watched = Watched("protocol: ospf, bfd: 200ms", seed)
        watched.run(20, (5.0, watched.connect(False)), (12.0, watched.connect(True)))
        return watched.told

    assert moments(7) == moments(7)
    assert moments(7) != moments(8)


def test_traffic_under_way_takes_the_detour_and_its_delay() -> None:
    watched = Watched("protocol: ospf")
    before = watched.network.delay("c", "w")
    watched.run(10, (1.0, watched.connect(False)))
    assert before == 0.0
    assert watched.network.delay("c", "w") == pytest.approx(0.01)
