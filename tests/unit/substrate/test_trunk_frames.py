"""Frames in a tunnel: bundles, their pieces, and what is told of those that were lost."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import MachineLacks, TestbedError
from testbed.substrate.parts import Cut
from testbed.substrate.remote_trunks import choose
from testbed.substrate.trunk import Trip
from testbed.substrate.trunk_frames import HEAD, Inbox, Outbox, Tally, records

SECRET = b"0123456789abcdef"
RECORDS = st.tuples(st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary(max_size=5000))
Records = list[tuple[int, int, bytes]]


def taken(inbox: Inbox, datagrams: list[bytes]) -> Records:
    found: Records = []
    for datagram in datagrams:
        secret, bundle, piece, pieces = HEAD.unpack_from(datagram)
        assert secret == SECRET
        whole = inbox.take(bundle, piece, pieces, datagram[HEAD.size :])
        found += records(whole) if whole is not None else []
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(RECORDS, min_size=1, max_size=8), st.integers(HEAD.size + 1, 3000), st.randoms(use_true_random=False),
)  # fmt: skip
def test_any_frames_come_out_as_they_went_in_however_small_the_pieces(frames: Records, piece: int, rng: Random) -> None:
    outbox, inbox = Outbox(SECRET, piece), Inbox()
    for frame in frames:
        outbox.add(*frame)
    datagrams = outbox.datagrams()
    assert {len(each) for each in datagrams[:-1]} <= {piece}
    assert 0 < len(datagrams[-1]) <= piece
    assert outbox.size == 0
    rng.shuffle(datagrams)
    assert taken(inbox, datagrams) == frames


def test_a_lost_piece_takes_its_bundle_with_it_and_nothing_else() -> None:
    outbox, inbox = Outbox(SECRET, 100), Inbox()
    found: Records = []
    for number in range(200):
        outbox.add(1, number, bytes(150))
        found += taken(inbox, outbox.datagrams()[number % 2 :])  # every second bundle lacks its first piece
    assert [number for _, number, _ in found] == list(range(0, 200, 2))


def test_what_is_no_record_is_dropped() -> None:
    outbox = Outbox(SECRET, 1000)
    outbox.add(1, 1, b"whole")
    outbox.add(1, 2, b"broken")
    (datagram,) = outbox.datagrams()
    assert list(records(datagram[HEAD.size : -1])) == [(1, 1, b"whole")]
    assert list(records(b"")) == []


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [([0, 1, 2], 0), ([7, 8, 9], 0), ([0, 2], 1), ([0, 2, 1], 0), ([0, 5, 3], 3), ([2**32 - 1, 0, 1], 0),
     ([2**32 - 2, 1], 2)],
)  # fmt: skip
def test_lost_frames_are_known_by_the_gaps_and_overtaken_ones_are_not_lost(numbers: list[int], missing: int) -> None:
    tally = Tally()
    for number in numbers:
        tally.note(number)
    assert tally.missing == missing


CUTS = [Cut("near", 1, ("a", "b"), ("one", "two"), 1500)]


def test_trunks_are_vxlan_where_all_machines_can_and_frames_fit() -> None:
    wide, narrow = (dict.fromkeys([("one", "two"), ("two", "one")], mtu) for mtu in (1550, 1549))
    assert choose("auto", CUTS, {}, wide) == ("vxlan", "")
    assert choose("udp", CUTS, {}, wide) == ("udp", "")
    assert choose("vxlan", CUTS, {}, wide) == ("vxlan", "")
    kind, why = choose("auto", CUTS, {}, narrow)
    assert kind == "udp"
    assert "near only 1499 bytes of its 1500" in why
    kind, why = choose("auto", CUTS, {"two": "not permitted"}, wide)
    assert kind == "udp"
    assert "two has no right" in why


def test_vxlan_that_cannot_be_is_refused_with_what_helps() -> None:
    ways = dict.fromkeys([("one", "two"), ("two", "one")], 1500)
    with pytest.raises(TestbedError, match=r"near carries packets of 1500 bytes; VXLAN between one and two leaves only "
                                           r"1450\. Raise the MTU between the machines to 1550, give .* `mtu: 1450`"):
        choose("vxlan", CUTS, {}, ways)
    with pytest.raises(MachineLacks, match=r"Machine 'two' lacks the right .*VXLAN \(not permitted\)"):
        choose("vxlan", CUTS, {"two": "not permitted."}, ways)


def test_a_tunnel_adds_two_wakings_to_a_way() -> None:
    trip = Trip(way_s=0.010, turn_s=0.0001)
    assert trip.one_way_s("vxlan") == pytest.approx(0.005)
    assert trip.one_way_s("udp") == pytest.approx(0.0052)
