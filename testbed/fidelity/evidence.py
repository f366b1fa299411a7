"""What the verdict is based on, as plain data, and how a run's files and samples become it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.collect.columns import Array, Columns
from testbed.collect.sampler import Cost
from testbed.collect.streamed import whole_rows
from testbed.collect.summary import ascending, percentile
from testbed.fidelity.watch import MachineSample
from testbed.shaping.base import Counters
from testbed.substrate.base import LimitUse
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape

TELLS_LOSSES_APART = ("relay", "none")


@dataclass(frozen=True, slots=True)
class Firing:
    """How well the workload was sent: ``issued`` of ``scheduled``, and how late; over the phase ``measure``.

    The percentiles of the delay are the value at the rank below, so that a single outlier among a few dozen
    invocations is none.

    ``set_aside`` invocations say nothing of the generator: their users waited for answers (a closed loop), or their
    client was killed by the timeline.
    """

    scheduled: int
    issued: int
    delay_p50_s: float
    delay_p99_s: float
    delay_max_s: float
    response_p50_s: float
    set_aside: int = 0


@dataclass(frozen=True, slots=True)
class LinkUse:
    """What one direction of one link let pass and dropped while the workload ran, and what had been asked of it.

    ``loss_min`` and ``loss_max`` span the shapes that the timeline put in force; ``has_rate`` says whether any of them
    had one. ``counts_together`` marks a kernel mechanism that counts losses and full queues as one. Losses are not
    countable where they cannot be told from drops of a rate's queue, or where packets are duplicated.
    """

    link: str
    node: str
    packets: int
    dropped_queue: int
    dropped_loss: int
    dropped_relay: int
    loss_min: float
    loss_max: float
    has_rate: bool
    counts_together: bool
    loss_is_countable: bool = True


@dataclass(frozen=True)
class Evidence:
    """All that is known of a run's fidelity; what is missing is itself a reason to doubt.

    ``throttled`` tells for each client's host with a limit of CPU time the share of time in which that was used up.

    In ``virtual`` time no machine can falsify the run; ``doubts`` then name what was reckoned without a measured time.
    ``clocks`` tell for each machine that carries hosts how far its clock may be off the driver's, in seconds.
    ``background`` are rows of ``background.csv``; ``outside`` says how the network reached the outside, if it did.
    """

    firing: Firing | None = None
    lags: Mapping[str, float] = field(default_factory=dict)
    machine: Sequence[MachineSample] = ()
    links: Sequence[LinkUse] = ()
    calibration: Sequence[Mapping[str, Any]] = ()
    events: Sequence[Mapping[str, Any]] = ()
    exits: Sequence[str] = ()
    refused: Sequence[str] = ()
    sampling: Cost | None = None
    smallest_delay_s: float = 0.0
    throttled: Mapping[str, float] = field(default_factory=dict)
    virtual: bool = False
    doubts: Sequence[str] = ()
    clocks: Mapping[str, float] = field(default_factory=dict)
    background: Sequence[Mapping[str, Any]] = ()
    outside: str = ""


def firing(invocations: Columns, waiting: Array, excused: Collection[str] = ()) -> Firing:
    """How well the rows of ``invocations.csv`` were sent.

    ``waiting`` marks those that were held back by earlier ones of their user (see
    :class:`testbed.collect.invocations.Invocations`); clients in ``excused`` were killed by the timeline. Neither is
    the generator's fault.
    """
    counted = ~waiting
    for client in excused:
        counted &= invocations.column("client") != client
    status, measured = invocations.column("status"), counted & (invocations.column("phase") == "measure")
    measured = measured if measured.any() else counted
    delays = ascending(invocations.column("send_delay_s")[measured])
    responses = ascending(invocations.column("response_time_s")[measured & (status == "ok")])
    issued = int((counted & (status != "unsent") & (status != "dropped")).sum())
    scheduled = int(counted.sum())
    return Firing(scheduled, issued, _at(delays, 0.5), _at(delays, 0.99), _at(delays, 1.0),
                  percentile(responses, 0.5) or 0.0, len(invocations) - scheduled)


def _at(ordered: Sequence[float] | Array, share: float) -> float:
    """The value at the rank below ``share``; 0 of no values."""
    return float(ordered[math.floor(share * (len(ordered) - 1))]) if len(ordered) else 0.0


def lags(folders: Iterable[Path], start: float, end: float) -> dict[str, float]:
    """For each agent folder (``…/<host>/<role>``) the 90th percentile of its event loop's worst lag in a half-second.

    Only what ``health.csv`` tells about the time from ``start`` to ``end`` on the run's reference clock counts.
    """
    found: dict[str, float] = {}
    for folder in folders:
        worst = sorted(lag for t, lag in _health(folder / "health.csv") if start <= t <= end)
        if worst:
            found[f"{folder.name} on {folder.parent.name}"] = _at(worst, 0.9)
    return found


def _health(path: Path) -> Iterator[tuple[float, float]]:
    for row in whole_rows(path):
        if not isinstance(row, str):
            with suppress(KeyError, ValueError):  # an agent that died may have left anything behind
                yield float(row["t"]), float(row["lag_max_s"])


def link_uses(before: Mapping[End, Counters], after: Mapping[End, Counters], mechanisms: Mapping[str, str],
              shapes: Mapping[End, Sequence[Shape]]) -> list[LinkUse]:
    """What each end did between two readings of ``network.counters()``; ``shapes`` are all that were in force there."""
    return [_use(end, before.get(end, Counters()), now, mechanisms.get(end.link, "none"), shapes[end])
            for end, now in after.items()]


def _use(end: End, before: Counters, now: Counters, mechanism: str, shapes: Sequence[Shape]) -> LinkUse:
    has_rate = any(shape.rate is not None for shape in shapes)
    together = mechanism not in TELLS_LOSSES_APART
    countable = not (together and has_rate) and not any(shape.duplicate or shape.corrupt for shape in shapes)
    return LinkUse(
        end.link, end.node, now.packets - before.packets, now.dropped_queue - before.dropped_queue,
        now.dropped_loss - before.dropped_loss, now.dropped_relay - before.dropped_relay,
        min(shape.loss for shape in shapes), max(shape.loss for shape in shapes),
        has_rate, together, countable)


def initial_shapes(topology: Topology) -> dict[End, list[Shape]]:
    """The shape of each end as the topology asks for it; add what the timeline puts in force later."""
    return {End(link.name, end.node): [end.shape] for link in topology.links.values() for end in link.ends}


def throttled(before: Mapping[str, LimitUse], after: Mapping[str, LimitUse], span_s: float) -> dict[str, float]:
    """For each host with a limit of CPU time the share of ``span_s`` in which it had used that up."""
    found = {}
    for node, use in after.items():
        if use.throttled_s is not None and span_s > 0:
            earlier = before[node].throttled_s if node in before else 0.0
            found[node] = min(1.0, (use.throttled_s - (earlier or 0.0)) / span_s)
    return found


def smallest_delay(shapes: Mapping[End, Sequence[Shape]]) -> float:
    """The smallest delay above zero that was asked for; 0 if none was."""
    return min((shape.delay for each in shapes.values() for shape in each if shape.delay > 0), default=0.0)


def during(samples: Iterable[MachineSample], end: float) -> list[MachineSample]:
    """The samples of the time from the start of the workload (0) to ``end``, in the workload's seconds."""
    return [sample for sample in samples if sample.t - sample.span_s > -0.5 * sample.span_s
            and sample.t < end + 0.5 * sample.span_s]
