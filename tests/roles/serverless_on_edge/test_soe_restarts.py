"""Controller, router and computer die and return under load, in every order: nobody's call is lost without a word.

The tables are right again within the time that the documentation of the role states, and calls end well from then on.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path

import pytest

from roles.serverless_on_edge.announcing import CALL_TIMEOUT_S
from roles.serverless_on_edge.invariants import EXPIRIES, SLACK_S
from testbed.cli import main
from testbed.places import home
from testbed.store import find

HEARTBEAT_S, EXPIRY_S, PUSH_S, ROUTERS = 0.5, 3.0, 0.5, ("e1", "e2")
STATED_S = CALL_TIMEOUT_S + HEARTBEAT_S + EXPIRIES * EXPIRY_S + 2 * PUSH_S * len(ROUTERS) + SLACK_S
LOOKED_AT_S = 2.0  # of calls after that time
EVERY_S, AT_ONCE = 0.1, 2
HOSTS = {"controller": "ctl", "router": "e1", "computer": "w1"}
EXPERIMENT = f"""
name: soe-restarts
topology:
  nodes:
   {{ctl: {{}}, e1: {{}}, e2: {{}}, w1: {{}}, w2: {{}}, c1: {{}}, c2: {{}}, s1: {{kind: switch}}, s2: {{kind: switch}}}}
  links:
    - {{ends: [ctl, s1], delay: 1ms}}
    - {{ends: [e1, s1], delay: 1ms}}
    - {{ends: [w1, s1], delay: 1ms}}
    - {{ends: [c1, s1], delay: 1ms}}
    - {{ends: [s1, s2], delay: 2ms}}
    - {{ends: [e2, s2], delay: 1ms}}
    - {{ends: [w2, s2], delay: 1ms}}
    - {{ends: [c2, s2], delay: 1ms}}
system: serverless_on_edge
place: {{control: ctl, gateway: [e1, e2], worker: [w1, w2], client: [c1, c2]}}
functions: {{f: {{service: 5ms}}, g: {{service: 10ms}}}}
settings:
  serverless_on_edge:
    controller: {{expire-after: {EXPIRY_S}, push-timeout: {PUSH_S}}}
    router: {{heartbeat-period: {HEARTBEAT_S}, num-threads: 50, table-conf: type=round-robin}}
    computer: {{heartbeat-period: {HEARTBEAT_S}}}
    client: {{retries: 2}}
