"""How far the twin is from the emulation at one load point and over many: what runs showed, errors, bands, reaches.

Errors are relative, (twin - emulation) / emulation; where the emulation shows zero (or hardly a cold start), the
difference itself counts, apart from the others. Utilisation is the highest of three shares that the emulation shows:
the busiest workers', the busiest link's, and what waiting implies (:func:`waiting`), since a system may have limits of
its own that no table tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path
from statistics import fmean
from typing import Any

from testbed.collect.streamed import whole_rows
from testbed.collect.summary import ROWS_FOR_P99, percentile

REACHES: Mapping[str, float] = {"p50": 0.05, "p95": 0.10, "p99": 0.15, "throughput": 0.01}
METRICS = ("mean", *REACHES, "link_bytes", "cold_share")
ROWS = {0.50: 1, 0.95: 100, 0.99: ROWS_FOR_P99}  # a percentile of fewer rows means little and is not told
FULL = 0.8
BANDS = (f"up to {FULL:g}", f"above {FULL:g}")
COLD = 10  # with fewer cold starts, a percentage of their share says nothing
CARRIES = 0.01  # share of the busiest link's bytes from which on a link counts as one that carried something


@dataclass(frozen=True, slots=True)
class Seen:
    """What runs of one load point showed in the phase ``measure``.

    ``times`` are (t_scheduled, latency) of good answers, in seconds. ``cold`` of ``told`` answers met a cold start.
    ``link_bytes`` are what crossed a link in both directions while the workload ran, warm-up included. ``workers``,
    ``links`` and ``machine`` are shares that were busy, None where nobody can know.
    """

    times: tuple[tuple[float, float], ...]
    scheduled: int
    throughput: float
    cold: int
    told: int
    link_bytes: Mapping[str, float]
    workers: float | None
    links: float | None
    machine: float | None

    def latency(self, share: float, start: float = 0.0, end: float = float("inf")) -> float | None:
        """A percentile of what was scheduled from ``start`` to ``end``; None of too few rows."""
        ordered = sorted(latency for t, latency in self.times if start <= t < end)
        return percentile(ordered, share) if len(ordered) >= ROWS[share] else None

    def mean(self, start: float = 0.0, end: float = float("inf")) -> float | None:
        """The mean latency: where latency has two heights, the one figure that does not jump between them."""
        inside = [latency for t, latency in self.times if start <= t < end]
        return fmean(inside) if inside else None

    @property
    def cold_share(self) -> float | None:
        """Share of the answers that tell which met a cold start."""
        return self.cold / self.told if self.told else None


def utilisation(shares: Iterable[float | None]) -> float:
    """The highest of the shares that are known."""
    return max((each for each in shares if each is not None), default=0.0)


def waiting(seen: Seen, others: Sequence[Seen], windows: Sequence[tuple[float, float]]) -> float:
    """The utilisation that the latency implies: 1 - T / T', where T is the mean at the load point with the lowest one.

    As in M/M/1, where a load of 0.8 makes five times the latency of an idle system. The worst of ``windows`` counts.
    """
    found = [0.0]
    for window in windows or [(0.0, float("inf"))]:
        mine, lowest = seen.mean(*window), min(filter(None, (each.mean(*window) for each in others)), default=None)
        if mine and lowest:
            found.append(1 - lowest / mine)
    return max(found)


def band(share: float) -> str:
    """The band of utilisation that ``share`` is in."""
    return BANDS[0] if share <= FULL else BANDS[1]


@dataclass(frozen=True, slots=True)
class Setting:
    """What the experiment says that a run's tables do not.

    ``latency`` is the column of ``invocations.csv`` that counts, ``duration_s`` the length of the phase ``measure``,
    ``concurrency`` how many invocations of a function a worker runs at a time, ``rates`` the bits per second of each
    end (link, node) that has a rate.
    """

    latency: str
    duration_s: float
    concurrency: Mapping[str, int]
    rates: Mapping[tuple[str, str], float]


def seen(folder: Path, setting: Setting) -> Seen:
    """What the run in ``folder`` showed."""
    latency, duration_s = setting.latency, setting.duration_s
    rows = [row for row in table(folder, "invocations") if row["phase"] == "measure"]
    good = [row for row in rows if row["status"] == "ok" and row[latency]]
    told = [row["cold"] for row in good if row["cold"]]
    sent = _sent(folder)
    return Seen(
        times=tuple((float(row["t_scheduled"]), float(row[latency])) for row in good),
        scheduled=len(rows),
        throughput=len(good) / duration_s,
        cold=told.count("1"),
        told=len(told),
        link_bytes=_summed((link, size) for (link, _), (size, _) in sent.items()),
        workers=_workers(good, duration_s, setting.concurrency),
        links=_link_use(sent, setting.rates),
        machine=_machine(folder),
    )


def table(folder: Path, name: str) -> Iterator[dict[str, str]]:
    """The readable rows of a table of a run, as text."""
    return (row for row in whole_rows(folder / f"{name}.csv") if isinstance(row, dict))


def _summed(amounts: Iterator[tuple[str, float]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for name, amount in amounts:
        total[name] += amount
    return dict(total)


def _sent(folder: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """For each end of a link the bytes that left it from the start of the workload on, and in how many seconds."""
    first: dict[tuple[str, str], tuple[float, float]] = {}
    last: dict[tuple[str, str], tuple[float, float]] = {}
    for row in table(folder, "links"):
        end, now = (row["link"], row["node"]), (float(row["t"]), float(row["size_bytes"]))
        if end not in first or abs(now[0]) < abs(first[end][0]):
            first[end] = now
        last[end] = now
    return {end: (last[end][1] - first[end][1], last[end][0] - first[end][0]) for end in last}


def _workers(good: Sequence[Mapping[str, str]], duration_s: float, concurrency: Mapping[str, int]) -> float | None:
    """The busiest workers' share of time in functions: workers belong to one function on one node."""
    busy: dict[tuple[str, str], float] = defaultdict(float)
    for row in good:
        if row["exec_s"] and row["node"]:
            busy[row["node"], row["function"]] += float(row["exec_s"]) + float(row["init_s"] or 0)
    shares = [spent / duration_s / concurrency.get(function, 1) for (_, function), spent in busy.items()]
    return max(shares, default=None)


