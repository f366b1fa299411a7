"""From an emulated run to a calibration of the twin: how long functions and agents take on that machine.

The twin runs the same experiment with the same seed, so each invocation has its counterpart there, and what is left
between the two is what the machine took:

1. ``exec_s`` and ``init_s``: the time in functions that the twin does not reckon by itself, and cold starts.
2. ``busy_s``: an agent's CPU time, less that of functions and of idling, for each message that it takes in.
3. ``call_s``: what is then left of ``network_s``, shared out over the calls of an invocation.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

from testbed import store
from testbed.agreement import table
from testbed.conduct import Quiet
from testbed.document import read, set_path
from testbed.errors import InputError, TestbedError, UsageError
from testbed.experiment.load import from_text
from testbed.experiment.model import Experiment
from testbed.run import perform
from testbed.seeds import stream
from testbed.store import RunRecord
from testbed.substrate.find import named
from testbed.twin.calibration import Calibration, Spread

PROBE_S = 1e-6  # what each message costs in the run of the twin that counts them
IDLE = 0.01  # share of a processor that idling takes at most: what is more is work
MATTERS = 0.01, 1e-4  # a modelled function's extra time counts from this share of its time and these seconds on
MESSAGES = 20  # of fewer messages nobody can tell what one costs
ROUNDS, SUMS = 12, 4000  # of bending the shares of a call, and draws in each


@dataclass(frozen=True, slots=True)
class Answer:
    """One invocation that was answered well; times in seconds, None where the system does not tell."""

    phase: str
    function: str
    node: str
    cold: str
    hops: int
    network_s: float | None
    exec_s: float | None
    init_s: float


@dataclass(frozen=True)
class Story:
    """A run as far as calibration goes: its good answers by number; of each agent (node, role) its CPU time, and over
    how many seconds that was seen.
    """

    answers: Mapping[int, Answer]
    cpu_s: Mapping[tuple[str, str], float]
    elapsed_s: Mapping[tuple[str, str], float]

    @classmethod
    def read(cls, folder: Path) -> Story:
        """The story of the run in ``folder``."""
        answers = {int(row["invocation_id"]): _answer(row) for row in table(folder, "invocations")
                   if row["status"] == "ok"}  # fmt: skip
        samples: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for row in table(folder, "nodes"):
            samples[row["node"], row["role"]].append((float(row["t"]), float(row["cpu_s"])))
        cpu_s = {agent: each[-1][1] - each[0][1] for agent, each in samples.items()}
        return cls(answers, cpu_s, {agent: each[-1][0] - each[0][0] for agent, each in samples.items()})

    @property
    def measured(self) -> dict[int, Answer]:
        """The answers of the phase ``measure``."""
        return {number: each for number, each in self.answers.items() if each.phase == "measure"}


def _answer(row: Mapping[str, str]) -> Answer:
    def number(name: str) -> float | None:
        return float(row[name]) if row[name] else None

    hops = int(row["hops"]) if row["hops"] else 1
    return Answer(row["phase"], row["function"], row["node"], row["cold"], max(1, hops), number("network_s"),
                  number("exec_s"), number("init_s") or 0.0)  # fmt: skip


def experiment_of(folder: Path) -> tuple[Experiment, list[str]]:
    """The experiment of the run in ``folder`` as it was run, and what may have changed since.

    Raises UsageError if the files that it names are not there any longer.
    """
    record = store.read_record(folder)
    source = Path(record.source) if record.source else folder / "experiment.yaml"
    try:
        experiment = from_text(replace(read(folder / "experiment.yaml"), file=str(source)))
    except InputError as error:
        raise UsageError(f"The experiment of {record.run_id} cannot be read again beside {source}:\n{error}") from error
    if record.inputs and record.inputs != experiment.digest:
        return experiment, ["its network, its functions or their payloads have changed since it was run"]
    return experiment, []


def calibrated(folder: Path, experiment: Experiment) -> tuple[Calibration, list[str]]:
    """The calibration that the emulated run in ``folder`` gives, and notes on what it is worth.

    Raises UsageError for a run that cannot be used: one of the twin, one that did not come to its end or is invalid,
    one without a good answer.
    """
    record = store.read_record(folder)
    _refuse(record)
    emulated = Story.read(folder)
    if not emulated.measured:
        raise UsageError(f"{record.run_id} has no invocation that was answered well: nothing can be learnt.")
    known = Calibration(source=_source(record))
    plain = _told(experiment, known)
    known = known.model_copy(
        update={"exec_s": _exec(emulated, plain, experiment), "init_s": _init(emulated, experiment)}
    )
    busy_s = _busy(emulated, plain, experiment)
    bare, loaded = _told(experiment, known), _told(experiment, known.model_copy(update={"busy_s": busy_s}))
    fitting = fitting_share(differences(emulated, bare), differences(loaded, bare))
    known = known.model_copy(update={"busy_s": {role: each * fitting for role, each in busy_s.items()}})
    notes = _notes(record, fitting)
    return known.model_copy(update={"call_s": _call(emulated, _told(experiment, known))}), notes


def _refuse(record: RunRecord) -> None:
    verdict = record.verdict or {"level": "invalid", "reasons": []}
    if record.virtual:
        raise UsageError(f"{record.run_id} is a run of the twin, which takes no time of its own. Name an emulated run.")
    if record.state != "done":
        raise UsageError(f"{record.run_id} did not come to its end (it is {record.state}). Name a finished run.")
    if verdict["level"] == "invalid":
        why = " ".join(reason["what"] for reason in verdict["reasons"])
        raise UsageError(f"{record.run_id} is invalid, so nothing can be learnt from it. {why}".strip())


def _reasons(record: RunRecord) -> list[str]:
    verdict = record.verdict or {"level": "", "reasons": []}
    return [reason["what"] for reason in verdict["reasons"]] if verdict["level"] == "suspect" else []


def _source(record: RunRecord) -> str:
    reasons = _reasons(record)
    return f"{record.run_id} (suspect: {' '.join(reasons)})" if reasons else record.run_id


def _notes(record: RunRecord, fitting: float) -> list[str]:
    reasons = _reasons(record)
    notes = [f"the run is suspect: {' '.join(reasons).rstrip('.')}"] if reasons else []
    if fitting < 1:
        notes.append(f"{1 - fitting:.0%} of the agents' CPU time lies outside of what invocations wait for; left out")
    return notes


def _told(experiment: Experiment, known: Calibration) -> Story:
    """What the twin makes of the experiment with this calibration."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "calibration.json"
        path.write_text(known.model_dump_json(), encoding="utf-8")
        same = from_text(set_path(experiment.document, f"twin.calibration={path}"))
        folder = perform(same, named("twin"), Path(scratch), Quiet())
        record = store.read_record(folder)
        if record.state != "done":
            raise TestbedError(f"The twin could not tell the same story: {record.error}")
        return Story.read(folder)


