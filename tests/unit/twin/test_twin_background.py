"""Background traffic in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from models import THERE, alive, chain
from pydantic import TypeAdapter

from testbed.background import schedule
from testbed.background.flows import Flow, Outcome
from testbed.background.spec import Entry
from testbed.twin.background import MOST_RATE, TwinBackground
from testbed.twin.network import TwinNetwork

ENTRY: TypeAdapter[Any] = TypeAdapter(Entry)
Event = tuple[str, str, float]


def flow(number: int = 0, begin: float = 0.0, end: float = 2.0, **keys: Any) -> Flow:
    what = ENTRY.validate_python({"kind": "packets", "from": "a", "to": "b", **keys})
    return Flow(number, f"f{number}", f"f{number}", what, "a", "b", "10.0.0.1", "10.0.1.2", begin, end)


def told(shape: str, *flows: Flow, until: float = 3.0) -> tuple[list[Outcome], list[Event], TwinNetwork]:
    """What becomes of flows between a and b over one link."""
    loop, network = alive(chain(shape))
    events: list[Event] = []
    background = TwinBackground(network, loop, flows, 1, lambda kind, subject, detail, at: events.append(
        (kind, subject, loop.now)))  # fmt: skip
    background.begin(0.0)
    loop.run_until(until)
    return background.end(), events, network


def test_packets_go_out_at_the_times_of_the_schedule_and_all_are_counted() -> None:
    this = flow(begin=0.5, frequency="100/s", arrivals="poisson", payload={"model": "uniform", "most": "1000B"})
    (outcome,), events, network = told("delay: 5ms, rate: 10Mbit", this)
    planned = list(schedule.packets(this, 1))
    assert outcome.sent_packets == outcome.received_packets == len(planned)
    assert outcome.received_bytes == sum(size + 42 for _, size in planned) == network.counters()[THERE].size_bytes
    assert (outcome.began, outcome.ended, outcome.loss) == (0.5, 2.0, 0.0)
    assert events == [("background", "f0", 0.5), ("background_end", "f0", 2.0)]


def test_more_than_the_link_allows_is_lost_at_its_queue() -> None:
    this = flow(rate="20Mbit", payload="1208B")
    (outcome,), _, network = told("rate: 10Mbit, queue: 50p", this)
    assert outcome.loss == pytest.approx(0.5, abs=0.02)
    assert network.counters()[THERE].dropped_queue == (outcome.sent_packets or 0) - (outcome.received_packets or 0)


def test_hosts_answer_echo_requests_and_segments_that_nobody_waits_for() -> None:
    _, _, network = told("delay: 1ms", flow(protocol="icmp", frequency="10/s", payload="56B"))
    back = [counted for end, counted in network.counters().items() if end != THERE]
    assert [(each.packets, each.size_bytes) for each in back] == [(20, 20 * 98)]
    _, _, network = told("delay: 1ms", flow(protocol="tcp", frequency="10/s"))
    assert [each.size_bytes for end, each in network.counters().items() if end != THERE] == [20 * 54]


def test_datagrams_of_iperf3_have_their_rate_in_payload() -> None:
    (outcome,), _, _ = told("delay: 1ms", flow(kind="iperf3", protocol="udp", rate="28Mbit", size="1400B"))
    assert outcome.received_bytes == pytest.approx(28e6 / 8 * 2, rel=0.01)
    assert outcome.loss == 0


def test_a_transfer_fills_its_link_and_no_more() -> None:
    (outcome,), _, _ = told("delay: 5ms, rate: 10Mbit, queue: 100p", flow(end=10.0, kind="iperf3"), until=11.0)
    assert outcome.row()["rate_bps"] == pytest.approx(10e6 * 0.956, rel=0.05)
    assert (outcome.sent_bytes or 0) >= (outcome.received_bytes or 0)


def test_a_transfer_with_a_rate_keeps_to_it() -> None:
    (outcome,), _, _ = told("delay: 5ms, rate: 10Mbit", flow(kind="iperf3", rate="4Mbit", connections=2))
    assert outcome.row()["rate_bps"] == pytest.approx(4e6, rel=0.06)
    assert outcome.retransmits == 0


def test_in_reverse_the_data_come_back() -> None:
    _, _, network = told("delay: 5ms, rate: 10Mbit", flow(kind="iperf3", rate="4Mbit", reverse=True))
    there, back = (network.counters()[end].size_bytes for end in network.counters())
    assert back > 20 * there


def test_lost_segments_are_counted_as_sent_again() -> None:
    (outcome,), _, _ = told("delay: 5ms, rate: 10Mbit, loss: 1%", flow(kind="iperf3"))
    assert (outcome.retransmits or 0) > 5


def test_nothing_is_sent_after_the_end_of_the_workload() -> None:
    outcomes, _, _ = told("delay: 1ms", flow(frequency="100/s"), flow(1, kind="iperf3", rate="1Mbit"), until=1.0)
    assert [each.ended for each in outcomes] == [1.0, 1.0]
    assert outcomes[0].sent_packets == 101


def test_equal_runs_are_equal_to_the_byte() -> None:
    flows = [flow(rate="6Mbit", arrivals="poisson"), flow(1, kind="iperf3", connections=3)]
    first, second = ([each.row() for each in told("delay: 5ms, rate: 10Mbit, loss: 1%", *flows)[0]] for _ in "ab")
    assert first == second


def test_a_transfer_without_any_limit_is_bounded_and_that_is_a_doubt() -> None:
    loop, network = alive(chain("delay: 1ms"))
    background = TwinBackground(network, loop, [flow(kind="iperf3", end=0.5)], 1, lambda *_: None)
    assert background.doubts() == ["more than 1 Gbit/s of the background f0"]
    background.begin(0.0)
    loop.run_until(0.5)
    (outcome,) = background.end()
    assert 0.5 * MOST_RATE < (outcome.row()["rate_bps"] or 0) <= MOST_RATE  # type: ignore[operator]
    loop, network = alive(chain("rate: 1Mbit"))
    assert TwinBackground(network, loop, [flow(kind="iperf3")], 1, lambda *_: None).doubts() == []
