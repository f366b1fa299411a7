"""The verdict: pure functions from evidence to ``valid``, ``suspect`` or ``invalid``, each with its reasons.

Each check turns the evidence into figures; ``limits.py`` says from where on a figure is bad. A check that finds many
culprits (links, agents) reports the worst and says how many others there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.fidelity.binomial import CONFIDENCE, interval
from testbed.fidelity.evidence import Evidence, LinkUse
from testbed.fidelity.limits import DEFAULTS, Level, Limit, Limits, written
from testbed.store import Reason, Verdict

SATURATED = 0.97  # share of use from which on no processor counts as free
ENOUGH_PACKETS = 100  # below this, one dropped packet is no share worth a word


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure for one check: ``where`` names the link, agent or event, ``basis`` is what the limit scales with."""

    check: str
    value: float
    where: str = ""
    basis: float = 0.0


def judge(evidence: Evidence, limits: Limits = DEFAULTS) -> Verdict:
    """Weigh all evidence of a run."""
    by_check: dict[str, list[Measure]] = {}
    for check in CHECKS:
        for measure in check(evidence):
            by_check.setdefault(measure.check, []).append(measure)
    reasons = [reason for name, found in by_check.items() if (reason := _reason(limits[name], found)) is not None]
    reasons.sort(key=lambda reason: reason.level != "invalid")
    figures = {name: max(measure.value for measure in found) for name, found in by_check.items()}
    level = reasons[0].level if reasons else "valid"
    return Verdict(level, tuple(reasons), figures)


def _reason(limit: Limit, measures: Iterable[Measure]) -> Reason | None:
    bad = [(verdict, measure) for measure in measures
           if (verdict := limit.exceeded(measure.value, measure.basis)) is not None]
    if not bad:
        return None
    (level, threshold), worst = max(bad, key=lambda each: (each[0][0] == "invalid", each[1].value))
    return Reason(level, limit.check, _sentence(limit, level, threshold, worst, len(bad) - 1),
                  {"value": worst.value, "limit": threshold})


def _sentence(limit: Limit, level: Level, threshold: float, worst: Measure, others: int) -> str:
    saw = limit.saw.format(value=written(worst.value, limit.unit), where=worst.where)
    more = f", and the same holds for {others} more" if others else ""
    allowed = f" (limit for {level}: {written(threshold, limit.unit)})" if threshold else ""
    return f"{saw[0].upper()}{saw[1:]}{more}{allowed}. {limit.advice}"


def _firing(evidence: Evidence) -> Iterator[Measure]:
    firing = evidence.firing
    if firing is None or not firing.scheduled:
        if firing is None or not firing.set_aside:
            yield Measure("unwatched", 1.0, "any invocation")
        return
    yield Measure("shortfall", 1.0 - firing.issued / firing.scheduled)
    yield Measure("send_delay_p50", firing.delay_p50_s, basis=firing.response_p50_s)
    yield Measure("send_delay_p99", firing.delay_p99_s, basis=firing.response_p50_s)


def _agents(evidence: Evidence) -> Iterator[Measure]:
    for agent, lag in evidence.lags.items():
        yield Measure("agent_lag", lag, agent)
    for host, share in evidence.throttled.items():
        yield Measure("client_throttled", share, host)
    yield Measure("exits", len(evidence.exits), next(iter(evidence.exits), ""))
    yield Measure("refused", len(evidence.refused), next(iter(evidence.refused), ""))


def _machine(evidence: Evidence) -> Iterator[Measure]:
    if evidence.virtual:
        return
    samples = evidence.machine
    span = sum(sample.span_s for sample in samples)
    if span <= 0:
        yield Measure("unwatched", 1.0, "the machine's load")
        return
    yield Measure("saturation", sum(each.span_s for each in samples if each.busy >= SATURATED) / span)
    yield Measure("steal", sum(each.steal * each.span_s for each in samples) / span)
    yield Measure("throttled", sum(each.throttled_s for each in samples) / span)
    yield Measure("pressure", sum((each.pressure or 0.0) * each.span_s for each in samples) / span)
    busiest = sorted(each.own_busiest for each in samples)
    yield Measure("own_load", busiest[int(0.9 * (len(busiest) - 1))])


def _relay(evidence: Evidence) -> Iterator[Measure]:
    """Packet-weighted means of the samples' quantiles: one bad second among many does not hide, nor does it decide."""
    samples = [each for each in evidence.machine if each.relay_packets]
    packets = sum(each.relay_packets for each in samples)
    if not packets:
        return
    basis = evidence.smallest_delay_s
    median = sum((each.relay_late_p50_s or 0.0) * each.relay_packets for each in samples) / packets
    tail = sum((each.relay_late_p99_s or 0.0) * each.relay_packets for each in samples) / packets
    yield Measure("relay_late_p50", median, basis=basis)
    yield Measure("relay_late_p99", tail, basis=basis)


def _links(evidence: Evidence) -> Iterator[Measure]:
    lossy = sum(use.loss_max > 0 for use in evidence.links)
    for use in evidence.links:
        offered = use.packets + use.dropped_queue + use.dropped_loss + use.dropped_relay
        if offered < ENOUGH_PACKETS:
            continue
        where = f"link {use.link} leaving {use.node}"
        yield Measure("relay_overload", use.dropped_relay / offered, where)
        asked_in_queue = use.has_rate or (use.counts_together and use.loss_max > 0)
        yield Measure("unasked_drops", 0.0 if asked_in_queue else use.dropped_queue / offered, where)
        if use.loss_is_countable:
            yield Measure("loss", _loss_error(use, lossy), where)


