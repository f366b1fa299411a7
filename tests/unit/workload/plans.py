"""Schedules in few words, for the tests of the workload."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from testbed.roles.api import Invocation
from testbed.workload.schedule import schedule
from testbed.workload.spec import Workload

CLIENTS, FUNCTIONS = ("c1", "c2"), ("f", "g")


def workload(*traffic: dict[str, Any], **keys: Any) -> Workload:
    return Workload.model_validate({"duration": "100s", "traffic": list(traffic)} | keys)


def plan(arrivals: dict[str, Any], seed: int = 1, client: str = "c1", **keys: Any) -> list[Invocation]:
    spec = workload({"arrivals": arrivals} | keys)
    return list(schedule(spec, CLIENTS, FUNCTIONS, seed)[client].invocations)


def times(arrivals: dict[str, Any], seed: int = 1, **keys: Any) -> list[float]:
    return [each.t_scheduled for each in plan(arrivals, seed, **keys)]


def gaps(found: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(found)]
