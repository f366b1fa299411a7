"""What tests of systems under random faults have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.explore.exploring import Finding, Search, explore
from testbed.roles.api import Observed, System


def found(search: Search, seeds: range) -> list[Finding]:
    """All that is found."""
    return [finding for part in explore(search, seeds) for finding in part.findings]


def said(findings: list[Finding]) -> list[str]:
    """All that was found, in words."""
    return [f"seed {each.seed}: {each.violation.invariant}: {each.violation.sentence}" for each in findings]


def first(search: Search, seeds: range) -> str:
    """The invariant that is violated first, in whichever run; nothing where none is."""
    violations = (search.tell(seed).violation for seed in seeds)
    return next((each.invariant for each in violations if each is not None), "")


def wrong(system: System, now: float, agents: Mapping[tuple[str, str], Any]) -> set[str]:
    """The invariants that are violated now, all having been well for long; ``agents`` are those of a twin."""
    roles = {name: agent.role for name, agent in agents.items()}
    seen = Observed(now=now, agents=roles, started={}, since=now - 999, ended={}, dead={})
    return {each.name for each in system.invariants if list(each.check(seen))}