def _loss_error(use: LinkUse, lossy: int) -> float:
    """How far outside its interval the share of lost packets is; 0 inside it.

    With ``lossy`` directions tested in one run, each gets its part of the 0.1 % for false alarms.
    """
    lost = use.dropped_loss + (use.dropped_queue if use.counts_together and use.loss_max > 0 else 0)
    offered = use.packets + use.dropped_queue + use.dropped_loss
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, lossy)
    low, high = interval(offered, use.loss_min, confidence)[0], interval(offered, use.loss_max, confidence)[1]
    return max(low - lost, lost - high, 0) / offered


def _calibration(evidence: Evidence) -> Iterator[Measure]:
    failed, as_they_are = [], list[Mapping[str, Any]]()
    for path in evidence.calibration:
        where = f"{path['from']} -> {path['to']}"
        if path["measured_p50_s"] is None:
            failed.append(where)
            continue
        if path.get("between_machines") == "real":
            as_they_are.append(path)
            continue
        yield Measure("delay_error", _delay_error(path), where, path["asked_delay_s"])
        if path.get("measured_rate") is not None and path.get("asked_rate"):
            yield Measure("rate_error", _rate_error(path), where)
    if as_they_are:
        yield _unshaped(as_they_are)
    if any(path.get("between_machines") == "shaped" and path["asked_loss"] > 0 for path in evidence.calibration):
        yield Measure("unwatched", 1.0, "the loss between machines, which nobody counts")
    yield Measure("unmeasured", len(failed), next(iter(failed), ""))


def _delay_error(path: Mapping[str, Any]) -> float:
    """How far the delay is off at least: between two machines, their clocks may be off as well."""
    off = abs(path["measured_p50_s"] - path["asked_delay_s"])
    return float(max(0.0, off - path.get("clock_error_s", 0.0)))


def _rate_error(path: Mapping[str, Any]) -> float:
    return abs(float(path["measured_rate"]) / float(path["asked_rate"]) - 1.0)


def _unshaped(paths: Sequence[Mapping[str, Any]]) -> Measure:
    """How many paths that nothing shapes are not by themselves as they were asked for."""
    off = [f"{path['from']} -> {path['to']}: {what}" for path in paths if (what := _otherness(path))]
    return Measure("unshaped", len(off), next(iter(off), ""))


def _otherness(path: Mapping[str, Any]) -> str:
    """In which way a path is not as it was asked for; nothing where it is."""
    asked, limit = path["asked_delay_s"], DEFAULTS["delay_error"].thresholds(path["asked_delay_s"])[0]
    if _delay_error(path) > limit:
        return f"{written(path['measured_p50_s'], 's')} of delay where {written(asked, 's')} are asked for"
    if path["asked_loss"] > 0 or path["asked_jitter_s"] > limit:
        return "nobody makes the loss or the jitter that is asked for"
    if not path.get("asked_rate"):
        return ""
    wanted = f"where {path['asked_rate'] / 1e6:.4g} Mbit/s are asked for"
    if path.get("measured_rate") is None:
        return f"{path.get('note') or 'rate not measured'}, {wanted}"
    is_off = _rate_error(path) > DEFAULTS["rate_error"].suspect
    return f"{path['measured_rate'] / 1e6:.4g} Mbit/s {wanted}" if is_off else ""


def _clocks(evidence: Evidence) -> Iterator[Measure]:
    response = evidence.firing.response_p50_s if evidence.firing else 0.0
    for machine, error_s in evidence.clocks.items():
        yield Measure("clock_error", error_s, machine, response)


def _timeline(evidence: Evidence) -> Iterator[Measure]:
    for row in evidence.events:
        if row["t_planned"] is not None:
            where = f"{row['kind']} {row['subject']} at {row['t_planned']:g} s"
            yield Measure("event_late", max(0.0, row["t_actual"] - row["t_planned"]), where)


def _reckoned(evidence: Evidence) -> Iterator[Measure]:
    if evidence.virtual:
        yield Measure("uncalibrated", len(evidence.doubts), next(iter(evidence.doubts), ""))


def _watching(evidence: Evidence) -> Iterator[Measure]:
    cost = evidence.sampling
    if cost is None or cost.failure:
        yield Measure("unwatched", 1.0, f"links and machine: {cost.failure if cost else 'nothing was sampled'}")
        return
    yield Measure("watch_gap", cost.gap_max_s, basis=cost.period_s)


def _beside(evidence: Evidence) -> Iterator[Measure]:
    """Traffic beside the workload. That it fills queues is what it is for; drops there are no check's affair."""
    rows = evidence.background
    failed = [f"{row['name']}: {row['error']}" for row in rows if row["error"]]
    if rows:
        yield Measure("background_failed", len(failed), next(iter(failed), ""))
    for row in rows:
        if row["send_delay_p99_s"] is not None:
            yield Measure("background_late", row["send_delay_p99_s"], row["name"])
    if evidence.outside:
        yield Measure("outside", 1.0, evidence.outside)


CHECKS: tuple[Callable[[Evidence], Iterator[Measure]], ...] = (
    _firing, _agents, _machine, _relay, _links, _calibration, _timeline, _watching, _reckoned, _clocks, _beside,
)
