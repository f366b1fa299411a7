"""Recorded links become steps of a shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import InputError
from testbed.timeline.traces import PACKET_BITS, Recording, Step, of_csv, of_deliveries


def written(folder: Path, text: str) -> Path:
    path = folder / "link"
    path.write_text(text)
    return path


def test_units_stand_in_the_head_or_in_the_cells(tmp_path: Path) -> None:
    text = "time (s),rate (Mbit),delay,loss\n3,12,20ms,0%\n4.5,500kbit,,1%\n"
    recording = of_csv(written(tmp_path, text))
    assert recording.steps == (
        Step(0.0, {"rate": "12Mbit", "delay": "20ms", "loss": "0%"}), Step(1.5, {"rate": "500kbit", "loss": "1%"}),
    )  # fmt: skip
    assert recording.lasts == 3.0  # the last step lasts as long as the one before it


@pytest.mark.parametrize(("text", "line", "word"), [
    ("rate (Mbit)\n1\n", 1, "time"),
    ("time (s),speed\n1,1\n", 1, "speed"),
    ("time (s),rate\n0,12\n", 2, "unit"),
    ("time,rate\n0,1Mbit\n1,1Mbit\n", 3, "time (s)"),
    ("time (s),rate\n1,1Mbit\n0,1Mbit\n", 3, "order"),
    ("time (s),rate\n1,1Mbit,3\n", 2, "cells"),
    ("time (s),loss\n1,120%\n", 2, "100%"),
])  # fmt: skip
def test_a_faulty_line_is_named(tmp_path: Path, text: str, line: int, word: str) -> None:
    with pytest.raises(InputError) as caught:
        of_csv(written(tmp_path, text))
    problem = caught.value.problems[0]
    assert problem.line == line and word in str(problem)


def test_deliveries_become_a_rate_for_each_window(tmp_path: Path) -> None:
    times = [*range(0, 100, 10), *range(100, 200, 50), 400]  # 10 in the first 100 ms, 2 in the second, then a gap
    recording = of_deliveries(written(tmp_path, "".join(f"{t}\n" for t in times)), 0.1)
    rates = [float(step.change["rate"].removesuffix("bit")) for step in recording.steps]
    assert [step.at for step in recording.steps] == [0.0, 0.1, 0.2]
    assert rates == pytest.approx([10 * PACKET_BITS / 0.1, 2 * PACKET_BITS / 0.1, PACKET_BITS / 0.2])
    assert recording.lasts == 0.4


def test_a_rate_carries_as_many_packets_as_the_trace_delivers(tmp_path: Path) -> None:
    times = [*sorted(7 * n * n % 5000 for n in range(300)), 5000]
    recording = of_deliveries(written(tmp_path, "".join(f"{t}\n" for t in times)), 0.25)
    ends = [*(step.at for step in recording.steps[1:]), recording.lasts]
    bits = sum(float(step.change["rate"].removesuffix("bit")) * (end - step.at)
               for step, end in zip(recording.steps, ends, strict=True))  # fmt: skip
    assert bits == pytest.approx(len(times) * PACKET_BITS, rel=1e-6)


@pytest.mark.parametrize("text", ["", "0\n", "12\nx\n", "5\n4\n", "-1\n"])
def test_what_is_no_delivery_trace_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        of_deliveries(written(tmp_path, text), 0.1)


def test_a_loop_begins_again_and_a_replay_ends_in_time() -> None:
    recording = Recording((Step(0.0, {"loss": "1%"}), Step(1.0, {"loss": "0%"})), 2.0)
    assert [step.at for step in recording.replayed(5.0, loop=True)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [step.at for step in recording.replayed(5.0, loop=False)] == [0.0, 1.0]
