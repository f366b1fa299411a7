"""When which packet of a flow is sent: pure functions of the flow and the seed, the same for emulation and twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from testbed import seeds
from testbed.background.flows import Flow
from testbed.background.spec import HEADERS, Exponential, Fixed, Packets, Payload


def packets(flow: Flow, seed: int) -> Iterator[tuple[float, int]]:
    """(seconds after the start of the workload, bytes of payload) of each packet, in order of time."""
    what = flow.what
    assert isinstance(what, Packets)
    sizes = _sizes(what.payload, seeds.stream(seed, "background", flow.name, "sizes"))
    gap = _gaps(what, seeds.stream(seed, "background", flow.name, "times"))
    size = next(sizes)
    worked = gap(size) if what.arrivals == "poisson" else 0.0
    while (t := flow.begin + _with_pauses(what, worked)) < flow.end:
        yield t, size
        worked += gap(size)
        size = next(sizes)


def _gaps(what: Packets, rng: Random) -> Callable[[int], float]:
    """The time from a packet of this payload to the next one, pauses left out."""
    rate, header = what.rate, HEADERS[what.protocol]
    if what.arrivals == "poisson":
        mean = what.frame * 8 / rate if rate is not None else 1 / (what.frequency or 1.0)
        return lambda size: rng.expovariate(1 / mean)
    if rate is not None:  # what is sent takes its time at this rate, so that it is the rate at every moment
        return lambda size: (size + header) * 8 / rate
    gap = 1 / (what.frequency or 1.0)
    return lambda size: gap


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
