"""When which packet of a flow is sent: pure functions of the flow and the seed, the same for emulation and twin."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from testbed import seeds
from testbed.background.flows import Flow
from testbed.background.spec import HEADERS, Exponential, Fixed, Packets, Payload


def packets(flow: Flow, seed: int) -> Iterator[tuple[float, int]]:
    """(seconds after the start of the workload, bytes of payload) of each packet, in order of time."""
    what = flow.what
    assert isinstance(what, Packets)
    sizes = _sizes(what.payload, seeds.stream(seed, "background", flow.name, "sizes"))
    for worked, size in _worked(what, sizes, seeds.stream(seed, "background", flow.name, "times")):
        t = flow.begin + _with_pauses(what, worked)
        if t >= flow.end:
            return
        yield t, size


def _worked(what: Packets, sizes: Iterator[int], rng: Random) -> Iterator[tuple[float, int]]:
    """(seconds that it has been on by then, size) of each packet."""
    rate, frequency, worked = what.rate, what.frequency or 1.0, 0.0
    mean = what.frame * 8 / rate if rate is not None else 1 / frequency
    for number, size in enumerate(sizes):
        if what.arrivals == "poisson":
            worked += rng.expovariate(1 / mean)
            yield worked, size
        elif rate is None:
            yield number / frequency, size
        else:  # what is sent takes its time at this rate, so that it is the rate at every moment
            yield worked, size
            worked += (size + HEADERS[what.protocol]) * 8 / rate


def _with_pauses(what: Packets, worked: float) -> float:
    """The time that has passed when it has been on for ``worked`` seconds."""
    if what.on is None or what.off is None:
        return worked
    cycles, rest = divmod(worked, what.on)
    return cycles * (what.on + what.off) + rest


def _sizes(payload: Payload, rng: Random) -> Iterator[int]:
    while True:
        if isinstance(payload, Fixed):
            yield payload.size
        elif isinstance(payload, Exponential):
            yield min(payload.most, max(payload.least, round(rng.expovariate(1 / payload.size))))
        else:
            yield rng.randint(payload.least, payload.most)
