"""Many seeds on all processors; what they violate; and for each violation the fewest faults that still bring it about.

search = Search(load(path), Chances(kinds_of("crash,partition")))
for finding in explore(search, range(1, 1001)):
    print(finding.violation.sentence, shrunk(search, finding).faults)
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from testbed import parallel
from testbed.experiment.model import Experiment
from testbed.explore.faults import Chances, Fault, Ground, chosen
from testbed.explore.trial import Tale, Violation, tell

SETTLE_S = 75.0  # of peace before the last look: longer than any time-out of the systems
AT_ONCE = 20  # seeds that one process tries, at most
MOST_TRIES = 60  # runs that shrinking may take


@dataclass(frozen=True)
class Search:
    """An experiment, the faults that its runs may meet, and how long a run is at least, in seconds.

    In the end all is well for ``settle_s`` seconds before the last look.
    """

    experiment: Experiment
    chances: Chances
    lasting_s: float = 150.0
    settle_s: float = SETTLE_S

    def faults(self, seed: int) -> tuple[Fault, ...]:
        """All that goes wrong in the run with this seed."""
        client = self.experiment.system.duties["client"]
        spared = frozenset(self.experiment.clients)
        ground = Ground(self.experiment.topology, self.experiment.placement, spared, client)
        return self.chances.draw(seed, ground, max(self.lasting_s, self.experiment.workload.ends_s))

    def tell(self, seed: int, only: Collection[int] | None = None) -> Tale:
        """The run with this seed, under all its faults or only those with these numbers."""
        file = self.experiment.file.model_copy(update={"seed": seed})
        return tell(replace(self.experiment, file=file), chosen(self.faults(seed), only), self.settle_s)


@dataclass(frozen=True, slots=True)
class Finding:
    """A run that violates an invariant: its seed, the numbers of its faults, what was violated."""

    seed: int
    faults: tuple[int, ...]
    violation: Violation


@dataclass(frozen=True, slots=True)
class Tried:
    """So many more seeds were tried; ``findings`` are what they violated, ``invocations`` how many were sent."""

    seeds: int
    invocations: int
    findings: tuple[Finding, ...]


def explore(search: Search, seeds: Sequence[int]) -> Iterator[Tried]:
    """Try each seed, on all processors; yields as parts are done, in no particular order."""
    size = max(1, min(AT_ONCE, len(seeds) // 8))
    parts = [seeds[begin : begin + size] for begin in range(0, len(seeds), size)]
    for _, text in parallel.each([partial(_tried, search, part) for part in parts]):
        said = json.loads(text)
        findings = [Finding(seed, tuple(faults), Violation(**what)) for seed, faults, what in said["findings"]]
        yield Tried(said["seeds"], said["invocations"], tuple(findings))


def _tried(search: Search, seeds: Sequence[int]) -> str:
    findings, invocations = [], 0
    for seed in seeds:
        tale = search.tell(seed)
        invocations += tale.invocations
        if tale.violation is not None:
            findings.append((seed, [fault.number for fault in search.faults(seed)], asdict(tale.violation)))
    return json.dumps({"seeds": len(seeds), "invocations": invocations, "findings": findings})


def shrunk(search: Search, finding: Finding, tries: int = MOST_TRIES) -> Finding:
    """The same seed with as few faults as still violate the same invariant; gives up looking after ``tries`` runs.

    Drops halves, quarters, ... and in the end single faults, as delta debugging does.
    """
    best, size = finding, len(finding.faults)
    while size >= 1 and tries > 0 and best.faults:
        better = None
        for begin in range(0, len(best.faults), size):
            rest = best.faults[:begin] + best.faults[begin + size :]
            tries -= 1
            found = search.tell(finding.seed, rest).violation
            if found is not None and found.invariant == finding.violation.invariant:
                better = Finding(finding.seed, rest, found)
                break
            if not tries:
                break
        if better is None:
            size //= 2
        else:
            best, size = better, max(1, min(size, len(better.faults)))
    return best
