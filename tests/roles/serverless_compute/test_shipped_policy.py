"""The policy that comes along as an example, on the reference platform."""

from __future__ import annotations

from scs_twin import Platform, function, times

from testbed.places import home

SPREAD = home() / "experiments" / "serverless-compute" / "policies" / "spread.py"


def test_spread_gives_each_node_one_of_two_calls() -> None:
    both = Platform(scheduler=f"{SPREAD}:schedule").calls(0, 0)
    assert [(each.node, *times(each)) for each in both] == [("n1", 11, 11.5, 12.5), ("n2", 11, 11.5, 12.5)]


def test_spread_prefers_an_idle_container_to_an_emptier_node() -> None:
    platform = Platform(
        function(), function("long", 100.0), nodes={"n1": {"slots": 3}, "n2": {}}, scheduler=f"{SPREAD}:schedule"
    )
    first, long, other, last = platform.calls((0, "f"), (20, "long"), (20, "long"), (60, "f"))
    assert [each.node for each in (first, long, other)] == ["n1"] * 3  # leave one slot there, beside two on n2
    assert (last.node, last.start_kind) == ("n1", "hot")


def test_spread_fills_all_slots() -> None:
    five = Platform(scheduler=f"{SPREAD}:schedule").calls(0, 0, 0, 0, 0)
    assert sorted(each.node for each in five[:4]) == ["n1", "n1", "n2", "n2"]
    assert (five[4].start_kind, times(five[4])) == ("hot", (12.5, 12.5, 13.5))
