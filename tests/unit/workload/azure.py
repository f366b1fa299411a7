"""Files in the formats of the Azure Functions traces in few words, for the tests of their replay."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plans import CLIENTS, FUNCTIONS, workload

from testbed.roles.api import Invocation
from testbed.roles.modelled import stated_service_s
from testbed.workload.schedule import schedule

IDS = "HashOwner,HashApp,HashFunction"
PERCENTILES = ",".join(f"percentile_Average_{share}" for share in (0, 1, 25, 50, 75, 99, 100))


def invocations(path: Path, calls: dict[str, Sequence[int]]) -> Path:
    """Calls a minute of functions called ``owner,app,function``."""
    minutes = len(next(iter(calls.values())))
    lines = [f"{IDS},Trigger,{','.join(map(str, range(1, minutes + 1)))}"]
    lines += [f"{name},http,{','.join(map(str, counts))}" for name, counts in calls.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def durations(path: Path, percentiles: dict[str, str]) -> Path:
    """Percentiles in milliseconds (text) of functions called ``owner,app,function``; each counted 9 calls."""
    lines = [f"{IDS},Average,Count,Minimum,Maximum,{PERCENTILES}"]
    lines += [f"{name},1,9,0,9,{values}" for name, values in percentiles.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def replayed(tmp_path: Path, seed: int = 1, clients: Sequence[str] = ("c1",), **keys: Any) -> list[Invocation]:
    """All invocations of a replay, in order of time; in two hours, with a payload of 3 bytes."""
    arrivals = {"like": "f"} | keys
    if arrivals.setdefault("model", "azure2019") == "azure2019":
        arrivals = {"invocations": "i.csv", "gaps": "uniform", "minutes": [1, 3]} | arrivals
    spec = workload({"arrivals": arrivals, "payload": {"text": "abc"}}, duration="2h")
    plans = schedule(spec, clients, FUNCTIONS, seed, tmp_path)
    return sorted((each for plan in plans.values() for each in plan.invocations), key=lambda each: each.invocation_id)


def services(found: Sequence[Invocation]) -> list[float | None]:
    """The seconds that each payload states; the rest of it is checked to be as it was asked for."""
    assert {json.loads(each.payload)["input"] if "{" in each.payload else each.payload for each in found} == {"abc"}
    return [stated_service_s(each.payload) for each in found]


__all__ = ["CLIENTS", "durations", "invocations", "replayed", "services"]
