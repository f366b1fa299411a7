"""Streams of random numbers: the same everywhere, and independent of each other."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from testbed.seeds import stream

NAMES = st.lists(st.text(max_size=8), min_size=1, max_size=3)


def test_draws_are_the_same_on_every_machine() -> None:
    drawn = [round(stream(7, "arrivals", name).random(), 12) for name in ("c1", "c2")]
    assert drawn == [0.232435176917, 0.35105246593]


def test_draws_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    code = "from testbed.seeds import stream; print(stream(3, 'x').random())"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {f"{stream(3, 'x').random()}\n"}


@given(st.integers(), NAMES, NAMES)
def test_streams_of_different_names_differ(seed: int, one: list[str], other: list[str]) -> None:
    same = "\x00".join(one) == "\x00".join(other)
    assert (stream(seed, *one).random() == stream(seed, *other).random()) is same


@given(st.integers(), st.integers(), NAMES)
def test_streams_of_different_seeds_differ(one: int, other: int, name: list[str]) -> None:
    assert (stream(one, *name).random() == stream(other, *name).random()) is (one == other)
