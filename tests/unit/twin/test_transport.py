"""The twin's TCP: when a message is there, what it costs on the wire, and how it gets over losses and cuts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import BACK, FREE, IDEAL, THERE, Talk, alive, chain, shape

from testbed.topology.model import End
from testbed.twin.options import TwinOptions

HEADER = 1448 * (1 / 0.956 - 1)


def ends(*shapes: str, size: int, options: TwinOptions | None = None) -> float:
    """When a message of this size, sent at 0 over a chain of such links, is there."""
    loop, network = alive(chain(*shapes), options)
    talk = Talk(loop, network)
    talk.send(size)
    loop.run_until(1000.0)
    return talk.seen[0][0]


def test_a_short_message_is_stored_and_forwarded_over_each_link() -> None:
    wire = 8 * (1000 + HEADER)
    expected = wire / 1e6 + 0.010 + wire / 1e5 + 0.020 + 0.005
    links = ("rate: 1Mbit, delay: 10ms", "rate: 100kbit, delay: 20ms", "delay: 5ms")
    assert ends(*links, size=1000) == pytest.approx(expected)


def test_on_an_ideal_network_a_message_has_no_headers_and_on_a_free_one_only_a_delay() -> None:
    assert ends("rate: 1Mbit, delay: 10ms", size=1000, options=IDEAL) == pytest.approx(0.018)
    assert ends("rate: 1Mbit, delay: 10ms", size=10**9, options=FREE) == pytest.approx(0.010)


def test_a_message_between_two_agents_of_one_node_takes_no_time() -> None:
    loop, network = alive(chain("delay: 1s"))
    seen: list[float] = []
    network.connection("a", "a", lambda: True).send("a", 100, lambda: seen.append(loop.now))
    assert seen == []  # it arrives at this instant, but not before the caller goes on
    loop.run_until(1.0)
    assert seen == [0.0]


def test_the_packets_of_a_message_follow_each_other_without_a_pause_within_the_window() -> None:
    size = 10 * 1448
    wire = 8 * (size + 10 * HEADER)
    assert ends("rate: 1Mbit, delay: 10ms", size=size) == pytest.approx(wire / 1e6 + 0.010)
    packet = 8 * (1448 + HEADER)
    assert ends("rate: 1Mbit, delay: 10ms", "rate: 2Mbit", size=size) == pytest.approx(
        wire / 1e6 + 0.010 + packet / 2e6
    )


@pytest.mark.parametrize(("packets", "round_trips"), [(10, 0.5), (11, 1.5), (30, 1.5), (31, 2.5), (70, 2.5), (71, 3.5)])
def test_slow_start_doubles_the_window_in_each_round_trip(packets: int, round_trips: float) -> None:
    assert ends("delay: 50ms", size=packets * 1448) == pytest.approx(round_trips * 0.1)


def test_after_a_pause_the_window_has_shrunk_to_the_first_one() -> None:
    loop, network = alive(chain("delay: 50ms"))
    talk = Talk(loop, network)
    for when in (0.0, 1.0, 1.25, 10.0):
        talk.at(when, 30 * 1448)
    loop.run_until(20.0)
    took = [seen - sent for (seen, _), sent in zip(talk.seen, (0.0, 1.0, 1.25, 10.0), strict=True)]
    assert took == pytest.approx([0.15, 0.15, 0.05, 0.15])


def test_messages_of_one_direction_arrive_in_order_and_the_other_direction_does_not_wait() -> None:
    loop, network = alive(chain("rate: 1Mbit, delay: 10ms"))
    talk = Talk(loop, network)
    talk.send(50_000, "long")
    talk.send(10, "short")
    talk.send(10, "against", "b")
    loop.run_until(10.0)
    assert [name for _, name in talk.seen] == ["against", "long", "short"]


def test_connections_on_one_link_share_it_packet_train_by_packet_train() -> None:
    loop, network = alive(chain("rate: 10Mbit, delay: 1ms"))
    one, other = Talk(loop, network), Talk(loop, network)
    one.send(500_000)
    other.at(0.1, 1000)
    loop.run_until(10.0)
    assert other.seen[0][0] - 0.1 < 0.2 < one.seen[0][0]  # it did not wait for the whole of the other


def test_the_handshake_takes_a_round_trip_and_a_refusal_as_long() -> None:
    for listens in (True, False):
        loop, network = alive(chain("delay: 30ms"))
        talk = Talk(loop, network, lambda listens=listens: listens)  # type: ignore[misc]
        talk.open()
        loop.run_until(10.0)
        assert talk.opened == [(pytest.approx(0.06), listens)]


def test_the_server_is_asked_when_the_packet_is_there() -> None:
    loop, network = alive(chain("delay: 30ms"))
    talk = Talk(loop, network, lambda: loop.now > 0.02)
    talk.open()
    loop.run_until(1.0)
    assert talk.opened[0][1]


def test_a_connection_to_a_machine_that_is_down_is_tried_after_1_2_and_4_seconds_until_it_is_closed() -> None:
    loop, network = alive(chain("delay: 10ms"))
    network.down("b", True)
    talk, given_up = Talk(loop, network), Talk(loop, network)
    talk.open()
    given_up.open()
    loop.at(6.0, network.down, "b", False)
    loop.at(6.5, given_up.connection.close)
    loop.run_until(100.0)
    assert talk.opened == [(pytest.approx(7.02), True)]
    assert given_up.opened == []
    assert network.counters()[THERE].dropped_down == 6


def test_nothing_arrives_over_a_closed_connection() -> None:
    loop, network = alive(chain("rate: 1Mbit, delay: 10ms"))
    talk = Talk(loop, network)
    talk.send(100_000)
    talk.send(10, "back", "b")
    loop.at(0.005, talk.connection.close)
    loop.run_until(10.0)
    talk.send(10)
    talk.open()
    loop.run_until(20.0)
    assert talk.seen == talk.opened == []
    assert network.counters()[THERE].packets <= 10  # nothing is sent again


def exchange(pause: float, options: TwinOptions | None = None) -> tuple[int, int]:
    """Packets in both directions of twenty requests and answers of one packet each, with such pauses between."""
    loop, network = alive(chain("rate: 10Mbit, delay: 1ms"), options)
    connection = network.connection("a", "b", lambda: True)

    def ask(left: int) -> None:
        connection.send("a", 100, answer, left)

    def answer(left: int) -> None:
        connection.send("b", 100, loop.at, loop.now + pause, ask, left - 1) if left > 1 else None

    ask(20)
    loop.run_until(100.0)
    counters = network.counters()
    return counters[THERE].packets, counters[BACK].packets


def test_answers_carry_the_acknowledgement_if_they_leave_within_the_delay_of_a_lone_one() -> None:
    assert exchange(0.001) == (21, 21)  # the first of each side and the last request alone
    there, back = exchange(0.1)
    assert there == pytest.approx(39, abs=1)  # the answers are acknowledged before the next request
    assert back == 21
    assert exchange(0.1, IDEAL) == (20, 19)


def test_a_long_message_costs_its_headers_and_an_acknowledgement_for_two_packets() -> None:
    loop, network = alive(chain("rate: 10Mbit, delay: 1ms"))
    talk = Talk(loop, network)
    talk.send(1448 * 200)
    loop.run_until(10.0)
    counters = network.counters()
    assert counters[THERE].packets == 200
    assert counters[THERE].size_bytes == round(200 * (1448 + HEADER))
    assert counters[BACK].packets == pytest.approx(100 + 16 / 2, abs=3)  # the first 16 packets are acknowledged alone
    assert counters[BACK].size_bytes == pytest.approx(counters[BACK].packets * HEADER, abs=1)


def test_a_lost_message_of_one_packet_is_sent_again_after_the_time_out() -> None:
    loop, network = alive(chain("delay: 10ms"))
    talk = Talk(loop, network)
    talk.open()
    loop.at(1.0, network.shape, THERE, shape(delay="10ms", loss="100%"))
    talk.at(1.1, 100)
    loop.at(1.2, network.shape, THERE, shape(delay="10ms"))
    loop.run_until(10.0)
    assert talk.seen == [(pytest.approx(1.1 + 0.02 + 0.2 + 0.01), "message")]  # round trip, 200 ms, one way


def test_a_hole_is_filled_a_round_trip_after_three_later_packets_are_there() -> None:
    loop, network = alive(chain("delay: 50ms"))
    talk = Talk(loop, network)
    talk.open()
    loop.at(1.0, network.shape, THERE, shape(delay="50ms", loss="100%"))
    talk.at(1.0, 100, "lost")
    loop.at(1.0, network.shape, THERE, shape(delay="50ms"))
    talk.at(1.01, 1448 * 4, "later")
    loop.run_until(10.0)
    assert network.counters()[THERE].dropped_loss == 1
    assert talk.seen == [(pytest.approx(1.16), "lost"), (pytest.approx(1.16), "later")]  # there, back, and there again


def test_a_window_shrinks_after_a_loss_and_grows_slowly_from_then_on() -> None:
    def lasts(queue: int) -> float:
        return ends(f"rate: 50Mbit, delay: 20ms, queue: {queue}p", size=4_000_000)

    assert lasts(40) > 1.2 * lasts(10_000)


def test_a_mended_link_resumes_with_the_next_repetition() -> None:
    loop, network = alive(chain("delay: 10ms"))
    talk = Talk(loop, network)
    talk.open()
    loop.at(1.0, network.connect, "l1", False)
    talk.at(1.0, 100)
    loop.at(3.0, network.connect, "l1", True)
    loop.run_until(100.0)
    first = 0.02 + 0.2  # then 2, 4, 8 ... times as much
    assert talk.seen == [(pytest.approx(1.0 + first * (1 + 2 + 4 + 8) + 0.01), "message")]
    assert network.counters()[THERE].dropped_down == 4


@pytest.mark.ability("links", "TCP survives loss, corruption, duplication and reordering", on="twin")
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 60_000), st.sampled_from("ab")), min_size=1, max_size=12),
    st.sampled_from(["0%", "2%", "20%"]), st.sampled_from(["0%", "10%"]), st.sampled_from(["0%", "20%"]),
    st.sampled_from([4, 1000]), st.lists(st.tuples(st.floats(0, 4), st.booleans()), max_size=4),
    st.sampled_from(["encoded", "free"]), st.integers(0, 2),
)  # fmt: skip
def test_every_message_arrives_once_and_in_order_whatever_the_network_does(
    messages: list[tuple[float, int, str]], loss: str, duplicate: str, reorder: str, queue: int,
    cuts: list[tuple[float, bool]], costs: str, seed: int,
) -> None:  # fmt: skip
    loop, network = alive(chain("rate: 5Mbit", "delay: 3ms"), TwinOptions.model_validate({"messages": costs}), seed)
    bad = shape(delay="10ms", jitter="2ms", rate="4Mbit", queue=f"{queue}p", loss=loss, duplicate=duplicate,
                reorder=reorder)  # fmt: skip
    for end in (THERE, End("l1", "r1")):
        network.shape(end, bad)
    talk = Talk(loop, network)
    talk.open()
    for number, (when, size, sender) in enumerate(sorted(messages)):
        talk.at(1.0 + when, size, f"{sender}{number}", sender)
    for when, up in cuts:
        loop.at(1.0 + when, network.connect, "l1", up)
    loop.at(6.0, network.connect, "l1", True)
    loop.run_until(2000.0)
    for side in "ab":
        sent = [f"{side}{number}" for number, (_, _, sender) in enumerate(sorted(messages)) if sender == side]
        assert [name for _, name in talk.seen if name[0] == side] == sent
