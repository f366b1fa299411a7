"""When packets of the background are sent, how large they are, and what they hold."""

from __future__ import annotations

import base64
import json
from array import array
from itertools import pairwise
from statistics import fmean
from typing import Any

import pytest
from pydantic import TypeAdapter

from testbed.background import craft, schedule
from testbed.background.flows import Flow
from testbed.background.spec import HEADERS, Entry, Packets

ENTRY: TypeAdapter[Any] = TypeAdapter(Entry)


def flow(begin: float = 0.0, end: float = 20.0, name: str = "noise", **keys: Any) -> Flow:
    what = ENTRY.validate_python({"kind": "packets", "from": "a", "to": "b", **keys})
    return Flow(3, name, name, what, "a", "b", "10.0.0.1", "10.0.1.2", begin, end)


def sent(**keys: Any) -> list[tuple[float, int]]:
    return list(schedule.packets(flow(**keys), seed=1))


def test_constant_packets_have_even_gaps_and_begin_at_once() -> None:
    times = [t for t, _ in sent(begin=2.0, end=3.0, frequency="100/s")]
    assert len(times) == 100
    assert times[0] == 2.0
    assert all(abs(b - a - 0.01) < 1e-9 for a, b in pairwise(times))


@pytest.mark.parametrize("payload", [
    "1000B", {"model": "uniform", "least": "100B", "most": "1400B"},
    {"model": "exponential", "size": "500B", "least": "20B", "most": "1400B"},
])  # fmt: skip
@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_rate_is_that_of_whole_frames(payload: Any, arrivals: str, protocol: str) -> None:
    found = sent(rate="10Mbit", payload=payload, arrivals=arrivals, protocol=protocol)
    rate = sum(size + HEADERS[protocol] for _, size in found) * 8 / 20
    assert abs(rate / 10e6 - 1) < (0.03 if arrivals == "poisson" else 0.001)


@pytest.mark.parametrize("payload", [
    "1000B", {"model": "uniform", "least": "100B", "most": "1400B"},
    {"model": "exponential", "size": "500B", "least": "20B", "most": "1400B"},
])  # fmt: skip
def test_sizes_have_the_mean_that_the_model_says_and_keep_its_limits(payload: Any) -> None:
    what = flow(frequency="1000/s", payload=payload).what
    assert isinstance(what, Packets)
    sizes = [size for _, size in sent(frequency="1000/s", payload=payload)]
    assert abs(fmean(sizes) / what.payload.mean - 1) < 0.03
    assert max(sizes) <= what.payload.largest


def test_poisson_gaps_vary_as_much_as_their_mean() -> None:
    gaps = [b - a for (a, _), (b, _) in pairwise(sent(frequency="500/s", arrivals="poisson"))]
    mean = fmean(gaps)
    assert abs(mean / 0.002 - 1) < 0.05
    assert abs(fmean((gap - mean) ** 2 for gap in gaps) ** 0.5 / mean - 1) < 0.1


def test_nothing_is_sent_in_pauses_and_the_count_is_the_one_foretold() -> None:
    keys = {"frequency": "100/s", "on": "1s", "off": "3s"}
    times = [t for t, _ in sent(**keys)]
    what = flow(**keys).what
    assert isinstance(what, Packets)
    assert {int(t) % 4 for t in times} == {0}
    assert len(times) == 500 == what.per_second * 20


def test_equal_seeds_give_equal_packets_and_names_keep_flows_apart() -> None:
    keys = {"frequency": "100/s", "arrivals": "poisson"}
    assert sent(**keys) == sent(**keys)
    assert sent(**keys) != sent(name="other", **keys)
    assert sent(**keys) != list(schedule.packets(flow(**keys), seed=2))


@pytest.mark.parametrize(("protocol", "layer", "fields"), [
    ("udp", "UDP", {"sport": 43_003, "dport": 7000}), ("tcp", "TCP", {"sport": 43_003, "dport": 7000}),
    ("icmp", "ICMP", {"type": 8, "id": 43_003}),
])  # fmt: skip
def test_packets_are_what_was_described_with_right_checksums(protocol: str, layer: str, fields: dict[str, int]) -> None:
    from scapy.layers.inet import IP

    made = craft.built(flow(frequency="1/s", protocol=protocol, port=7000, dscp=46, ttl=7), 321)
    read = IP(made)
    assert (read.src, read.dst, read.ttl, read.tos) == ("10.0.0.1", "10.0.1.2", 7, 46 << 2)
    assert {name: getattr(read[layer], name) for name in fields} == fields
    assert len(made) == 321 + HEADERS[protocol] - 14
    given = read[layer].chksum
    del read[layer].chksum
    assert IP(bytes(read))[layer].chksum == given


def test_a_sender_is_told_every_packet_in_order() -> None:
    this = flow(end=1.0, frequency="50/s", payload={"model": "uniform", "least": "10B", "most": "12B"})
    planned = list(schedule.packets(this, 1))
    told = json.loads(craft.plan(this, planned))
    times, which = array("d"), array("H")
    times.frombytes(base64.b64decode(told["times"]))
    which.frombytes(base64.b64decode(told["which"]))
    assert list(times) == [t for t, _ in planned]
    assert [told["frames"][number] - HEADERS["udp"] for number in which] == [size for _, size in planned]
    assert [len(base64.b64decode(each)) + 14 for each in told["packets"]] == told["frames"]
