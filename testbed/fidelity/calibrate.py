"""Before the workload every link is measured: one-way delay and, where it is affordable, rate.

What was asked for and what was measured go side by side into ``run.json``, and the verdict weighs the difference. Only
a link that does not work at all, or that has no delay where one was asked for, stops the run here. Loss is not measured
before the run, for that would take thousands of packets, but judged afterwards from the counters of the links.

A path that is off at first is measured up to twice more, and the best counts: a busy machine disturbs measurements.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from testbed.collect.summary import percentile
from testbed.errors import ShapeNotInForce
from testbed.fidelity.limits import DEFAULTS
from testbed.fidelity.paths import Path, pairs, paths
from testbed.fidelity.probing import Arrival, Prober, Results, Train
from testbed.substrate.away import Direct
from testbed.substrate.base import Network

MOST_PATHS = 120  # of a larger network, so many paths spread evenly over it are measured
RATES_WITHIN_S = 3.0  # rates for which this time does not suffice stay unmeasured
RATES_OF_MACHINES_WITHIN_S = 20.0  # of every two machines, many of which share links of the topology
HIGHEST_RATE = 200e6  # bits/s; a sender in Python cannot fill a faster link reliably
LOWEST_RATE = 5e3  # bits/s; a slower link would take seconds to measure
TRAIN_S = 0.25  # how long a link is filled to measure its rate
_MOST_PACKETS, _FEWEST_PACKETS = 400, 16
_PAYLOAD, _COUNT = 64, 20  # bytes of a probe for delay, and how many
_PACKETS_PER_S = 2000.0  # of all probes for delay together: more would be a load of its own
_OPEN_WITHIN_S = 3.0  # a lost address resolution is repeated after a second
_OVERFILL = 1.3  # by how much a train exceeds the rate that it measures
_NO_DELAY = 0.2  # less than this share of the delay asked for: it is not in force
_WORTH_CHECKING_S = 0.002


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured on one path; None for what was not or could not be.

    ``clock_error_s``: how far the machines' clocks may put a delay off. ``between_machines``: ``real`` where the path
    is whatever lies between two of them, ``shaped`` where it has the topology's shape.
    """

    path: Path
    p50_s: float | None = None
    p99_s: float | None = None
    samples: int = 0
    rate: float | None = None
    note: str = ""
    clock_error_s: float = 0.0
    between_machines: str = ""

    @property
    def asked_delay_s(self) -> float:
        """Median delay asked for, serialisation of the probe included."""
        return self.path.delay_s(_PAYLOAD)

    @property
    def delay_error_s(self) -> float:
        """How far the median is off; infinite without samples."""
        return math.inf if self.p50_s is None else abs(self.p50_s - self.asked_delay_s)

    @property
    def rate_error(self) -> float:
        """How far the rate is off, as a share; 0 where none was measured."""
        return abs(self.rate / self.path.rate - 1.0) if self.rate and self.path.rate else 0.0

    def row(self) -> dict[str, Any]:
        """What ``run.json`` says about it."""
        return {
            "link": self.path.link, "from": self.path.start, "to": self.path.goal,
            "asked_delay_s": self.asked_delay_s, "measured_p50_s": self.p50_s, "measured_p99_s": self.p99_s,
            "asked_jitter_s": self.path.jitter_s, "asked_rate": self.path.rate, "measured_rate": self.rate,
            "asked_loss": self.path.loss, "samples": self.samples, "note": self.note,
            **({"clock_error_s": self.clock_error_s} if self.clock_error_s else {}),
            **({"between_machines": self.between_machines} if self.between_machines else {}),
        }


def calibrate(network: Network, python: str = sys.executable) -> list[dict[str, Any]]:
    """Measure the links of ``network``; one record for each path, in the order of the topology.

    ``python`` is the interpreter on its hosts. Nothing here is random.

    Raises ShapeNotInForce for a path that nothing passes, or that has no delay where one was asked for.
    """
    chosen = _chosen(network)
    if not chosen:
        return []
    nodes = list(dict.fromkeys(node for path in chosen for node in (path.start, path.goal)))
    with Prober(network, nodes, python) as prober:
        errors = [prober.clock_error_s(path.start, path.goal) for path in chosen]
        within_s = RATES_OF_MACHINES_WITHIN_S if isinstance(network, Direct) else RATES_WITHIN_S
        found = [replace(each, clock_error_s=error, between_machines=_kind(network))
                 for each, error in zip(measure(prober, chosen, within_s), errors, strict=True)]  # fmt: skip
    network.check()  # a mechanism that has ended says why itself
    _refuse_gross_failures(found)
    return [each.row() for each in found]


def _chosen(network: Network) -> list[Path]:
    if isinstance(network, Direct):
        return pairs(network.topology, network.addresses, MOST_PATHS)
    return paths(network.topology, MOST_PATHS)


