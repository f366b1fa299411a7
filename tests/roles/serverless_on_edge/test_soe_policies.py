"""The policies as tables; expectations are the original's."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from roles.serverless_on_edge.policies import (
    LeastImpedance,
    Policy,
    ProportionalFairness,
    RandomProportional,
    RoundRobin,
)


def filled(policy: Policy, weights: dict[str, float], now: float = 0.0) -> Policy:
    for destination, weight in weights.items():
        policy.change(destination, weight, now)
    return policy


def test_random_proportional_picks_in_inverse_proportion_to_the_weights() -> None:
    policy = filled(RandomProportional(random.Random(1)), {"a": 1, "b": 1 / 3, "c": 1 / 6})
    counts = Counter(policy.pick(0) for _ in range(10_000))
    assert [round(counts[name] / counts["a"]) for name in "abc"] == [1, 3, 6]


def test_least_impedance_picks_the_smallest_weight_and_the_next_one_when_it_is_gone() -> None:
    policy = filled(LeastImpedance(), {"first": 6, "second": 3, "third": 1})
    order = []
    for _ in range(3):
        order.append(policy.pick(0))
        policy.remove(order[-1], 0)
    assert order == ["third", "second", "first"]


def test_least_impedance_picks_the_first_one_on_ties() -> None:
    assert filled(LeastImpedance(), {"z": 1, "a": 1}).pick(0) == "z"


class Users:
    """Uses a policy as a router with the optimizer asyncPF does: a pick, then the latency as the new weight."""

    def __init__(self, policy: Policy, latencies: dict[str, float]) -> None:
        self.policy, self.latencies, self.now = policy, latencies, 0.0

    def use(self, times: int, each: float = 0.001) -> str:
        used = ""
        for _ in range(times):
            self.now += each
            name = self.policy.pick(self.now)
            self.policy.change(name, self.latencies[name], self.now)
            used += name
        return used


def test_round_robin_follows_the_original_step_by_step() -> None:
    users = Users(filled(RoundRobin(), {"1": 1, "2": 1, "3": 1}), {"1": 100, "2": 110, "3": 1000})
    assert users.use(10) == "1231212121"
    users.latencies["1"] = 400
    assert users.use(8) == "21222222"
    users.policy.remove("2", users.now)
    assert users.use(4) == "1111"
    users.policy.remove("1", users.now)
    assert users.use(4) == "3333"


def test_round_robin_tries_a_bad_destination_after_one_second_then_two_and_four_up_to_thirty() -> None:
    users = Users(filled(RoundRobin(), {"good": 1, "bad!": 1}), {"good": 0.1, "bad!": 5})
    trials = [users.now for _ in range(14_000) if users.use(1, each=0.01) == "bad!"]
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(trials)]
    assert gaps == [1, 2, 4, 8, 16, 30, 30, 30]


def test_round_robin_takes_a_recovered_destination_back_with_a_fresh_patience() -> None:
    users = Users(filled(RoundRobin(), {"a": 1, "b": 1}), {"a": 0.1, "b": 5})
    users.use(800, each=0.01)  # tried at about 1, 3 and 7 s; the next trial is at 15 s
    users.latencies["b"] = 0.1
    users.use(800, each=0.01)
    assert users.use(4) in ("abab", "baba")
    users.latencies["b"] = 5
    users.use(10, each=0.01)
    trials = [users.now for _ in range(350) if users.use(1, each=0.01) == "b"]
    assert round(trials[1] - trials[0]) == 2 and len(trials) == 2


def test_round_robin_gives_turns_in_inverse_proportion_to_the_weights() -> None:
    users = Users(filled(RoundRobin(), {"a": 1, "b": 1}), {"a": 0.2, "b": 0.3})
    counts = Counter(users.use(1000))
    assert counts["a"] / counts["b"] == pytest.approx(1.5, rel=0.02)


def test_round_robin_lets_a_newcomer_start_level() -> None:
    users = Users(filled(RoundRobin(), {"a": 1, "b": 1}), {"a": 1, "b": 1, "c": 1})
    users.use(100)
    users.policy.change("c", 1, users.now)
    counts = Counter(users.use(30))
    assert counts == {"a": 10, "b": 10, "c": 10}


def test_proportional_fairness_prefers_who_has_waited_and_is_quick() -> None:
    policy = filled(ProportionalFairness(2, 1), {"1": 1, "2": 1, "3": 1})
    assert policy.pick(1) == "1"
    policy.succeeded("1", 1)
    policy.change("1", 2, 1)
    assert policy.pick(2) == "2"
    policy.remove("2", 2)
    assert policy.pick(2) == "3"


def test_proportional_fairness_without_alpha_takes_turns() -> None:
    policy = filled(ProportionalFairness(0, 1), {"a": 1, "b": 50, "c": 3})
    picked = ""
    for now in range(1, 31):
        picked += policy.pick(now)
        policy.succeeded(picked[-1], now)
    assert Counter(picked) == {"a": 10, "b": 10, "c": 10}


def test_proportional_fairness_without_beta_is_greedy() -> None:
    policy = filled(ProportionalFairness(1, 0), {"a": 2, "b": 1, "c": 3})
    assert {policy.pick(now) for now in range(1, 20)} == {"b"}


@pytest.mark.parametrize("policy", [LeastImpedance(), RoundRobin(), ProportionalFairness(1, 1),
                                    RandomProportional(random.Random(1))])  # fmt: skip
def test_a_weight_of_zero_seconds_and_a_removal_of_the_unknown_do_no_harm(policy: Policy) -> None:
    filled(policy, {"a": 0.0, "b": 1.0})
    policy.remove("unknown", 0)
    assert policy.pick(0) in ("a", "b")
    policy.remove("a", 1)
    assert policy.pick(1) == "b"
