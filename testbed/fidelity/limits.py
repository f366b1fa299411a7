"""Every limit of the fidelity verdict, with its reason and with what to do: one table, from which the docs are made.

A figure above ``suspect`` makes a run suspect, above ``invalid`` invalid. Where ``of`` is named, the limit is the
larger of the absolute one and that share of the quantity: 10 ms of lateness spoil a response time of 5 ms and do not
show in one of 2 s.

Checks of causes (a busy machine) make a run suspect at most: whether they did harm is what the checks of effects
(lateness, lag, errors) find out, and those can make it invalid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Level = Literal["suspect", "invalid"]


@dataclass(frozen=True, slots=True)
class Limit:
    """One check. ``unit`` is s, share or count; ``saw`` a sentence with {value} and {where}; ``advice`` an order."""

    check: str
    unit: Literal["s", "share", "count"]
    suspect: float
    invalid: float
    saw: str
    advice: str
    why: str
    of: str = ""
    suspect_share: float = 0.0
    invalid_share: float = 0.0

    def thresholds(self, basis: float) -> tuple[float, float]:
        """What must be exceeded to be suspect and invalid, where ``basis`` is the quantity that ``of`` names."""
        return max(self.suspect, self.suspect_share * basis), max(self.invalid, self.invalid_share * basis)

    def exceeded(self, value: float, basis: float) -> tuple[Level, float] | None:
        """The worst level whose threshold ``value`` is above, with that threshold."""
        suspect, invalid = self.thresholds(basis)
        if value > invalid:
            return "invalid", invalid
        return ("suspect", suspect) if value > suspect else None


NEVER = float("inf")

_LESS_LOAD = "Lower the rate, use more client nodes, or use a machine with more processors."
_QUIET = "Stop other programs on this machine and run again; if it was the workload itself, use more processors."
_AGAIN = "Run again while nothing else runs here; if it stays, this machine cannot keep that shape."
_RELAY = "Lower the packet rate, shape fewer links, or load the kernel's sch_netem (`testbed doctor` says how)."

LIMITS: tuple[Limit, ...] = (
    Limit("shortfall", "share", 0.001, 0.01,
          "{value} of the scheduled invocations were never sent",
          "Raise the in-flight limit if it stopped them; else: l" + _LESS_LOAD[1:],
          "What is not sent loads nothing: the system under test met less than the workload that the figure names."),
    Limit("send_delay_p50", "s", 0.002, 0.020,
          "half of the invocations were sent more than {value} late", _LESS_LOAD,
          "A generator that is late all the time sends other gaps than the workload asks for.",
          "the median response time", 0.02, 0.2),
    Limit("send_delay_p99", "s", 0.015, 0.150,
          "one invocation in a hundred was sent more than {value} late", _LESS_LOAD,
          "Response times count from the schedule, so the generator's lateness stands in their tail.",
          "the median response time", 0.10, 1.0),
    Limit("agent_lag", "s", 0.040, 0.400,
          "the event loop of {where} was held up for {value} in a tenth of all half-seconds",
          "Give the agents more processors, or lower the load.",
          "An agent that waits for a processor answers late without having been busy itself."),
    Limit("saturation", "share", 0.10, NEVER,
          "all processors were in use for {value} of the time", _QUIET,
          "Hosts that are separate in the experiment share these processors; without a free one they slow each other."),
    Limit("pressure", "share", 0.50, NEVER,
          "some task waited for a processor during {value} of the time", _QUIET,
          "Waiting for a processor adds time that no host of the experiment would have seen."),
    Limit("steal", "share", 0.03, 0.15,
          "the hypervisor took {value} of the processors' time", "Run again, or on a machine that is not shared.",
          "The machine stood still without its clock standing still."),
    Limit("throttled", "share", 0.02, 0.20,
          "a control group's CPU limit held the run back for {value} of the time", "Raise the limit of the container.",
          "As for steal: the processes stood still while the clock went on."),
    Limit("client_throttled", "share", 0.02, NEVER,
          "the host {where}, which sends the workload, had used up its CPU time in {value} of all periods",
          "Give the client's host a larger `cpu`, or none: limits belong on the hosts under test.",
          "A client that is held back sends late and reads answers late, and the system under test gets the blame."),
    Limit("relay_late_p50", "s", 0.001, 0.010,
          "half of the packets left the relay more than {value} late", _RELAY,
          "This much is added to every delay that was asked for.", "the smallest delay asked for", 0.05, 0.5),
    Limit("relay_late_p99", "s", 0.008, 0.080,
          "one packet in a hundred left the relay more than {value} late", _RELAY,
          "The tail of the delays is the relay's, not the topology's.", "the smallest delay asked for", 0.20, 2.0),
    Limit("relay_overload", "share", 0.0001, 0.01,
          "the relay lost {value} of the packets at {where} since it did not keep up", _RELAY,
          "Nobody asked for this loss."),
    Limit("own_load", "share", 0.80, NEVER,
          "the busiest process of the emulation used {value} of a processor", _RELAY,
          "A relay or a driver at its limit queues packets or events that the topology lets pass."),
    Limit("unasked_drops", "share", 0.0001, 0.01,
          "{value} of the packets at {where} were dropped by a queue, though no rate was asked for there",
          "Lower the packet rate, or give the link a rate and a queue if it is meant to drop.",
          "Drop-tail is asked for with a rate; without one it is the machine that drops."),
    Limit("loss", "share", 0.0, NEVER,
          "the loss at {where} is {value} outside the 99.9 % interval of what was asked for",
          "Run again; if it stays, report it with this run's folder.",
          "A link that loses more or less than the topology says is another link."),
    Limit("delay_error", "s", 0.001, 0.010,
          "the delay of {where} was off by {value} (median) before the workload began", _AGAIN,
          "Latencies of the run contain this error on every crossing.", "the delay asked for", 0.05, 0.5),
    Limit("rate_error", "share", 0.05, 0.30,
          "the rate of {where} was off by {value} before the workload began", _AGAIN,
          "Transfer times of the run contain this error."),
    Limit("unmeasured", "count", 0.0, NEVER,
          "{value} of the paths could not be measured before the workload began (first: {where})",
          "Look at the calibration in run.json for the reason.",
          "A shape that nobody measured may not be in force."),
    Limit("unshaped", "count", 0.0, NEVER,
          "{value} of the paths between machines are not as the topology asks for, and nothing shapes them (first: "
          "{where})",
          "Read the run as one on the real network, or put `links: shaped` into the inventory.",
          "Delays and rates of the topology were not in force: the figures belong to another network."),
    Limit("clock_error", "s", 0.005, 0.100,
          "the clock of {where} may be {value} off the reference clock",
          "Let the machines keep time with one server, and use a shorter or calmer way to them.",
          "Clients begin by this clock, and moments that machines note are compared by it.",
          "the median response time", 0.10, 1.0),
    Limit("event_late", "s", 0.100, 1.0,
          "an event of the timeline ({where}) was in force {value} late", _QUIET,
          "What is drawn as before or after the event was not."),
    Limit("exits", "count", 0.0, 0.0,
          "{value} agents ended though nobody asked for it (first: {where})", "Read its log in the run's folder.",
          "The system under test was not the one of the experiment from then on."),
    Limit("background_failed", "count", 0.0, 0.0,
          "{value} flows beside the workload did not run as asked for (first: {where})",
          "Read `background.csv` and the files of the flow in the run's folder.",
          "The workload met another load on the network than the experiment names."),
    Limit("background_late", "s", 0.020, 0.200,
          "one packet in a hundred of the flow {where} was sent more than {value} late", _LESS_LOAD,
          "Packets that are sent late come in bursts, which fill queues that the described traffic would not."),
    Limit("outside", "count", 0.0, NEVER,
          "the network had a way to the outside ({where})", "Leave out --nat for results that can be repeated.",
          "What is outside, and how it answers, is no part of the experiment."),
    Limit("refused", "count", 0.0, 0.0,
          "{value} lines that agents wrote were unreadable or could not be true, and were left out (first: {where})",
          "Report it with this run's folder.",
          "Rows are missing: of the system's own tables, or invocations stand as lost or unsent."),
    Limit("watch_gap", "s", 2.0, 10.0,
          "nobody watched for {value}", _QUIET,
          "The machine was so busy that the watcher did not get a turn, or what happened then is unknown.",
          "the sampling period", 4.0, 20.0),
    Limit("uncalibrated", "count", 0.0, NEVER,
          "the twin took {value} times as zero that nobody measured (first: {where})",
          "Calibrate: `testbed calibrate RUN` makes a file of an emulated run, which `twin.calibration` names.",
          "What takes time on every machine takes none in this run."),
    Limit("unwatched", "count", 0.0, NEVER,
          "there is no evidence of {where}", "Look for the reason in the run's log.",
          "What was not watched cannot be vouched for."),
)

Limits = Mapping[str, Limit]
DEFAULTS: Limits = {limit.check: limit for limit in LIMITS}


def written(value: float, unit: str) -> str:
    """``value`` as a person reads it: 12.3 ms, 4.5 %, 7."""
    if unit == "share":
        return f"{value * 100:.3g} %"
    if unit == "count":
        return f"{value:g}"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms" if value >= 1e-4 else f"{value * 1e6:.3g} µs"


def reference(limits: Iterable[Limit] = LIMITS) -> str:
    """The table of all limits in Markdown, for the documentation."""
    lines = ["| Check | Suspect above | Invalid above | Why |", "|---|---|---|---|"]
    lines += [f"| `{each.check}` | {_threshold(each, each.suspect, each.suspect_share)} "
              f"| {_threshold(each, each.invalid, each.invalid_share)} | {each.why} |" for each in limits]
    return "\n".join(lines) + "\n"


def _threshold(limit: Limit, absolute: float, share: float) -> str:
    if absolute == NEVER:
        return "never"
    part = f"{share * 100:g} % of" if share < 1 else f"{share:g} times"
    relative = f", or {part} {limit.of} if that is more" if share else ""
    return written(absolute, limit.unit) + relative if absolute or limit.unit != "count" else "0"
