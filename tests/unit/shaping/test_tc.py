"""What is sent to the kernel's traffic control, as pyroute2, the second opinion, reads it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from statistics import fmean, pstdev
from typing import Any

import pytest
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from testbed.netlink import Request
from testbed.shaping import tc
from testbed.topology.shape import Shape


def shape(**keys: object) -> Shape:
    return Shape.model_validate(keys)


def read(message: Request) -> Mapping[str, Any]:
    head = struct.pack("=IHHII", 16 + len(message.body), message.kind, message.flags, 1, 0)
    found = tcmsg(head + message.body)
    found.decode()
    return found  # type: ignore[no-any-return]


def options(message: Request) -> Any:
    return read(message).get_attr("TCA_OPTIONS")  # type: ignore[attr-defined]


def raw(message: Request) -> bytes:
    """The payload of TCA_OPTIONS."""
    at = 20
    while True:
        length, number = struct.unpack_from("=HH", message.body, at)
        if number == 2:
            return message.body[at + 4 : at + length]
        at += (length + 3) & ~3


def nested(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(data):
        length, number = struct.unpack_from("=HH", data, at)
        found[number] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def test_a_token_bucket_has_the_rate_in_bytes_and_its_queue_as_child() -> None:
    bucket, fifo = tc.token_bucket(7, shape(rate="10Mbit", queue="100p"), 1500)
    assert read(bucket)["index"] == 7
    assert read(bucket)["parent"] == tc.ROOT
    assert read(bucket).get_attr("TCA_KIND") == "tbf"  # type: ignore[attr-defined]
    assert options(bucket).get_attr("TCA_TBF_PARMS")["rate"] == 1_250_000
    assert read(fifo).get_attr("TCA_KIND") == "pfifo"  # type: ignore[attr-defined]
    assert read(fifo)["parent"] == read(bucket)["handle"] | 1
    assert options(fifo)["limit"] == 100


@pytest.mark.parametrize(
    ("rate", "mtu", "burst"), [("1Mbit", 1500, 1576), ("1Mbit", 9000, 9076), ("1Gbit", 1500, 64_014)]
)
def test_the_bucket_holds_one_frame_and_half_a_millisecond(rate: str, mtu: int, burst: int) -> None:
    bucket, _ = tc.token_bucket(7, shape(rate=rate), mtu)
    assert struct.unpack("=I", nested(raw(bucket))[6]) == (burst,)


def test_a_rate_beyond_32_bits_is_sent_in_64() -> None:
    bucket, _ = tc.token_bucket(7, shape(rate="100Gbit"), 1500)
    assert struct.unpack("=Q", nested(raw(bucket))[4]) == (12_500_000_000,)


def test_a_queue_in_bytes_becomes_a_queue_in_bytes() -> None:
    _, fifo = tc.token_bucket(7, shape(rate="10Mbit", queue="64KiB"), 1500)
    assert read(fifo).get_attr("TCA_KIND") == "bfifo"  # type: ignore[attr-defined]
    assert struct.unpack("=I", raw(fifo)) == (65_536,)


def test_netem_gets_every_part_of_a_shape() -> None:
    asked = shape(delay="10ms", jitter="1ms", loss="1%", duplicate="2%", reorder="3%", corrupt="4%")
    (message,) = tc.netem(7, asked, 1500, seed=5)
    found, more = options(message), nested(raw(message)[24:])
    assert read(message).get_attr("TCA_KIND") == "netem"  # type: ignore[attr-defined]
    assert found["loss"] / 2**32 == pytest.approx(0.01)
    assert found["duplicate"] / 2**32 == pytest.approx(0.02)
    assert found["gap"] == 1  # without it, netem reorders nothing
    assert found.get_attr("TCA_NETEM_REORDER")["prob_reorder"] / 2**32 == pytest.approx(0.03)
    assert found.get_attr("TCA_NETEM_CORRUPT")["prob_corrupt"] / 2**32 == pytest.approx(0.04)
    assert struct.unpack("=q", more[10]) == (10_000_000,)
    assert struct.unpack("=q", more[11]) == (1_000_000,)
    assert struct.unpack("=Q", more[14]) == (5,)


def test_netem_leaves_out_what_is_not_asked_for() -> None:
    (message,) = tc.netem(7, shape(delay="10ms"), 1500, seed=5)
    assert sorted(nested(raw(message)[24:])) == [10, 11, 14]
    assert options(message)["gap"] == 0


def test_a_rate_under_netem_is_a_token_bucket_behind_it() -> None:
    netem, bucket, fifo = tc.netem(7, shape(delay="10ms", rate="1Mbit", queue="20p"), 1500, seed=5)
    assert read(bucket)["parent"] == read(netem)["handle"] | 1
    assert options(fifo)["limit"] == 20
    taken_off = read(tc.remove_rate(7))
    assert (taken_off["parent"], taken_off["handle"]) == (read(bucket)["parent"], read(bucket)["handle"])


@pytest.mark.parametrize(("name", "tolerance"), [("normal", 0.002), ("pareto", 0.1)])
def test_a_table_of_jitter_has_mean_0_and_deviation_1(name: str, tolerance: float) -> None:
    data = tc.distribution(name)
    values = [number * tc.STRETCH[name] / 8192 for number in struct.unpack(f"={len(data) // 2}h", data)]
    assert fmean(values) == pytest.approx(0, abs=0.03)
    assert pstdev(values) == pytest.approx(1, abs=tolerance)
    assert values == sorted(values)
    assert len(values) <= 16_384  # NETEM_DIST_MAX


def test_uniform_jitter_needs_no_table() -> None:
    (message,) = tc.netem(7, shape(delay="10ms", jitter="1ms", distribution="uniform"), 1500, seed=5)
    assert 2 not in nested(raw(message)[24:])
