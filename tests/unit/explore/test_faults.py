"""What is drawn from a seed: always the same, within its limits, and each fault for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import UsageError
from testbed.explore.faults import KINDS, Chances, Fault, Ground, chosen, kinds_of
from testbed.topology.load import parse
from testbed.topology.model import Topology

NETWORK = """
nodes: {s1: {kind: switch}, s2: {kind: switch}, a: {}, b: {}, c: {}, d: {}}
links: [[a, s1], [b, s1], [s1, s2], [c, s2], [d, s2]]
"""
EVERY = tuple(KINDS)


def ground() -> Ground:
    topology: Topology = parse(NETWORK, "network")
    agents = (("a", "server"), ("b", "server"), ("b", "store"), ("c", "client"), ("c", "server"), ("d", "client"))
    return Ground(topology, agents, frozenset("cd"), "client")


GROUND = ground()


@given(st.integers(0, 10**6), st.floats(0.2, 10.0), st.floats(0.1, 1.0), st.floats(1.0, 300.0))
def test_faults_are_in_order_and_over_when_all_is_to_be_healed(
    seed: int, every: float, heal_by: float, duration: float
) -> None:
    faults = Chances(EVERY, every, heal_by).draw(seed, GROUND, duration)
    assert [fault.begin for fault in faults] == sorted(fault.begin for fault in faults)
    assert all(0 <= fault.begin <= fault.end <= heal_by * duration + 1e-6 for fault in faults)
    assert len({fault.number for fault in faults}) == len(faults)
    assert faults == Chances(EVERY, every, heal_by).draw(seed, GROUND, duration)


@given(st.integers(0, 10**6))
def test_clients_never_go_down_and_what_is_cut_is_what_the_words_say(seed: int) -> None:
    for fault in Chances(EVERY, 0.5).draw(seed, GROUND, 60.0):
        assert not any(role == "client" for _, role in fault.agents)
        assert fault.machine in ("", "a", "b")
        assert set(fault.cut) <= set(GROUND.topology.links)
        assert (fault.kind == "partition") == bool(fault.cut)
        assert fault.kind in EVERY
        if fault.kind == "partition":
            one, other = (set(group.strip("{}").split(", ")) for group in fault.subject.split(" | "))
            assert one | other == {"a", "b", "c", "d"} and not one & other
            ways = {(x, y): {end.link for end in GROUND.topology.path(x, y)} for x in one for y in other}
            assert all(links & set(fault.cut) for links in ways.values())


def test_every_kind_is_drawn_and_every_mortal_agent_dies_for_some_seed() -> None:
    faults = [fault for seed in range(60) for fault in Chances(EVERY, 1.0).draw(seed, GROUND, 60.0)]
    assert {fault.kind for fault in faults} == set(EVERY)
    assert {agent for fault in faults for agent in fault.agents} == {
        ("a", "server"), ("b", "server"), ("b", "store"), ("c", "server"),
    }  # fmt: skip
    assert {fault.links[0] for fault in faults if fault.links} == set(GROUND.topology.links)


def test_some_deaths_last_and_are_the_only_faults_between_two_storms() -> None:
    faults = [fault for seed in range(60) for fault in Chances(EVERY, 1.0).draw(seed, GROUND, 200.0)]
    assert any(fault.end - fault.begin > 25 for fault in faults if fault.agents)
    assert all(fault.end - fault.begin <= 20 for fault in faults if not fault.agents)


def test_kinds_are_named_with_commas_and_unknown_ones_refused() -> None:
    assert kinds_of(" crash, loss,crash") == ("crash", "loss")
    with pytest.raises(UsageError, match="no kind of fault called crush"):
        kinds_of("crush")


def test_some_of_the_faults_can_be_chosen_by_their_numbers() -> None:
    faults = [Fault(number, "crash", "x") for number in (1, 3, 4)]
    assert chosen(faults, None) == tuple(faults)
    assert [fault.number for fault in chosen(faults, [4, 1])] == [1, 4]
    with pytest.raises(UsageError, match="draws no fault number 2"):
        chosen(faults, [1, 2])
