"""The results of a run in the files that the original's programs write, so that its scripts can read them.

``edgeclient-<client>.dat``: t, latency, load1, responder, function (a chain's functions joined by ``-``), hops of each
good answer, times in seconds since the workload's start; failed calls are left out, as there.
``edgecomputer-<node>.dat``: t, processor, utilisation.
``loss.dat``: client, 1 - done/expected.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from testbed.errors import UsageError


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _chains(path: Path) -> dict[str, str]:
    """What the invocations of chains ran, by number."""
    return {row["invocation_id"]: row["functions"] for row in _rows(path)} if path.is_file() else {}


def write(run: Path, folder: Path) -> list[Path]:
    """Write the files of a run into ``folder``; raises UsageError for what is no run."""
    invocations = run / "invocations.csv"
    if not invocations.is_file():
        raise UsageError(f"{run} is no folder of a run: it has no invocations.csv.")
    found: dict[str, list[str]] = {}
    asked: defaultdict[str, int] = defaultdict(int)
    chains = _chains(run / "soe_chains.csv")
    for row in _rows(invocations):
        lines = found.setdefault(f"edgeclient-{row['client']}.dat", [])
        asked[row["client"]] += 1
        if row["status"] == "ok":
            load = round(100 * float(row["load"] or 0))
            took = row["service_latency_s"] or row["response_time_s"]
            function = chains.get(row["invocation_id"], row["function"])
            lines.append(f"{row['t_done']} {took} {load} {row['node'] or '-'} {function} {row['hops'] or 0}")
    loss = [f"{client} {1 - len(found[f'edgeclient-{client}.dat']) / count:g}" for client, count in asked.items()]
    if (run / "soe_utilization.csv").is_file():
        for row in _rows(run / "soe_utilization.csv"):
            lines = found.setdefault(f"edgecomputer-{row['node']}.dat", [])
            lines.append(f"{row['t']} {row['processor']} {row['load']}")
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder / name, lines) for name, lines in sorted({**found, "loss.dat": loss}.items())]


def _write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