"""
Event = tuple[float, str, str]  # when, kill or restart, the role


def in_turn(order: Sequence[str], pause_s: float = 1.0) -> list[Event]:
    """One after the other dies and returns."""
    events = []
    for number, role in enumerate(order):
        events += [(1.0 + 2 * number * pause_s, "kill", role), (1.0 + (2 * number + 1) * pause_s, "restart", role)]
    return events


def all_at_once(order: Sequence[str], pause_s: float = 0.7) -> list[Event]:
    """All die, and return in this order."""
    dead = [(1.0, "kill", role) for role in order]
    return [*dead, *((2.0 + number * pause_s, "restart", role) for number, role in enumerate(order))]


def experiment(folder: Path, events: Sequence[Event]) -> Path:
    """The file with these events."""
    duration = max(at for at, *_ in events) + STATED_S + LOOKED_AT_S
    lines = [f"  - {{at: {at:g}s, do: {do}, node: {HOSTS[role]}, role: {role}}}" for at, do, role in events]
    batches = f"{{model: batches, every: {EVERY_S:g}s, size: {AT_ONCE}}}"
    workload = f"workload:\n  duration: {duration:g}s\n  timeout: 2s\n  traffic:\n    - {{arrivals: {batches}, "
    path = folder / "restarts.yaml"
    path.write_text(EXPERIMENT + workload + "functions: {f: 1, g: 1}}\ntimeline:\n" + "\n".join(lines) + "\n")
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def settled(found: Path, last: float, born: float) -> float:
    """The first moment from ``last`` on at which each table of each router leads to both computers for both functions.

    ``born``: when the router that had died began anew, with empty tables.
    """
    tables: dict[tuple[str, str], set[tuple[str, str]]] = {(node, n): set() for node in ROUTERS for n in "01"}
    moment = last
    for row in sorted(rows(found / "soe_tables.csv"), key=lambda row: float(row["t"])):
        at, entry, table = float(row["t"]), (row["function"], row["destination"]), tables[row["node"], row["table"]]
        if at > last and all(len(each) == 4 for each in tables.values()):
            return moment
        if row["node"] == HOSTS["router"] and at < born:
            continue
        moment = max(last, at)
        if row["action"] == "flush":
            table.clear()
        elif row["action"] in ("remove", "evict"):
            table.discard(entry)
        else:
            table.add(entry)
    raise AssertionError(f"the tables never were what they should be; in the end they were {tables}")


def check(found: Path) -> None:
    """All calls have their rows, those that were not answered well say why; and all is well in time."""
    calls, events = rows(found / "invocations.csv"), rows(found / "events.csv")
    moments = {row["subject"].split()[0]: float(row["t_actual"]) for row in events if row["kind"] == "restart"}
    last = max(moments.values())
    assert [int(row["invocation_id"]) for row in calls] == list(range(len(calls)))
    assert len(calls) >= 2 * AT_ONCE * int((last + STATED_S) / EVERY_S)
    assert {row["status"] for row in calls} <= {"ok", "error", "rejected", "timeout"}
    assert [row for row in calls if row["status"] != "ok" and not row["error"]] == []
    assert {row["client"] for row in calls if row["status"] == "ok"} == {"c1", "c2"}
    took = settled(found, last, moments["router"]) - last
    assert took <= STATED_S, f"{took:.2f} s; {STATED_S:g} s are stated"
    late = [row for row in calls if float(row["t_scheduled"]) > last + STATED_S]
    assert len(late) > 20
    assert {(row["status"], row["error"]) for row in late} == {("ok", "")}
    assert {row["node"] for row in late} == {"w1", "w2"}


def twin(folder: Path, events: Sequence[Event]) -> Path:
    path = experiment(folder, events)
    main(["run", str(path), "--substrate", "twin", "--out", str(folder / "runs"), "--quiet", "--no-figures"])
    return find("last", folder / "runs")


@pytest.mark.parametrize("order", list(permutations(HOSTS)), ids=" ".join)
@pytest.mark.parametrize("shape", [in_turn, all_at_once])
def test_whatever_dies_and_returns_in_whatever_order_all_is_well_in_time(
    tmp_path: Path, order: Sequence[str], shape: Callable[[Sequence[str]], list[Event]]
) -> None:
    found = twin(tmp_path, shape(order))
    check(found)
    # The router and the computer that nobody touches answer every call, whatever happens to the others.
    assert {row["status"] for row in rows(found / "invocations.csv") if row["client"] == "c2"} == {"ok"}
    carried_out = [row for row in rows(found / "soe_executions.csv") if not row["error"]]
    assert len(carried_out) >= sum(row["status"] == "ok" for row in rows(found / "invocations.csv"))


@pytest.mark.alone
@pytest.mark.feature("netns")
@pytest.mark.parametrize("events", [in_turn(("controller", "router", "computer")),
                                    all_at_once(("computer", "router", "controller"))],
                         ids=["in turn", "all at once"])  # fmt: skip
def test_the_same_holds_on_a_real_network(tmp_path: Path, events: list[Event]) -> None:
    words = ["run", str(experiment(tmp_path, events)), "--out", str(tmp_path / "runs"), "--quiet", "--no-figures"]
    done = subprocess.run([sys.executable, "-m", "testbed", *words], cwd=home(), capture_output=True, text=True)
    assert (tmp_path / "runs").exists(), done.stderr
    check(find("last", tmp_path / "runs"))
