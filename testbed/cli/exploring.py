"""``testbed explore``: progress while seeds are tried, then what was found, smallest first, and how to see it again."""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed import units
from testbed.cli.modelling import EXPLORED
from testbed.cli.options import say
from testbed.cli.tables import err
from testbed.errors import UsageError
from testbed.experiment.load import load
from testbed.explore.exploring import Finding, Search, explore, shrunk
from testbed.explore.faults import Chances, chosen, kinds_of
from testbed.explore.trial import Tale


@dataclass(frozen=True)
class Wish:
    """The command line: what is explored, under which faults, and where timelines go."""

    experiment: Path
    sets: Sequence[str]
    faults: str
    every: str
    lasting: str
    heal_by: float
    out: Path

    def search(self) -> Search:
        """Raises InputError and UsageError for what does not fit together."""
        every_s, lasting_s = _seconds("--every", self.every), _seconds("--lasting", self.lasting)
        if every_s <= 0 or not 0 < self.heal_by <= 1:
            raise UsageError("--every has to be above 0s, and --heal-by above 0 and at most 1.")
        chances = Chances(kinds_of(self.faults), every_s, self.heal_by)
        return Search(load(self.experiment, self.sets), chances, lasting_s)

    def again(self, seed: int, only: Collection[int] | None = None) -> str:
        """The command that tells one run again."""
        words = ["testbed", "explore", str(self.experiment), "--seed", str(seed)]
        words += ["--only", ",".join(map(str, only)) or "none"] if only is not None else []
        words += ["--faults", self.faults] if self.faults != EXPLORED["faults"] else []
        words += ["--every", self.every] if self.every != EXPLORED["every"] else []
        words += ["--lasting", self.lasting] if self.lasting != EXPLORED["lasting"] else []
        words += ["--heal-by", f"{self.heal_by:g}"] if self.heal_by != EXPLORED["heal_by"] else []
        return shlex.join([*words, *(word for each in self.sets for word in ("--set", each))])

    def save(self, seed: int, tale: Tale, suffix: str = "") -> Path:
        """Write a whole timeline; its file."""
        folder = self.out / "explore"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.experiment.stem}-seed-{seed}{suffix}.txt"
        path.write_text(tale.timeline.text(), encoding="utf-8")
        return path


def _seconds(option: str, text: str) -> float:
    try:
        return units.delay(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: give a time with its unit, such as 5s.") from error


def explore_seeds(wish: Wish, first: int, runs: int, shrink: bool, as_json: bool) -> int:
    """Try ``runs`` seeds from ``first`` on, and tell what was found; the exit status."""
    search, began = wish.search(), time.monotonic()
    found: list[Finding] = []
    tried = invocations = 0
    for part in explore(search, range(first, first + runs)):
        tried, invocations = tried + part.seeds, invocations + part.invocations
        found += part.findings
        if not as_json:
            err.print(f"{tried} of {runs} runs, {len(found)} with a violation", soft_wrap=True)
    found.sort(key=lambda each: each.seed)
    taken = time.monotonic() - began
    if as_json:
        say([asdict(each) for each in found])
    for name in dict.fromkeys(each.violation.invariant for each in found) if not as_json else ():
        same = [each for each in found if each.violation.invariant == name]
        _tell_finding(wish, search, same, shrink)
    rate = 60 * tried / taken
    err.print(
        f"{tried} runs with {invocations} invocations in {taken:.0f} s ({rate:.0f} a minute): "
        + (f"{len(found)} violate an invariant." if found else "all invariants hold."),
        soft_wrap=True,
    )
    return 1 if found else 0


def _tell_finding(wish: Wish, search: Search, same: Sequence[Finding], shrink: bool) -> None:
    """The first of the runs that violate one invariant, with as few faults as it takes."""
    first = same[0]
    seeds = ", ".join(str(each.seed) for each in same[:10]) + (", ..." if len(same) > 10 else "")
    smallest = shrunk(search, first) if shrink else first
    tale = search.tell(first.seed, smallest.faults)
    _print(f"\n{first.violation.invariant}: violated in {len(same)} runs (seeds {seeds}). It promises:")
    _print(f"    {first.violation.promise}")
    _print(f"Seed {first.seed}, {len(smallest.faults)} of its {len(first.faults)} faults:")
    for fault in chosen(search.faults(first.seed), smallest.faults):
        _print(f"    {fault}")
    _print_tale(wish, first.seed, tale)
    _print(f"With these faults again:  {wish.again(first.seed, smallest.faults)}")
    _print(f"With all of its faults:   {wish.again(first.seed)}")


def replay(wish: Wish, seed: int, only: str | None) -> int:
    """Tell one run again; the exit status."""
    search = wish.search()
    numbers = None if only is None else [] if only == "none" else _numbers(only)
    for fault in chosen(search.faults(seed), numbers):
        _print(f"    {fault}")
    tale = search.tell(seed, numbers)
    _print_tale(wish, seed, tale)
    return 1 if tale.violation else 0


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--only {text}: give numbers of faults with commas, or none.") from None


def _print_tale(wish: Wish, seed: int, tale: Tale) -> None:
    path = wish.save(seed, tale)
    _print(tale.timeline.tail().rstrip("\n"))
    if tale.violation is not None:
        _print(f"At {tale.violation.t:.3f} s: {tale.violation.sentence}")
    else:
        _print("All invariants hold.")
    _print(f"Whole timeline:           {path}")


def _print(text: str) -> None:
    print(text)  # noqa: T201 - the product of the command
