"""What people see of capabilities, runs and summaries; every table has its --json twin in ``app.py``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from testbed.store import RunRecord
from testbed.substrate.base import Feature
from testbed.topology.model import Topology

err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)
_COLOURS = {"valid": "green", "suspect": "yellow", "invalid": "red"}


def features(found: Sequence[Feature]) -> None:
    """What this machine can do, what is used where it cannot, and how to get more."""
    table = Table(title="What this machine can do", title_justify="left")
    for name in ("feature", "here", "what was found", "otherwise used", "how to get it"):
        table.add_column(name, overflow="fold")
    for each in found:
        mark = Text("yes", "green") if each.available else Text("no", "yellow")
        table.add_row(each.name, mark, each.detail, each.fallback, each.remedy)
    err.print(table)


def notes(topology: Topology) -> None:
    """What another program's file says and its network here does not have, a line each."""
    for note in topology.notes:
        err.print(note, style="yellow", markup=False, soft_wrap=True)


def verdict_text(level: str) -> Text:
    """The verdict in its colour."""
    return Text(level, _COLOURS.get(level, "dim"))


def runs(records: Sequence[RunRecord]) -> None:
    """The runs of a folder, newest last."""
    table = Table("run", "system", "substrate", "seed", "started", "state", "verdict", "ok", "p50 ms")
    for record in records:
        level = str((record.verdict or {}).get("level", "-"))
        p50 = record.summary.get("response_time_p50_s")
        table.add_row(
            record.run_id,
            record.system,
            record.substrate,
            str(record.seed),
            record.started[:19],
            record.state,
            verdict_text(level),
            str(record.summary.get("ok", "-")),
            f"{p50 * 1e3:.1f}" if p50 else "-",
        )
    err.print(table)


def ending(record: RunRecord) -> None:
    """How a run ended: its error, its verdict with the reasons, its summary in a line."""
    if record.error:
        err.print(Text(f"The run {record.state}: {record.error}", "red"))
    verdict = record.verdict or {}
    if verdict:
        err.print(Text("verdict  ", "bold"), verdict_text(str(verdict["level"])), end="\n", sep="")
        for reason in verdict["reasons"]:
            err.print(Text(f"  {reason['level']}: {reason['what']}"), soft_wrap=True)
    if record.summary:
        summary(record.summary)
    if record.published.get("rows"):
        published(record.published)


def summary(row: Mapping[str, object]) -> None:
    """The run's summary over all functions, in one table."""
    table = Table(title="Invocations, all functions, phase measure", title_justify="left")
    names = (
        "scheduled",
        "ok",
        "failed",
        "throughput",
        "response_time_p50_s",
        "response_time_p90_s",
        "response_time_p95_s",
    )
    for name in names:
        table.add_column(
            name.removesuffix("_s").replace("_", " ") + (" ms" if name.endswith("_s") else ""), justify="right"
        )
    table.add_row(*(_cell(name, row.get(name)) for name in names))
    err.print(table)


def _cell(name: str, value: object) -> str:
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value * 1e3:.1f}" if name.endswith("_s") else f"{value:.4g}"


def published(data: Mapping[str, object]) -> None:
    """Measured beside published values, whatever they are."""
    table = Table(title=f"Published in {data['source']}", title_justify="left")
    for name in ("what", "published", "measured", "difference", "tolerance", "reproduced"):
        table.add_column(name)
    rows = data["rows"]
    assert isinstance(rows, list)
    for row in rows:
        table.add_row(
            *(str(row[name]) for name in ("name", "published", "measured", "difference", "tolerance")),
            Text("yes", "green") if row["reproduced"] else Text("no", "red"),
        )
    err.print(table)