def _link_use(
    sent: Mapping[tuple[str, str], tuple[float, float]], rates: Mapping[tuple[str, str], float]
) -> float | None:
    """The busiest link direction's share of its rate; the rate is the one before any event."""
    shares = [8 * size / elapsed / rates[end] for end, (size, elapsed) in sent.items() if end in rates and elapsed > 0]
    return max(shares, default=None)


def _machine(folder: Path) -> float | None:
    samples = [(float(row["busy"]), float(row["span_s"])) for row in table(folder, "machine") if row["busy"]]
    total = fsum(span for _, span in samples)
    return fsum(busy * span for busy, span in samples) / total if total else None


def pooled(parts: Sequence[Seen]) -> Seen:
    """What repetitions of one load point showed together: rows side by side, the rest as means."""
    links = _summed((name, size / len(parts)) for part in parts for name, size in part.link_bytes.items())
    return Seen(
        times=tuple(each for part in parts for each in part.times),
        scheduled=sum(part.scheduled for part in parts),
        throughput=fmean(part.throughput for part in parts),
        cold=sum(part.cold for part in parts),
        told=sum(part.told for part in parts),
        link_bytes=links,
        workers=_mean([part.workers for part in parts]),
        links=_mean([part.links for part in parts]),
        machine=_mean([part.machine for part in parts]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return fmean(known) if known else None


@dataclass(frozen=True, slots=True)
class Error:
    """One metric, emulated and in the twin; None: one of them does not tell. ``relative`` is None, too, where the
    emulation shows zero or so little that a percentage of it says nothing.
    """

    emulation: float | None
    twin: float | None
    relative: float | None
    absolute: float | None

    @classmethod
    def between(cls, emulation: float | None, twin: float | None) -> Error:
        """The error of ``twin``."""
        if emulation is None or twin is None:
            return cls(emulation, twin, None, None)
        return cls(emulation, twin, (twin - emulation) / emulation if emulation else None, twin - emulation)


def errors(emulation: Seen, twin: Seen) -> dict[str, Error]:
    """The error of each of METRICS; that of ``link_bytes`` is the mean over links, each taken as positive."""
    found = windowed(emulation, twin, 0.0, float("inf"))
    found["mean"] = Error.between(emulation.mean(), twin.mean())
    found["throughput"] = Error.between(emulation.throughput, twin.throughput)
    found["link_bytes"] = _of_links(by_link(emulation, twin))
    cold = Error.between(emulation.cold_share, twin.cold_share)
    found["cold_share"] = cold if emulation.cold >= COLD else replace(cold, relative=None)
    return found


def windowed(emulation: Seen, twin: Seen, start: float, end: float) -> dict[str, Error]:
    """The errors of the percentiles of what was scheduled from ``start`` to ``end``."""
    return {
        f"p{100 * share:.0f}": Error.between(emulation.latency(share, start, end), twin.latency(share, start, end))
        for share in ROWS
    }


def by_link(emulation: Seen, twin: Seen) -> dict[str, Error]:
    """The error of the bytes on each link that carried at least CARRIES of what the busiest one carried."""
    least = CARRIES * max(emulation.link_bytes.values(), default=0.0)
    return {
        name: Error.between(size, twin.link_bytes.get(name, 0.0))
        for name, size in emulation.link_bytes.items()
        if size and size >= least
    }


def _of_links(found: Mapping[str, Error]) -> Error:
    if not found:
        return Error(None, None, None, None)
    emulation, twin = (fsum(getattr(each, side) for each in found.values()) for side in ("emulation", "twin"))
    return Error(emulation, twin, fmean(abs(each.relative or 0.0) for each in found.values()), twin - emulation)


@dataclass(frozen=True, slots=True)
class Mean:
    """Over ``points`` load points the mean absolute relative error (``mape``).

    Over ``zeros`` more, where a percentage says nothing, the mean absolute difference; None of none.
    """

    mape: float | None
    points: int
    difference: float | None
    zeros: int


def mean_errors(points: Sequence[Mapping[str, Error]], metrics: Sequence[str] = METRICS) -> dict[str, Mean]:
    """The mean error of each of ``metrics`` over some load points."""
    means = {}
    for metric in metrics:
        found = [point[metric] for point in points]
        relative = [abs(each.relative) for each in found if each.relative is not None]
        zeros = [abs(each.absolute) for each in found if each.relative is None and each.absolute is not None]
        means[metric] = Mean(
            fmean(relative) if relative else None, len(relative), fmean(zeros) if zeros else None, len(zeros)
        )
    return means


def judged(means: Mapping[str, Mean]) -> list[dict[str, Any]]:
    """For each reach the mean error and whether it is met; ``met`` is None where no point tells."""
    return [
        {"metric": metric, "reach": reach, "mape": means[metric].mape, "points": means[metric].points,
         "met": None if (mape := means[metric].mape) is None else mape <= reach}
        for metric, reach in REACHES.items()
    ]  # fmt: skip