def _kind(network: Network) -> str:
    if isinstance(network, Direct):
        return "shaped" if network.shaped else "real"
    return ""


def measure(prober: Prober, chosen: Sequence[Path], rates_within_s: float = RATES_WITHIN_S) -> list[Found]:
    """Delay and rate of all these paths, rates as far as this time suffices."""
    closed = _closed(prober, chosen)
    found = [Found(path, note=closed.get(number, "")) for number, path in enumerate(chosen)]
    for attempt in (1, 2, 3):
        again = [number for number, each in enumerate(found) if number not in closed and _delay_is_off(each)]
        _better(found, _delays(prober, [found[number] for number in again], attempt), again)
    deadline = time.monotonic() + rates_within_s
    for _ in range(3):
        again = [number for number, each in enumerate(found) if each.p50_s is not None and _rate_is_wanted(each)]
        _better(found, _rates(prober, [found[number] for number in again], deadline), again)
    return found


def _better(found: list[Found], fresh: Sequence[Found], numbers: Sequence[int]) -> None:
    """Put the fresh measurements in the place of the old ones where these were farther off, or missing."""
    for number, new in zip(numbers, fresh, strict=True):
        old = found[number]
        if new.delay_error_s < old.delay_error_s or (new.rate and (not old.rate or new.rate_error < old.rate_error)):
            found[number] = new
        elif not old.rate:
            found[number] = replace(old, note=new.note)


def _closed(prober: Prober, chosen: Sequence[Path]) -> dict[int, str]:
    """Resolve all addresses, in two attempts; the paths that nothing passes, with a word on each."""
    slowest = max(sum(shape.delay + 4 * shape.jitter for shape in path.shapes) for path in chosen)
    left = dict(enumerate(chosen))
    for _ in range(2):
        trains = [Train(number, path.start, path.goal, path.address, int(_OPEN_WITHIN_S / 0.2), 0.2, _PAYLOAD, True)
                  for number, path in left.items()]
        if trains:
            answered = prober.send(trains, _OPEN_WITHIN_S + 4 * slowest).answered
            left = {number: path for number, path in left.items() if number not in answered}
    return dict.fromkeys(left, "nothing came through")


def _delay_is_off(each: Found) -> bool:
    limit = DEFAULTS["delay_error"].thresholds(each.asked_delay_s)[0]
    return each.delay_error_s > limit + each.path.jitter_s


def _delays(prober: Prober, wanted: Sequence[Found], attempt: int) -> list[Found]:
    if not wanted:
        return []
    interval = max(0.010, len(wanted) / _PACKETS_PER_S)
    trains, last = [], 0.0
    for number, each in enumerate(wanted):
        path = each.path
        serial = 8 * path.wire_bytes(_PAYLOAD) / path.rate if path.rate else 0.0
        count = min(5 * _COUNT, math.ceil(attempt * _COUNT / max(0.05, 1.0 - path.loss)))
        gap = max(interval, 4 * serial)
        trains.append(Train(number, path.start, path.goal, path.address, count, gap, _PAYLOAD))
        last = max(last, count * gap + each.asked_delay_s + 6 * path.jitter_s + 0.3)
    results = prober.send(trains, last)
    return [_delay(each, results.received.get(number, [])) for number, each in enumerate(wanted)]


def _delay(each: Found, arrivals: Sequence[Arrival]) -> Found:
    delays = sorted((arrived - sent) / 1e9 for _, sent, arrived in arrivals)
    if not delays:
        return replace(each, note="no probe arrived")
    p50, p99 = percentile(delays, 0.5), percentile(delays, 0.99)
    return replace(each, p50_s=p50, p99_s=p99, samples=len(delays), note=_why_no_rate(each.path))


def _why_no_rate(path: Path) -> str:
    """Why the rate will not be measured; empty if it will be, or if there is none."""
    rate = path.rate
    if rate is not None and any(shape.burst for shape in path.shapes):
        return "rate not measured: a burst passes before the rate holds"
    if rate is None or LOWEST_RATE <= rate <= HIGHEST_RATE:
        return ""
    return f"rate not measured: {'above' if rate > HIGHEST_RATE else 'below'} what a probe can tell"


def _rate_is_wanted(each: Found) -> bool:
    if each.path.rate is None or _why_no_rate(each.path):
        return False
    return each.rate is None or each.rate_error > DEFAULTS["rate_error"].suspect


def _rates(prober: Prober, wanted: Sequence[Found], deadline: float) -> list[Found]:
    """The rates of all these paths, in waves of paths that have no direction of a link in common."""
    fresh = {id(each): replace(each, note="rate not measured: no time was left") for each in wanted}
    for wave in _waves(wanted):
        if time.monotonic() > deadline:
            break
        trains = [_train(number, each.path) for number, each in enumerate(wave)]
        last = max(train.count * train.size * 8 / (each.path.rate or 1.0) + sum(s.delay for s in each.path.shapes)
                   for train, each in zip(trains, wave, strict=True)) + 0.3
        results = prober.send(trains, last)
        fresh.update(_rated(wave, trains, results))
    return [fresh[id(each)] for each in wanted]


