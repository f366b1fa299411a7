"""What a validation found, as data: each load point with its errors, means by band of utilisation, the reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from testbed import agreement, store
from testbed.agreement import Error, Mean, Seen, Setting
from testbed.experiment.claims import PublishedValue
from testbed.experiment.model import Experiment

WORST = ("none", "valid", "suspect", "invalid")


@dataclass
class LoadPoint:
    """One load point: its runs in emulation and in the twin, one for each repetition.

    ``refused`` are emulated runs that could not be used, ``left_out`` says why the point does not count (empty: it
    does). ``calibrates`` marks the point that the calibration was made of.
    """

    value: Any
    experiments: Sequence[Experiment]
    calibrates: bool
    emulation: list[Path] = field(default_factory=list)
    twin: list[Path] = field(default_factory=list)
    refused: list[Path] = field(default_factory=list)
    left_out: str = ""


    @property
    def role(self) -> str:
        """What it is there for."""
        return "left out" if self.left_out else "calibration" if self.calibrates else "test"


def compared(experiment: Experiment, path: str, latency: str, points: Sequence[LoadPoint]) -> dict[str, Any]:
    """What ``validation.json`` says of these points; those that have not run yet have no errors.

    ``path`` is what was varied, ``latency`` the column of ``invocations.csv`` that counts. Points that were left out
    and the one of the calibration are in no mean.
    """
    setting = _setting(experiment, latency)
    seen = {index: (_seen(setting, point.emulation), _seen(setting, point.twin))
            for index, point in enumerate(points) if point.twin and not point.left_out}  # fmt: skip
    stretches = windows(experiment)
    told = {index: _compared(*pair, [each for each, _ in seen.values()], stretches) for index, pair in seen.items()}
    tests = {band: [each for index, each in told.items() if each.band == band and points[index].role == "test"]
             for band in agreement.BANDS}  # fmt: skip
    means = {band: agreement.mean_errors([each.errors for each in inside]) for band, inside in tests.items()}
    between = {
        band: agreement.mean_errors([errors for each in inside for errors in each.windows], ("p50", "p95"))
        for band, inside in tests.items()
    }
    return {
        "experiment": experiment.name,
        "system": experiment.system.name,
        "over": path,
        "latency": latency,
        "points": [_described(point) | (_numbers(told[index], stretches) if index in told else {})
                   for index, point in enumerate(points)],
        "bands": _plain(means),
        "between_events": _plain(between) if stretches else {},
        "reaches": agreement.judged(means[agreement.BANDS[0]]),
        "published": _published(experiment, path, latency, points),
    }  # fmt: skip


def _plain(means: Mapping[str, Mapping[str, Mean]]) -> dict[str, Any]:
    return {band: {name: asdict(each) for name, each in inside.items()} for band, inside in means.items()}


@dataclass(frozen=True)
class _Compared:
    """One load point, compared: its errors, those between the events, and how busy it was."""

    emulation: Seen
    twin: Seen
    waiting: float
    errors: Mapping[str, Error]
    windows: Sequence[Mapping[str, Error]]

    @property
    def band(self) -> str:
        return agreement.band(agreement.utilisation((self.emulation.workers, self.emulation.links, self.waiting)))


def _compared(
    emulation: Seen, twin: Seen, others: Sequence[Seen], stretches: Sequence[tuple[float, float]]
) -> _Compared:
    between = [agreement.windowed(emulation, twin, *each) for each in stretches]
    waiting = agreement.waiting(emulation, others, stretches)
    return _Compared(emulation, twin, waiting, agreement.errors(emulation, twin), between)


def _described(point: LoadPoint) -> dict[str, Any]:
    levels = [(store.read_record(each).verdict or {}).get("level", "none") for each in point.emulation]
    return {
        "value": str(point.value),
        "role": point.role,
        "left_out": point.left_out,
        "emulation": [each.name for each in point.emulation],
        "twin": [each.name for each in point.twin],
        "refused": [each.name for each in point.refused],
        "verdict": max(levels, key=WORST.index, default="none"),
    }


def _setting(experiment: Experiment, latency: str) -> Setting:
    concurrency = {name: each.concurrency for name, each in experiment.functions.items()}
    rates = {(link.name, end.node): end.shape.rate for link in experiment.topology.links.values() for end in link.ends
             if end.shape.rate is not None}  # fmt: skip
    return Setting(latency, experiment.workload.duration, concurrency, rates)


def _seen(setting: Setting, runs: Sequence[Path]) -> Seen:
    return agreement.pooled([agreement.seen(run, setting) for run in runs])


def _numbers(told: _Compared, stretches: Sequence[tuple[float, float]]) -> dict[str, Any]:
    emulation, twin = told.emulation, told.twin
    return {
        "band": told.band,
        "busy": {"workers": emulation.workers, "links": emulation.links, "waiting": told.waiting},
        "machine": emulation.machine,
        "scheduled": [emulation.scheduled, twin.scheduled],
        "ok": [len(emulation.times), len(twin.times)],
        "metrics": {name: asdict(each) for name, each in told.errors.items()},
        "links": {name: asdict(each) for name, each in agreement.by_link(emulation, twin).items()},
        "windows": [
            {"from": start, "to": end, "metrics": {name: asdict(each) for name, each in errors.items()}}
            for (start, end), errors in zip(stretches, told.windows, strict=True)
        ],
    }


def windows(experiment: Experiment) -> list[tuple[float, float]]:
    """The stretches of the phase ``measure`` between the events of the timeline; none without events.

    The steps of a replayed link are no events of this kind: too little happens between two of them.
    """
    workload = experiment.workload
    start, end = workload.warmup, workload.warmup + workload.duration
    happened = {event.at for event in experiment.timetable.events if event.kind != "trace"}
    cuts = sorted(t for t in happened if start < t < end)
    return list(pairwise([start, *cuts, end])) if cuts else []


def _published(
    experiment: Experiment, path: str, latency: str, points: Sequence[LoadPoint]
) -> list[dict[str, Any]]:
    """The published percentiles of ``latency``, each with the load point that it belongs to."""
    published = experiment.file.published
    columns = {f"{latency.removesuffix('_s')}_{name}_s": name for name in ("p50", "p95", "p99")}
    found = []
    for each in published.values if published else ():
        where = [str(point.value) for point in points if _belongs(each, path, point, experiment)]
        if where and each.metric in columns:
            found.append({"name": each.name, "metric": columns[each.metric], "at": where[0], "value": each.value})
    return found


def _belongs(claim: PublishedValue, path: str, point: LoadPoint, experiment: Experiment) -> bool:
    """Whether a published value is about this point: it says so, or the point is what the file itself asks for."""
    if claim.at:
        return all((path == key or path.endswith(f".{key}")) and value == point.value
                   for key, value in claim.at.items())  # fmt: skip
    return point.experiments[0].file == experiment.file.model_copy(update={"sweep": {}})
