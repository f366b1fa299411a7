"""After the workload: datasets, verdict and summary, from what the run's folder holds by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from testbed import store
from testbed.background.flows import Outcome
from testbed.collect import invocations, summary
from testbed.collect.measure import measure
from testbed.collect.pcap import Captures
from testbed.collect.sampler import Cost
from testbed.collect.schema import BACKGROUND, INVOCATIONS, SUMMARY
from testbed.collect.system import joined
from testbed.conduct import Script
from testbed.experiment.model import Experiment
from testbed.fidelity import evidence
from testbed.fidelity.evidence import Evidence
from testbed.fidelity.verdict import judge
from testbed.fidelity.watch import MachineSample
from testbed.plan import lay_out
from testbed.published import compare
from testbed.shaping.base import Counters
from testbed.store import Reason, Run, Verdict
from testbed.substrate.base import LimitUse
from testbed.tables import Row, Table
from testbed.topology.draw import svg
from testbed.topology.model import End


@dataclass
class Traces:
    """What the workload left behind in memory; ``t0`` on the reference clock, ``ended`` in seconds after it.

    ``limits`` tell what those of hosts had done before it and have done by its end.

    ``cost`` tells what sampling has cost so far; in the twin there are no captures, and ``doubts`` may name what its
    times were not calibrated for.
    """

    t0: float
    script: Script
    cost: Callable[[], Cost]
    captures: Captures | None
    events: Sequence[Row]
    machine: Sequence[MachineSample]
    before: Mapping[End, Counters]
    after: Mapping[End, Counters]
    ended: float = 0.0
    doubts: Sequence[str] = ()
    limits: tuple[Mapping[str, LimitUse], Mapping[str, LimitUse]] = ({}, {})
    background: Sequence[Outcome] = ()


def conclude(run: Run, experiment: Experiment, traces: Traces | None, complete: bool) -> None:
    """Write the datasets, the verdict and the summary; also after a crash, with what there is.

    ``traces`` is None if the workload never began, ``complete`` says whether it came to its end.
    """
    record, client = run.record, experiment.system.duties["client"]
    folders = [run.folder / "hosts" / node / client for node in experiment.clients]
    if not all((each / "schedule.csv").exists() for each in folders):
        _schedules(run, experiment)
    merged = invocations.collect(folders)
    merged.refused.extend(_system_tables(run, experiment, traces.t0 if traces else None))
    verdict = _judge(run, experiment, traces, merged, complete)
    record.verdict = asdict(verdict)
    _invocations(run, experiment, merged, verdict)
    if traces is not None:
        record.events = [dict(row) for row in traces.events]
        record.duration_s = traces.ended
        if traces.background:
            run.rows(BACKGROUND, (each.row() for each in traces.background))
        if traces.captures is not None:
            traces.captures.flows(traces.t0)
    if experiment.file.published:
        _compare(run, experiment)
    (run.folder / "topology.svg").write_text(svg(experiment.topology, _loads(experiment, traces)), encoding="utf-8")


def _compare(run: Run, experiment: Experiment) -> None:
    """What was measured of that which was published; the points of a sweep are compared together, by the sweep."""
    record, published = run.record, experiment.file.published
    assert published is not None
    for name in published.metrics:
        if name not in record.summary:
            record.measures[name] = measure(run.folder, name, published.lengths)
    if not experiment.file.sweep:
        record.published = compare(published, [({}, record.results)])


def _schedules(run: Run, experiment: Experiment) -> None:
    """Put down what the clients would have been given, for a run that ended before they were: each row counts."""
    with TemporaryDirectory(prefix="schedules-", dir=run.folder) as made:
        for folder in lay_out(experiment, Path(made)).values():
            given = run.folder / "hosts" / folder.relative_to(made) / "schedule.csv"
            given.parent.mkdir(parents=True, exist_ok=True)
            if not given.exists():
                (folder / "schedule.csv").rename(given)


def _invocations(run: Run, experiment: Experiment, merged: invocations.Invocations, verdict: Verdict) -> None:
    record = run.record
    stamp: Row = {
        "run_id": record.label,
        "verdict": verdict.level,
        "substrate": record.substrate,
        "system": record.system,
        "seed": record.seed,
    }
    run.cells(INVOCATIONS, merged.stamped(stamp))
    rows = list(summary.summarise(merged, experiment.workload.duration))
    run.rows(SUMMARY, rows)
    record.summary = dict(next((row for row in rows if row["function"] == "*"), {}))


def _judge(
    run: Run, experiment: Experiment, traces: Traces | None, merged: invocations.Invocations, complete: bool
) -> Verdict:
    if traces is None:
        return Verdict("invalid", (Reason("invalid", "complete", "The run ended before its workload was over."),))
    agents = [run.folder / "hosts" / node / role for node, role in experiment.placement
              if node not in traces.script.disturbed]  # fmt: skip
    mechanisms, shapes = run.record.mechanisms, traces.script.shapes
    verdict = judge(
        Evidence(
            firing=evidence.firing(merged, merged.waiting, traces.script.excused),
            lags=evidence.lags(agents, traces.t0, traces.t0 + traces.ended),
            machine=evidence.during(traces.machine, traces.ended),
            links=evidence.link_uses(traces.before, traces.after, mechanisms, shapes),
            calibration=run.record.calibration,
            events=traces.events,
            exits=traces.script.exits,
            refused=merged.refused,
            sampling=traces.cost(),
            virtual=run.record.virtual,
            doubts=traces.doubts,
            clocks={name: each["clock"]["error_s"] for name, each in run.record.machines.items()},
            background=[each.row() for each in traces.background],
            outside=run.record.features.get("nat", ""),
            throttled={node: share for node, share in evidence.throttled(*traces.limits, traces.ended).items()
                       if node in experiment.clients and node not in traces.script.disturbed},
            smallest_delay_s=evidence.smallest_delay(shapes),
        )
    )
    if complete:
        return verdict
    reason = store.Reason("invalid", "complete", "The run did not come to its end, so its data are a part only.")
    return Verdict("invalid", (reason, *verdict.reasons), verdict.figures)


def _loads(experiment: Experiment, traces: Traces | None) -> dict[End, float] | None:
    """Mean share of its rate that left each end while the workload ran, for the ends that have a rate."""
    if traces is None or traces.ended <= 0:
        return None
    found = {}
    for end, now in traces.after.items():
        rate = experiment.topology.links[end.link].at(end.node).shape.rate
        if rate is not None and end in traces.before:
            found[end] = (now.size_bytes - traces.before[end].size_bytes) * 8 / traces.ended / rate
    return found


def _system_tables(run: Run, experiment: Experiment, t0: float | None) -> list[str]:
    """One file for each table of the system, with the rows of all its agents; gives why each other line is none."""
    refused: list[str] = []

    def rows(table: Table) -> Iterator[Row]:
        parts = [run.folder / "hosts" / node / role / f"{table.name}.csv" for node, role in experiment.placement]
        for each in joined(table, parts, t0):
            if isinstance(each, str):
                refused.append(each)
            else:
                yield each

    for table in experiment.system.tables:
        run.rows(table, rows(table))
    return refused
