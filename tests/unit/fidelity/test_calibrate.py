"""Rates from trains of packets."""

from __future__ import annotations

import random

import pytest

from testbed.fidelity.calibrate import Found, _train, _waves, slope
from testbed.fidelity.paths import paths
from testbed.fidelity.probing import Arrival
from testbed.topology.load import parse

RATE, BYTES = 10e6, 1400
GAP_NS = round(BYTES * 8 / RATE * 1e9)


def train(count: int = 200, gap_ns: int = GAP_NS, offered: float = 1.3) -> list[Arrival]:
    """Packets sent faster than the rate, which arrive at its pace."""
    return [(n, round(n * GAP_NS / offered), 5_000_000 + n * gap_ns) for n in range(count)]


def test_the_pace_of_arrivals_is_the_rate() -> None:
    rate, note = slope(train(), BYTES, RATE)
    assert (rate, note) == (pytest.approx(RATE, rel=1e-6), "")


def test_a_burst_that_passes_at_first_does_not_count() -> None:
    burst = [(n, sent, max(5_000_000, arrived - 40 * GAP_NS)) for n, sent, arrived in train()]
    assert slope(burst, BYTES, RATE)[0] == pytest.approx(RATE, rel=0.01)


def test_lost_packets_and_jitter_do_not_bend_the_rate() -> None:
    rng = random.Random(3)
    kept = [(n, sent, arrived + round(rng.gauss(0, 1e6))) for n, sent, arrived in train(400) if rng.random() > 0.02]
    paced = [(n, sent, arrived - (n - at) * GAP_NS) for at, (n, sent, arrived) in enumerate(kept)]  # no gaps remain
    assert slope(paced, BYTES, RATE)[0] == pytest.approx(RATE, rel=0.02)


def test_a_pause_of_the_sender_does_not_count_against_the_link() -> None:
    pause = 60 * GAP_NS
    paused = [(n, sent + pause * (n >= 100), arrived + (pause - 23 * GAP_NS) * (n >= 100))
              for n, sent, arrived in train(300)]
    assert slope(paused, BYTES, RATE)[0] == pytest.approx(RATE, rel=1e-6)


def test_a_link_at_half_its_rate_is_seen() -> None:
    assert slope(train(gap_ns=2 * GAP_NS), BYTES, RATE)[0] == pytest.approx(RATE / 2, rel=1e-6)


@pytest.mark.parametrize(("arrivals", "why"), [
    (train(8), "only 8 packets"),
    (train(offered=0.9), "did not fill the link"),
    ([(n, n, 7) for n in range(50)], "arrived at once"),
])
def test_says_why_a_train_does_not_tell_the_rate(arrivals: list[Arrival], why: str) -> None:
    rate, note = slope(arrivals, BYTES, RATE)
    assert rate is None
    assert why in note


@pytest.mark.parametrize("rate", ["10kbit", "100kbit", "1Mbit", "10Mbit", "200Mbit"])
def test_a_train_fills_its_link_for_a_bounded_time_with_enough_packets(rate: str) -> None:
    text = f"name: t\nnodes: {{a: {{}}, b: {{}}}}\nlinks: [{{ends: [a, b], rate: {rate}}}]\n"
    path = paths(parse(text, "t.yaml"))[0]
    sent = _train(0, path)
    assert path.rate is not None
    lasts = sent.count * path.wire_bytes(sent.size) * 8 / path.rate
    assert 16 <= sent.count <= 400
    assert lasts <= (1.0 if path.rate < 5e4 else 0.4)
    assert sent.size <= 1500 - 28
    assert path.wire_bytes(sent.size) * 8 / sent.interval_s > 1.2 * path.rate


def test_a_wave_loads_no_direction_twice_and_the_machine_within_its_means() -> None:
    text = "name: t\nnodes: {a: {}, s: {kind: switch}, b: {}, c: {}}\ndefaults: {link: {rate: 90Mbit}}\n" \
           "links: [[a, s], [b, s], [c, s]]\n"
    waves = list(_waves([Found(path) for path in paths(parse(text, "t.yaml"))]))
    assert [len(wave) for wave in waves] == [2, 1]
