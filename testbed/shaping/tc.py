"""Queueing disciplines as the kernel's netlink wants them and tells of them. Layouts are those of linux/pkt_sched.h."""

from __future__ import annotations

import struct
from functools import cache
from math import sqrt
from statistics import NormalDist

from testbed.netlink import CREATE, REPLACE, Netlink, Request, attribute, attributes, number, text
from testbed.topology.shape import Shape
from testbed.units import Queue

ROOT = 0xFFFFFFFF
_NEW_QDISC, _DELETE_QDISC, _GET_QDISC = 36, 37, 38
_TBF, _NETEM, _PACKETS, _BYTES = 0x10000, 0x20000, 0x30000, 0x40000  # handles 1: to 4:
_ETHERNET = 1  # link layer: what a packet costs is its own size
_ETHERNET_BYTES = 14

# A bucket holds one frame and what the rate carries in this time: timers of small machines are late by 0.1 ms, and what
# they miss must be in the bucket, or the link is too slow (by 3 % at 10 Mbit/s with a bucket of one frame).
_BUCKET_S = 0.0005

_DISTRIBUTION_SCALE, _DISTRIBUTION_POINTS = 8192, 4096
STRETCH = {"normal": 1, "uniform": 1, "pareto": 4}  # 16 bits end at 4 deviations, where Pareto's tail has hardly begun
_HELD_PACKETS = 1_000_000  # under way in netem; the queue limit is its child's


def queueing(index: int, handle: int, parent: int, name: str, options: bytes) -> Request:
    """Make the queueing discipline ``name`` what an interface, or its discipline ``parent``, sends through."""
    body = _target(index, handle, parent) + text(1, name) + (attribute(2, options) if options else b"")
    return Request(_NEW_QDISC, CREATE | REPLACE, body, f"a {name} queue")


def remove(index: int) -> Request:
    """Take the shaping off an interface; what it held is lost."""
    return Request(_DELETE_QDISC, 0, _target(index, 0, ROOT), "the removal of a shape")


def remove_rate(index: int) -> Request:
    """Take the token bucket from behind netem; what waits there is lost."""
    return Request(_DELETE_QDISC, 0, _target(index, _TBF, _NETEM | 1), "the removal of a rate")


def swallow(index: int) -> Request:
    """Have an interface drop all that it should send, without any other sign."""
    return queueing(index, 0, ROOT, "blackhole", b"")


def token_bucket(index: int, shape: Shape, mtu: int, parent: int = ROOT) -> tuple[Request, ...]:
    """The rate and the queue of ``shape``: a token bucket with a drop-tail queue before it."""
    if shape.rate is None:
        raise ValueError("a token bucket needs a rate")
    per_second = round(shape.rate / 8)
    burst = max(mtu + _ETHERNET_BYTES + round(per_second * _BUCKET_S), shape.burst)
    limit = _limit(shape.queue)
    rate = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(per_second, 0xFFFFFFFF))
    parameters = rate + bytes(12) + struct.pack("=III", limit, 0, 0)
    options = attribute(1, parameters)
    options += attribute(4, struct.pack("=Q", per_second)) + number(6, burst)
    return (queueing(index, _TBF, parent, "tbf", options), _fifo(index, shape.queue))


def netem(index: int, shape: Shape, mtu: int, seed: int) -> tuple[Request, ...]:
    """All of ``shape``: netem for what happens to single packets and, where there is a rate, a token bucket behind it.

    A constant delay before the queue instead of after it gives every packet the same time of delivery, and the
    drop-tail limit then counts only what waits for the rate, not what is under way (netem's own limit would).
    """
    gap = 1 if shape.reorder else 0
    options = struct.pack("=IIIIII", 0, _HELD_PACKETS, _share(shape.loss), gap, _share(shape.duplicate), 0)
    options += attribute(10, _nanoseconds(shape.delay))
    options += attribute(11, _nanoseconds(shape.jitter * STRETCH[shape.distribution]))
    if shape.reorder:
        options += attribute(3, struct.pack("=II", _share(shape.reorder), 0))
    if shape.corrupt:
        options += attribute(4, struct.pack("=II", _share(shape.corrupt), 0))
    if shape.jitter and shape.distribution != "uniform":  # without a table, jitter is uniform
        options += attribute(2, distribution(shape.distribution))
    options += attribute(14, struct.pack("=Q", seed))  # kernels before 6.6 pass over it
    root = queueing(index, _NETEM, ROOT, "netem", options)
    return (root, *token_bucket(index, shape, mtu, _NETEM | 1)) if shape.rate is not None else (root,)


def drops(netlink: Netlink) -> dict[int, int]:
    """Packets dropped by the root discipline of each interface in the namespace, by the interface's index."""
    found = {}
    for body in netlink.dump(_GET_QDISC, bytes(20)):
        _, index, _, parent, _ = struct.unpack_from("=BxxxiIII", body)
        statistics = dict(attributes(dict(attributes(body[20:])).get(7, b"")))
        if parent == ROOT and 3 in statistics:
            found[index] = struct.unpack_from("=III", statistics[3])[2]
    return found


@cache
def distribution(name: str) -> bytes:
    """The inverse of a distribution with mean 0, as netem's table of 16-bit numbers.

    8192 is one deviation times the distribution's ``STRETCH``, with which the jitter has to be multiplied.
    """
    shares = [(point + 0.5) / _DISTRIBUTION_POINTS for point in range(_DISTRIBUTION_POINTS)]
    if name == "normal":
        values = [NormalDist().inv_cdf(share) for share in shares]
    else:  # Pareto with index 3, as in queue.py
        values = [((1 - share) ** (-1 / 3) - 1.5) / (sqrt(3) / 2) for share in shares]
    numbers = [max(-32768, min(32767, round(value * _DISTRIBUTION_SCALE / STRETCH[name]))) for value in values]
    return struct.pack(f"={len(numbers)}h", *numbers)


def _target(index: int, handle: int, parent: int) -> bytes:
    return struct.pack("=BxxxiIII", 0, index, handle, parent, 0)


def _fifo(index: int, queue: Queue) -> Request:
    name, handle = ("bfifo", _BYTES) if queue.packets is None else ("pfifo", _PACKETS)
    return queueing(index, handle, _TBF | 1, name, struct.pack("=I", _limit(queue)))


def _limit(queue: Queue) -> int:
    return queue.packets if queue.packets is not None else queue.size_bytes or 0


def _share(share: float) -> int:
    return round(share * 0xFFFFFFFF)


def _nanoseconds(seconds: float) -> bytes:
    return struct.pack("=q", round(seconds * 1e9))
