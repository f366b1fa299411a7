"""The shape of a whole path, and what ``tc`` is told to put it in force."""

from __future__ import annotations

import math

import pytest

from testbed.substrate.deputy_path import disciplines
from testbed.substrate.remote_shaped import combined
from testbed.topology.shape import Shape


def shape(**values: object) -> Shape:
    return Shape.model_validate(values)


def test_a_path_has_the_sum_of_delays_the_smallest_rate_and_the_losses_one_after_the_other() -> None:
    found = combined([
        shape(delay="10ms", jitter="3ms", loss="10%", rate="8Mbit", queue="20p"),
        shape(delay="5ms", jitter="4ms", loss="20%", distribution="uniform"),
        shape(rate="2Mbit", queue="9p", burst="3kB"),
    ])  # fmt: skip
    assert math.isclose(found.delay, 0.015)
    assert math.isclose(found.jitter, 0.005)
    assert found.distribution == "uniform"
    assert math.isclose(found.loss, 0.28)
    assert (found.rate, found.burst, found.queue.packets) == (2e6, 3000, 9)


def test_a_path_of_plain_links_is_plain() -> None:
    assert combined([shape(), shape()]).is_plain


@pytest.mark.parametrize(("asked", "told"), [
    ({}, []),
    ({"rate": "8Mbit", "queue": "50p"}, [
        "parent 7e57:2 handle 1009: tbf rate 8000000bit burst 2014b limit 75700b",
        "parent 1009:1 handle 100a: pfifo limit 50",
    ]),
    ({"delay": "10ms", "jitter": "1ms", "loss": "0.5%"}, [
        "parent 7e57:2 handle 1008: netem limit 1000000 delay 10000.000us 1000.000us distribution normal "
        "loss 0.500000%",
    ]),
    ({"delay": "1ms", "jitter": "1ms", "distribution": "uniform", "duplicate": "1%", "corrupt": "2%", "reorder": "3%",
      "rate": "1Gbit", "queue": "64KiB"}, [
        "parent 7e57:2 handle 1008: netem limit 1000000 delay 1000.000us 1000.000us duplicate 1.000000% "
        "corrupt 2.000000% reorder 3.000000%",
        "parent 1008:1 handle 1009: tbf rate 1000000000bit burst 64014b limit 65536b",
        "parent 1009:1 handle 100a: bfifo limit 65536b",
    ]),
])  # fmt: skip
def test_tc_is_told(asked: dict[str, object], told: list[str]) -> None:
    found = disciplines("eth0", 2, shape(**asked))
    assert [" ".join(words) for words in found] == [f"dev eth0 {each}" for each in told]