def _exec(emulated: Story, plain: Story, experiment: Experiment) -> dict[str, Spread]:
    """By function the time inside of it beyond what the twin reckons, where there is any."""
    extra: dict[str, list[float]] = defaultdict(list)
    whole: dict[str, list[float]] = defaultdict(list)
    for number, each in emulated.measured.items():
        twin = plain.answers.get(number)
        if each.exec_s is not None and twin is not None and twin.exec_s is not None:
            extra[each.function].append(each.exec_s - twin.exec_s)
            whole[each.function].append(each.exec_s)
    share, least = MATTERS
    return {
        name: Spread.of(values)
        for name, values in extra.items()
        if experiment.functions[name].code or median(values) > max(least, share * median(whole[name]))
    }


def _init(emulated: Story, experiment: Experiment) -> dict[str, Spread]:
    """By function the time of its cold starts in all phases, since most of them come first."""
    found: dict[str, list[float]] = defaultdict(list)
    for each in emulated.answers.values():
        if each.init_s > 0 and experiment.functions[each.function].code:
            found[each.function].append(each.init_s)
    return {name: Spread.of(values) for name, values in found.items()}


def _busy(emulated: Story, plain: Story, experiment: Experiment) -> dict[str, float]:
    """By role the CPU time for each message that its agents take in, less functions' time and idling.

    What the agent idles is taken from the quietest agent, since all idle alike.
    """
    roles = dict.fromkeys(role for _, role in experiment.placement)
    probed = _told(experiment, Calibration(busy_s=dict.fromkeys(roles, PROBE_S)))
    worker = experiment.system.duties["worker"]
    inside: dict[str, float] = defaultdict(float)
    for each in emulated.answers.values():
        if experiment.functions[each.function].code:
            inside[each.node] += (each.exec_s or 0.0) + each.init_s
    own = {(node, role): spent - (inside[node] if role == worker else 0.0)
           for (node, role), spent in emulated.cpu_s.items()}  # fmt: skip
    rates = [own[agent] / elapsed for agent, elapsed in emulated.elapsed_s.items() if elapsed > 0]
    idle = max(0.0, min([IDLE, *rates]))
    found = {}
    for role in roles:
        mine = [agent for agent in own if agent[1] == role]
        messages = sum((probed.cpu_s.get(agent, 0.0) - plain.cpu_s.get(agent, 0.0)) / PROBE_S for agent in mine)
        spent = sum(max(0.0, own[agent] - idle * emulated.elapsed_s[agent]) for agent in mine)
        if messages >= MESSAGES and spent > 0:
            found[role] = spent / messages
    return found


