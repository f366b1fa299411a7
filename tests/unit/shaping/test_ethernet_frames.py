"""Frames with their offload notes; scapy is the second opinion on checksums and headers."""

from __future__ import annotations

import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from testbed.shaping import frames

TCP4, TCP6, UDP4 = 1, 4, 5  # kinds of segmentation in the virtio header


def packet(family: int, transport: type[Packet], payload: bytes) -> Packet:
    network = IP(src="10.0.0.1", dst="10.0.0.2") if family == 4 else IPv6(src="fd00::1", dst="fd00::2")
    ethernet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    return ethernet / network / transport(sport=1, dport=2) / Raw(payload)


def offloaded(whole: Packet, kind: int = 0, segment: int = 0) -> bytes:
    """The frame as a sender with checksum offload leaves it: the pseudo header's sum stands where the checksum goes."""
    data = bytearray(bytes(whole))
    start = 34 if IP in whole else 54
    offset = 16 if TCP in whole else 6
    network = bytes(whole[IP] if IP in whole else whole[IPv6])
    addresses = network[12:20] if IP in whole else network[8:40]
    pseudo = addresses + struct.pack("!II", len(data) - start, 6 if TCP in whole else 17)
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    data[start + offset : start + offset + 2] = total.to_bytes(2, "big")
    return frames.HEADER.pack(1, kind, start, segment, start, offset) + bytes(data)


def test_an_ordinary_frame_is_one_packet_of_its_own_size() -> None:
    assert frames.on_the_wire(bytes(10) + bytes(100)) == (100, 1)


@pytest.mark.parametrize(
    ("family", "transport", "kind", "headers"), [(4, TCP, TCP4, 54), (6, TCP, TCP6, 74), (4, UDP, UDP4, 42)]
)
@pytest.mark.parametrize(("payload", "segments"), [(1448, 1), (1449, 2), (10 * 1448, 10), (60_000, 42)])
def test_a_buffer_of_segments_weighs_what_its_packets_weigh(
    family: int, transport: type[Packet], kind: int, headers: int, payload: int, segments: int
) -> None:
    frame = offloaded(packet(family, transport, bytes(payload)), kind, 1448)
    assert frames.on_the_wire(frame) == (payload + segments * headers, segments)


@given(st.binary(max_size=200), st.sampled_from([4, 6]), st.sampled_from([TCP, UDP]))
def test_the_checksum_left_to_the_device_is_written_as_scapy_writes_it(
    payload: bytes, family: int, transport: type[Packet]
) -> None:
    whole = packet(family, transport, payload)
    done = frames.checksummed(offloaded(whole))
    assert bytes(done[frames.HEADER_BYTES :]) == bytes(whole)
    assert done[0] & 1 == 0


def test_a_frame_whose_checksum_is_complete_stays_as_it_is() -> None:
    frame = bytes(10) + bytes(packet(4, TCP, b"hello"))
    assert bytes(frames.checksummed(frame)) == frame


@given(st.integers(), st.binary(min_size=1, max_size=100))
def test_corruption_flips_one_bit_of_the_finished_frame(seed: int, payload: bytes) -> None:
    whole = packet(4, UDP, payload)
    damaged = frames.corrupted(offloaded(whole), Random(seed))
    assert damaged is not None
    difference = int.from_bytes(damaged[frames.HEADER_BYTES :], "big") ^ int.from_bytes(bytes(whole), "big")
    assert difference.bit_count() == 1


def test_a_damaged_buffer_of_segments_is_lost_as_a_whole() -> None:
    assert frames.corrupted(offloaded(packet(4, TCP, bytes(5000)), TCP4, 1448), Random(1)) is None
