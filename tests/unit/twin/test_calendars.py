"""Calendars in the twin: each node has one, the run's clock is another."""

from __future__ import annotations

import pytest
from toy import placed, world

from testbed.timeline.actions import SetCalendar
from testbed.twin.hands import TwinHands


def test_a_skew_is_read_on_its_node_alone_until_it_is_put_right() -> None:
    made = world()
    agents, hands = placed(made, server="b", caller="a"), TwinHands(made)
    found: list[tuple[float, float]] = []

    def look() -> None:
        a, b = (agents[node].env for node in "ab")
        assert a.now() == b.now() == made.loop.now
        found.append((b.wall() - a.wall(), a.wall() - a.now()))

    async def story() -> None:
        for skew in (SetCalendar("b", -0.25), SetCalendar("b", 3600.0), SetCalendar("b")):
            look()
            hands.skew(skew)
            look()
            await made.loop.sleep(1.0)
        look()

    made.run(story())
    assert [ahead for ahead, _ in found] == [0, -0.25, -0.25, 3600, 3600, 0, 0]
    assert len({less for _, less in found}) == 1


def test_what_a_calendar_gains_counts_from_the_moment_when_it_is_put_wrong() -> None:
    made = world()
    env, hands = placed(made, server="b", caller="a")["b"].env, TwinHands(made)

    async def story() -> list[float]:
        right = env.wall() - env.now()
        await made.loop.sleep(10.0)
        hands.skew(SetCalendar("b", 1.0, 200e-6))
        found = []
        for _ in range(3):
            found.append(env.wall() - env.now() - right)
            await made.loop.sleep(1000.0)
        return found

    assert made.run(story()) == pytest.approx([1.0, 1.2, 1.4])


def test_an_agent_that_takes_another_s_place_reads_the_same_wrong_calendar() -> None:
    made = world()
    agents, hands = placed(made, server="b", caller="a"), TwinHands(made)

    async def story() -> float:
        await made.start(agents["b"])
        hands.skew(SetCalendar("b", 42.0))
        hands.restart("b", "server")
        await made.loop.sleep(1.0)
        again = made.agents["b", "server"]
        assert again is not agents["b"]
        return again.env.wall() - agents["a"].env.wall()

    assert made.run(story()) == 42