def differences(ours: Story, theirs: Story) -> list[tuple[float, int]]:
    """(the difference of ``network_s``, hops) of each measured invocation that took the same way in both."""
    pairs = ((each, theirs.answers.get(number)) for number, each in ours.measured.items())
    return [
        (one.network_s - other.network_s, one.hops)
        for one, other in pairs
        if other is not None and one.network_s is not None and other.network_s is not None
        and (one.node, one.hops) == (other.node, other.hops)
    ]  # fmt: skip


def fitting_share(left: Sequence[tuple[float, int]], busy: Sequence[tuple[float, int]]) -> float:
    """The share of the agents' CPU time for which a typical invocation has room in its own time.

    Agents also work after an answer has left: that much keeps nobody waiting at a low load.
    """
    spent = median(amount for amount, _ in busy) if busy else 0.0
    if not left or spent <= 0:
        return 1.0
    return min(1.0, max(0.0, median(amount for amount, _ in left)) / spent)


def _call(emulated: Story, twin: Story) -> Spread:
    """What a call takes beside all that the twin reckons, so that the calls of an invocation make up what is left.

    Equal shares of what is left would not: the sum of several draws spreads less. So the shares are bent until the sums
    spread as what is left does.
    """
    left = differences(emulated, twin)
    if not left:
        return Spread(at=(0.0,))
    calls = round(median(hops for _, hops in left))
    wanted = positive(Spread.of([amount for amount, _ in left]))
    return wanted if calls == 1 else parts(wanted, calls)


def positive(spread: Spread) -> Spread:
    """The distribution without what lies below zero, lowered so that its mean stays; zero if its mean is below zero.

    What is left is negative where a twin's invocation met a queue that its counterpart did not meet. Leaving such out
    alone would count the others, which met one in emulation only, as the machine's.
    """
    goal, low, high = fmean(spread.at), 0.0, max(0.0, *spread.at)
    for _ in range(50):
        cut = (low + high) / 2
        over = fmean(max(0.0, value - cut) for value in spread.at) > goal
        low, high = (cut, high) if over else (low, cut)
    return Spread(at=tuple(max(0.0, value - high) for value in spread.at))


def parts(wanted: Spread, count: int) -> Spread:
    """The distribution of which ``count`` draws add up to ``wanted``, nearly."""
    rng = stream(0, "calibrate", "parts")
    part = Spread(at=tuple(value / count for value in wanted.at))
    for _ in range(ROUNDS):
        sums = Spread.of([sum(part.draw(rng) for _ in range(count)) for _ in range(SUMS)], len(wanted.at) - 1)
        bent = (
            value + (goal - now) / (2 * count) for value, goal, now in zip(part.at, wanted.at, sums.at, strict=True)
        )
        part = Spread(at=tuple(sorted(bent)))
    return part
