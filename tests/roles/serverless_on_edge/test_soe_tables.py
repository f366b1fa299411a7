"""Forwarding tables and optimizers as tables of steps."""

from __future__ import annotations

import pytest

from roles.serverless_on_edge.messages import Entry
from roles.serverless_on_edge.policies import LeastImpedance
from roles.serverless_on_edge.tables import Fixed, Key, Latest, Optimizer, Periodic, RoutingTable, Smoothed, dump

F1 = Key("f", "one")
F2 = Key("f", "two")


def table(optimizer: Optimizer) -> RoutingTable:
    made = RoutingTable(LeastImpedance, optimizer)
    made.change(F1, 1.0, True, 0.0)
    made.change(F2, 1.0, False, 0.0)
    return made


def weight(of: RoutingTable, key: Key, now: float) -> float:
    return {Key(e.function, e.destination): e.weight for e in of.entries(now)}[key]


def test_async_smooths_samples_that_follow_within_five_seconds() -> None:
    made = table(Smoothed(0.95))
    made.sample(F1, 1.0, 10.0)
    made.sample(F1, 0.1, 12.0)
    assert weight(made, F1, 12.0) == pytest.approx(0.955)


def test_async_takes_a_sample_as_it_is_after_five_seconds_of_silence() -> None:
    made = table(Smoothed(0.95))
    made.sample(F1, 1.0, 10.0)
    made.sample(F1, 0.1, 15.5)
    assert weight(made, F1, 15.5) == pytest.approx(0.1)


@pytest.mark.parametrize(("stat", "expected"), [("mean", 0.4), ("min", 0.2), ("max", 0.7)])
def test_trivial_changes_weights_when_the_period_ends_and_not_before(stat: str, expected: float) -> None:
    made = table(Periodic(10.0, stat))
    for at, seconds in ((5.0, 0.2), (6.0, 0.3), (14.9, 0.7)):
        made.sample(F1, seconds, at)
    assert weight(made, F1, 14.99) == 1.0
    assert weight(made, F1, 15.0) == pytest.approx(expected)
    assert weight(made, F2, 15.0) == 1.0, "destinations that were not used keep their weight"
    made.sample(F1, 9.0, 40.0)
    assert weight(made, F1, 44.9) == pytest.approx(expected), "a new period knows nothing of the last one"
    assert weight(made, F1, 45.0) == 9.0


def test_async_pf_takes_the_last_sample_and_none_takes_nothing() -> None:
    latest, fixed = table(Latest()), table(Fixed())
    for made in (latest, fixed):
        made.sample(F1, 0.3, 1.0)
        made.sample(F1, 0.2, 2.0)
    assert (weight(latest, F1, 2.0), weight(fixed, F1, 2.0)) == (0.2, 1.0)


def test_a_sample_of_an_entry_that_has_gone_is_ignored() -> None:
    made = table(Periodic(1.0, "mean"))
    made.sample(F1, 0.3, 1.0)
    assert made.remove(F1, 1.5) and not made.remove(F1, 1.5)
    made.sample(F1, 0.3, 1.6)
    assert [entry.destination for entry in made.entries(5.0)] == ["two"]


@pytest.mark.parametrize("optimizer", [Smoothed(0.95), Latest()])
def test_a_destination_that_comes_back_begins_anew(optimizer: Optimizer) -> None:
    made = table(optimizer)
    made.sample(F1, 9.0, 1.0)
    made.remove(F1, 2.0)
    made.change(F1, 1.0, True, 3.0)
    made.sample(F1, 0.1, 3.5)
    assert weight(made, F1, 3.5) == 0.1, "not smoothed with what it was before"


def test_what_was_learned_is_told_once() -> None:
    made = table(Latest())
    made.sample(F1, 0.3, 1.0)
    assert made.take_learned(1.0) == (Entry("f", "one", 0.3, True),)
    assert made.take_learned(1.0) == ()


@pytest.mark.parametrize(("key", "weighs"), [(F1, 0.0), (F1, -1.0), (Key("f", ""), 1.0), (Key("", "d"), 1.0),
                                             (F1, float("nan"))])  # fmt: skip
def test_an_entry_without_a_name_or_with_a_weight_that_is_not_positive_is_refused(key: Key, weighs: float) -> None:
    with pytest.raises(ValueError, match="must"):
        table(Fixed()).change(key, weighs, True, 0.0)


def test_a_table_without_the_function_has_no_destination() -> None:
    made = table(Fixed())
    assert made.pick("g", 0.0) is None
    made.flush()
    assert made.pick("f", 0.0) is None and made.entries(0.0) == ()


def test_final_destinations_can_be_asked_for() -> None:
    made = table(Fixed())
    assert made.destinations("f") == ["one", "two"] and made.destinations("f", final_only=True) == ["one"]
    assert made.functions_of("two") == ["f"] and made.functions_of("three") == []


def test_the_dump_shows_a_function_once_and_aligns_weights() -> None:
    entries = [Entry("another_lambda", "dst:10", 42.0), Entry("lambda1", "dst:1", 1.0, True),
               Entry("lambda1", "dst:2", 0.5, True), Entry("lambda1", "dst:3", 99.0, True)]  # fmt: skip
    assert dump([entries, entries[1:]]) == (
        "Table#0\n"
        "another_lambda [ 42] dst:10\n"
        "lambda1        [  1] dst:1 (F)\n"
        "               [0.5] dst:2 (F)\n"
        "               [ 99] dst:3 (F)\n"
        "Table#1\n"
        "lambda1 [  1] dst:1 (F)\n"
        "        [0.5] dst:2 (F)\n"
        "        [ 99] dst:3 (F)\n"
    )
