"""An edge with OpenWhisk servers under random faults, and that its invariants see one that does not keep them."""

from __future__ import annotations

from pathlib import Path

import pytest
from soe_wsk_world import Edge
from under_faults import first, found, said, wrong

from roles.serverless_on_edge.system import SYSTEM
from roles.serverless_on_edge.wsk_actions import Actions
from testbed.experiment.load import load
from testbed.explore.exploring import Search
from testbed.explore.faults import KINDS, Chances

EXPLORED = Path(__file__).with_name("soe_wsk_explored.yaml")
OFFERS = "offers what there is"


def test_an_edge_with_two_servers_survives_every_kind_of_fault() -> None:
    search = Search(load(EXPLORED), Chances(tuple(KINDS)), lasting_s=60.0)
    assert said(found(search, range(1, 13))) == []


def test_a_computer_that_goes_on_offering_what_a_dead_server_had_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def stubborn(self: Actions, names: tuple[str, ...]) -> bool:
        before, self.names = self.names, names or self.names
        return before != self.names

    monkeypatch.setattr(Actions, "_offer", stubborn)
    search = Search(load(EXPLORED), Chances(("crash",)), lasting_s=60.0)
    assert first(search, range(1, 9)) == OFFERS


@pytest.mark.parametrize("names", [(), ("/guest/f", "/guest/more")])
def test_the_invariant_sees_what_is_lacking_and_what_is_too_much(names: tuple[str, ...]) -> None:
    async def story(edge: Edge) -> tuple[set[str], set[str]]:
        before = wrong(SYSTEM, edge.world.loop.now, edge.world.agents)
        edge.role("edgecomputerwsk", "k1").actions.names = names
        return before, wrong(SYSTEM, edge.world.loop.now, edge.world.agents)

    before, after = Edge().run(story)
    assert before == set() and OFFERS in after


def test_a_computer_of_the_originals_kind_promises_nothing() -> None:
    strict = [f"settings.serverless_on_edge.edgecomputerwsk@k{i}.strict-original=true" for i in (1, 2)]
    assert said(found(Search(load(EXPLORED, strict), Chances(("crash",))), range(1, 4))) == []