def _waves(wanted: Sequence[Found]) -> Iterator[list[Found]]:
    """Each wave loads a direction once, and the machine with no more than the highest rate."""
    left = list(wanted)
    while left:
        wave: list[Found] = []
        used: set[object] = set()
        total = 0.0
        for each in left:
            rate = each.path.rate or 0.0
            if used.isdisjoint(each.path.ends) and (not wave or total + rate <= HIGHEST_RATE):
                wave.append(each)
                used.update(each.path.ends)
                total += rate
        left = [each for each in left if all(each is not taken for taken in wave)]
        yield wave


def _train(number: int, path: Path) -> Train:
    """Packets that fill the path for a while; smaller ones where the rate is low, so that there are enough of them."""
    rate = path.rate or 1.0
    overhead = path.wire_bytes(0)
    largest = path.mtu + 14 - overhead
    wanted = int(rate * TRAIN_S / 8 / _FEWEST_PACKETS) - overhead
    size = max(_PAYLOAD // 2, min(largest, wanted))
    bits = 8 * path.wire_bytes(size)
    count = max(_FEWEST_PACKETS, min(_MOST_PACKETS, int(_OVERFILL * rate * TRAIN_S / bits)))
    return Train(number, path.start, path.goal, path.address, count, bits / rate / _OVERFILL, size)


def _rated(wave: Sequence[Found], trains: Sequence[Train], results: Results) -> Iterator[tuple[int, Found]]:
    for each, train in zip(wave, trains, strict=True):
        arrivals = results.received.get(train.stream, [])
        rate, note = slope(arrivals, each.path.wire_bytes(train.size), each.path.rate or 0.0)
        yield id(each), replace(each, rate=rate, note=note)


def slope(arrivals: Sequence[Arrival], wire_bytes: int, asked: float) -> tuple[float | None, str]:
    """Bits per second at which a train arrived, or None and why it does not tell.

    The first quarter is left out, since a token bucket lets a burst pass at first. Of the rest the longest part counts
    during which the sender kept the link filled; its rate is the slope of the least-squares line of bits over time,
    which one late packet does not bend much.
    """
    tail = _filled(sorted(arrivals)[len(arrivals) // 4 :], wire_bytes * 8 / asked)
    if len(tail) < _FEWEST_PACKETS // 2:
        few = len(arrivals) < _FEWEST_PACKETS
        what = f"only {len(arrivals)} packets of the train arrived" if few else "the sender did not fill the link"
        return None, f"rate not measured: {what}"
    times = [(arrived - tail[0][2]) / 1e9 for _, _, arrived in tail]
    mean_t, mean_n = sum(times) / len(times), (len(times) - 1) / 2
    spread = sum((t - mean_t) ** 2 for t in times)
    if spread <= 0:
        return None, "rate not measured: all packets arrived at once"
    per_s = sum((t - mean_t) * (number - mean_n) for number, t in enumerate(times)) / spread
    return per_s * wire_bytes * 8, ""


def _filled(train: Sequence[Arrival], serial_s: float) -> Sequence[Arrival]:
    """The longest part of a train in which each packet was sent before the link was done with those before it."""
    best = part = (0, 0)
    free = -math.inf
    for place, (number, sent, _) in enumerate(train):
        gap = 0 if place == 0 else number - train[place - 1][0] - 1  # packets that were lost had their turn as well
        if sent > free + gap * serial_s * 1e9:
            part = (place, place)
        free = max(free, sent) + (gap + 1) * serial_s * 1e9
        part = (part[0], place + 1)
        best = max(best, part, key=lambda each: each[1] - each[0])
    return train[best[0] : best[1]]


def _refuse_gross_failures(found: Sequence[Found]) -> None:
    said = []
    for each in found:
        where = f"{each.path.start} -> {each.path.goal} (link {each.path.link})"
        if each.samples and each.between_machines == "real":
            continue
        if each.samples == 0 and each.path.loss < 0.9:
            said.append(f"{where}: {each.note}")
        elif each.p50_s is not None and each.path.jitter_s < each.asked_delay_s / 2 and \
                each.asked_delay_s > _WORTH_CHECKING_S and each.p50_s < _NO_DELAY * each.asked_delay_s:
            said.append(f"{where}: asked for {each.asked_delay_s * 1e3:.3g} ms, measured {each.p50_s * 1e3:.3g} ms")
    if said:
        more = f"\n  and {len(said) - 10} more" if len(said) > 10 else ""
        raise ShapeNotInForce("The network does not do what the topology asks for, as measured before the workload:\n  "
                              + "\n  ".join(said[:10]) + more)
