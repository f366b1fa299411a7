"""Journals and the graph of the network in the twin."""

from __future__ import annotations

from typing import Any, ClassVar

from toy import Toy, placed, topology, world

from testbed.twin.options import TwinOptions
from testbed.twin.world import World


def test_a_journal_outlives_the_agent_and_belongs_to_its_node_and_role() -> None:
    made = world()
    agents = placed(made, server="a b")

    async def story() -> None:
        for agent in agents.values():
            await made.start(agent)
        first = agents["a"]
        first.env.journal("sessions").append(b"one")
        made.kill("a", "server")
        first.env.journal("sessions").append(b"by the dead")
        again = await made.restart("a", "server", first)
        journal = again.env.journal("sessions")
        assert journal.records() == (b"one",)
        journal.replace([b"all", b"of it"])
        journal.append(b"more")
        assert again.env.journal("sessions").records() == (b"all", b"of it", b"more")
        assert again.env.journal("other").records() == agents["b"].env.journal("sessions").records() == ()

    made.run(story())


def test_a_system_that_asks_for_it_is_told_the_graph_of_the_network() -> None:
    class Seeing(Toy):
        sees_network: ClassVar[bool] = True

    text = "nodes: {a: {}, b: {}, s: {kind: switch}}\nlinks: [[a, s], [s, b]]"

    def graph(system: Toy) -> Any:
        return World(topology(text), system, 1, TwinOptions()).site("a", "server", {"server": ("a", "b")}, {}).graph

    assert graph(Seeing()) == {"a": ("s",), "b": ("s",), "s": ("a", "b")}
    assert graph(Toy()) == {}
