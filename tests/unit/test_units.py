"""Quantities: what is read, what is refused with which hint, and that writing and reading agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from testbed import units
from testbed.units import Queue


@pytest.mark.parametrize(
    ("read", "text", "amount"),
    [
        (units.delay, "10ms", 0.01),
        (units.delay, "1.5 s", 1.5),
        (units.delay, "100us", 1e-4),
        (units.delay, "100µs", 1e-4),
        (units.delay, "2min", 120.0),
        (units.delay, "1e3 ns", 1e-6),
        (units.delay, 0, 0.0),
        (units.delay, "0", 0.0),
        (units.delay, ".5s", 0.5),
        (units.rate, "10Mbit", 1e7),
        (units.rate, "1Gbit", 1e9),
        (units.rate, "512kbit", 512e3),
        (units.share, "0.1%", 0.001),
        (units.share, "100%", 1.0),
        (units.size, "64KiB", 65536),
        (units.size, "1MB", 10**6),
        (units.size, "10B", 10),
        (units.frequency, "20/s", 20.0),
        (units.frequency, "60/min", 1.0),
        (units.offset, "300ms", 0.3),
        (units.offset, "-1.5h", -5400.0),
        (units.offset, 0, 0.0),
        (units.drift, "200ppm", 2e-4),
        (units.drift, "-50 ppm", -5e-5),
        (units.queue, "100p", Queue(packets=100)),
        (units.queue, "64KiB", Queue(size_bytes=65536)),
    ],
)
def test_reads_quantities_as_people_write_them(read: Callable[[object], object], text: object, amount: object) -> None:
    assert read(text) == pytest.approx(amount) if isinstance(amount, float) else read(text) == amount


@pytest.mark.parametrize(
    ("read", "value", "hint"),
    [
        (units.delay, 10, "Add the unit: 10ms."),
        (units.delay, "10", "Add the unit: 10ms."),
        (units.delay, "10sec", "Try 10s."),
        (units.delay, "10 MS", "Try 10ms."),
        (units.rate, "10Mbps", "Try 10Mbit."),
        (units.rate, "10mbit", "Try 10Mbit."),
        (units.size, "10kb", "Try 10kB."),
        (units.share, 3, "Add the unit: 3%."),
        (units.frequency, "5Hz", "Try 5/s."),
        (units.share, 0.01, "Write 0.01%, or 1% if a part of 1 was meant."),
        (units.offset, -3, "Add the unit: -3ms."),
        (units.offset, "-3 sec", "Try -3s."),
        (units.drift, 200, "Add the unit: 200ppm."),
        (units.queue, 50, "Add the unit: 50p."),
        (units.delay, "fast", ""),
        (units.delay, "10 apples", ""),
        (units.delay, True, ""),
        (units.delay, None, ""),
        (units.delay, math.nan, ""),
        (units.delay, math.inf, ""),
        (units.delay, "", ""),
        (units.delay, ["1ms"], ""),
        (units.delay, "1e400s", "Give an amount that is not negative and can exist."),
        (units.delay, "-1ms", "Give an amount that is not negative and can exist."),
        (units.offset, "-1e400s", "Give an amount that can exist."),
    ],
)
def test_refuses_what_has_no_unit_or_a_wrong_one(read: Callable[[object], object], value: object, hint: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        read(value)
    assert caught.value.context is not None and caught.value.context["hint"] == hint


@pytest.mark.parametrize(("read", "value"), [
    (units.rate, "0Mbit"), (units.share, "101%"), (units.queue, "0p"), (units.offset, "-2e9s"),
    (units.drift, "1000000ppm"),
])  # fmt: skip
def test_refuses_amounts_out_of_range(read: Callable[[object], object], value: str) -> None:
    with pytest.raises(PydanticCustomError):
        read(value)


TABLES = [units.DELAYS, units.RATES, units.SHARES, units.SIZES, units.FREQUENCIES, units.DRIFTS]


@given(st.sampled_from(TABLES), st.floats(1e-9, 1e12))
def test_what_is_written_is_read_back(table: Mapping[str, float], amount: float) -> None:
    text = units.write(amount, table)
    assert units.parse(text, table, "an amount", "x") == pytest.approx(amount, rel=1e-11)


@given(st.floats(-9e8, 9e8), st.floats(-0.999999, 0.999999))
def test_what_is_written_is_read_back_with_its_sign(ahead: float, gain: float) -> None:
    assert units.offset(units.write(ahead, units.DELAYS)) == pytest.approx(ahead, rel=1e-11)
    assert units.drift(units.write(gain, units.DRIFTS)) == pytest.approx(gain, rel=1e-11)


@given(st.sampled_from(TABLES), st.floats(1e-9, 1e12))
def test_what_is_written_uses_the_largest_unit_that_leaves_one(table: Mapping[str, float], amount: float) -> None:
    text = units.write(amount, table)
    number = float(text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ%/µ"))
    assert number >= 0.999999 or amount < min(table.values())


@given(st.text(max_size=12) | st.integers() | st.floats() | st.booleans() | st.none())
def test_reading_anything_gives_an_amount_or_a_refusal(value: object) -> None:
    for read in (units.delay, units.rate, units.share, units.size, units.frequency):
        try:
            amount = read(value)
        except PydanticCustomError:
            continue
        assert math.isfinite(amount) and amount >= 0
