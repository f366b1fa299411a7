"""Firing: on time whatever the answers do, and a row for every invocation whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from virtual import VirtualEnvironment, run

from testbed.collect.invocations import collect
from testbed.roles.api import CallFailed, Client, Environment, Invocation, Outcome, Site
from testbed.roles.live import LiveEnvironment
from testbed.roles.precise import precise_loop
from testbed.workload import files
from testbed.workload.client import drive
from testbed.workload.schedule import Plan, schedule
from testbed.workload.spec import Workload

EVERY_100_MS = {"model": "deterministic", "rate": "10/s"}
Invoke = Callable[[Environment, Invocation], Awaitable[Outcome]]


class Sample(Client):
    """A client whose answers are made by a function; keeps what it was asked and when."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke
        self.asked: list[tuple[float, Invocation]] = []

    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        self.asked.append((env.now(), invocation))
        return await self._invoke(env, invocation)


def after(seconds: float) -> Invoke:
    async def invoke(env: Environment, invocation: Invocation) -> Outcome:
        await env.sleep(seconds)
        return Outcome("ok", node="w", exec_s=seconds, response_bytes=len(invocation.payload))

    return invoke


def planned(folder: Path, *arrivals: dict[str, Any], **keys: Any) -> Plan:
    spec = Workload.model_validate({"duration": "10s", "traffic": [{"arrivals": each} for each in arrivals]} | keys)
    plan = schedule(spec, ["c"], ["f"], 1)["c"]
    files.write(plan, folder)
    return plan


def fired(folder: Path, invoke: Invoke, *arrivals: dict[str, Any], stop_at: float | None = None, **keys: Any) -> Sample:
    """Fire the arrivals in virtual time, from second 5 of the clock on."""
    planned(folder, *arrivals, **keys)
    role = Sample(invoke)

    async def main() -> None:
        env = VirtualEnvironment(folder)
        firing = asyncio.ensure_future(drive(role, env, folder, 5.0))
        if stop_at is not None:
            await asyncio.sleep(5.0 + stop_at)
            firing.cancel()
        await asyncio.wait({firing})
        if stop_at is None:
            firing.result()

    run(main())
    return role


def rows(folder: Path) -> list[dict[str, Any]]:
    """The merged rows; fails if any line of what the client wrote was refused."""
    merged = collect([folder])
    assert merged.refused == []
    return merged.rows


def statuses(folder: Path) -> dict[str, int]:
    return dict(Counter(row["status"] for row in rows(folder)))


def test_sends_at_the_scheduled_times_and_never_waits_for_answers(tmp_path: Path) -> None:
    role = fired(tmp_path, after(2.95), EVERY_100_MS)
    assert [t for t, _ in role.asked] == pytest.approx([5.0 + n / 10 for n in range(100)])
    found = rows(tmp_path)
    assert statuses(tmp_path) == {"ok": 100}
    assert all(row["response_time_s"] == pytest.approx(2.95) for row in found)
    assert [row["in_flight"] for row in found][28:32] == [28, 29, 29, 29]


def test_what_is_beyond_the_limit_in_flight_is_dropped_and_recorded(tmp_path: Path) -> None:
    fired(tmp_path, after(1.05), EVERY_100_MS, in_flight=5)
    found = rows(tmp_path)
    assert len(found) == 100 and statuses(tmp_path) == {"ok": 46, "dropped": 54}
    assert max(row["in_flight"] for row in found) == 5
    dropped = [row for row in found if row["status"] == "dropped"]
    assert all(row["t_sent"] is None and row["t_done"] is None for row in dropped)
    assert {row["error"] for row in dropped} == {"5 invocations of this client were under way"}


def test_gives_up_after_the_timeout_counted_from_sending(tmp_path: Path) -> None:
    fired(tmp_path, after(60.0), EVERY_100_MS, timeout="2s")
    assert statuses(tmp_path) == {"timeout": 100}
    assert all(row["service_latency_s"] == pytest.approx(2.0) for row in rows(tmp_path))
    assert rows(tmp_path)[0]["error"] == "no answer within 2 s"


@pytest.mark.parametrize(("error", "status", "said"), [
    (CallFailed("unreachable", "10.0.0.2: refused"), "error", "unreachable: 10.0.0.2: refused"),
    (CallFailed("timeout", "no answer"), "timeout", "timeout: no answer"),
    (KeyError("reply"), "error", "the client itself failed: KeyError: 'reply'"),
])
def test_an_error_of_one_invocation_is_its_row_and_spoils_no_other(
    tmp_path: Path, error: Exception, status: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def invoke(env: Environment, invocation: Invocation) -> Outcome:
        if invocation.invocation_id == 7:
            raise error
        return Outcome("ok")

    fired(tmp_path, invoke, EVERY_100_MS)
    found = rows(tmp_path)
    assert statuses(tmp_path) == {"ok": 99, status: 1}
    assert (found[7]["status"], found[7]["error"]) == (status, said)
    assert ("Traceback" in capsys.readouterr().err) == isinstance(error, KeyError)


def test_all_that_a_system_tells_reaches_the_row(tmp_path: Path) -> None:
    told = Outcome("rejected", "full,\r \"quite\"\nfull", "w7", 3, 0.5, 0.25, 0.125, True, 0.75, 42, 2, "output")

    async def invoke(env: Environment, invocation: Invocation) -> Outcome:
        return told

    fired(tmp_path, invoke, EVERY_100_MS)
    row = rows(tmp_path)[0]
    assert row["error"] == "full,  \"quite\"\nfull"
    for name in ("status", "node", "hops", "init_s", "queue_s", "exec_s", "cold", "load", "response_bytes",
                 "retries"):
        assert row[name] == getattr(told, name)
    assert (row["client"], row["function"], row["request_bytes"], row["phase"]) == ("c", "f", 100, "measure")


def test_stopped_it_records_what_was_under_way_as_lost_and_the_rest_as_unsent(tmp_path: Path) -> None:
    role = fired(tmp_path, after(1.0), EVERY_100_MS, stop_at=4.55)
    assert statuses(tmp_path) == {"ok": 36, "lost": 10, "unsent": 54}
    found = rows(tmp_path)
    assert [row["status"] for row in found] == ["ok"] * 36 + ["lost"] * 10 + ["unsent"] * 54
    assert len(role.asked) == 46 and all(row["t_sent"] is not None for row in found[36:46])
    assert found[-1]["error"] == "the client was stopped before this was due"


def test_stopped_before_the_first_sending_all_is_unsent(tmp_path: Path) -> None:
    fired(tmp_path, after(1.0), EVERY_100_MS, stop_at=-1.0)
    assert statuses(tmp_path) == {"unsent": 100}


def test_progress_ends_with_the_true_counts(tmp_path: Path) -> None:
    fired(tmp_path, after(0.2), EVERY_100_MS, in_flight=1)
    told = json.loads((tmp_path / "progress.json").read_text())
    counted = Counter(row["status"] for row in rows(tmp_path))
    assert (told["scheduled"], told["sent"], told["done"]) == (100, counted["ok"], 100)
    assert told["failed"] == told["dropped"] == counted["dropped"] > 0
    assert told["response_time_p50_s"] == pytest.approx(0.2, rel=0.03)


def spans(found: list[dict[str, Any]], user: str) -> list[tuple[float, float]]:
    return sorted((row["t_sent"], row["t_done"]) for row in found if row["user"] == user and row["t_done"] is not None)


def test_a_paced_user_has_one_invocation_under_way_and_catches_up(tmp_path: Path) -> None:
    async def invoke(env: Environment, invocation: Invocation) -> Outcome:
        await env.sleep(2.5 if invocation.t_scheduled == 2.0 else 0.1)
        return Outcome("ok")

    fired(tmp_path, invoke, {"model": "closed", "users": 2, "pace": "1s"})
    found = rows(tmp_path)
    for user in ("c.0.0", "c.0.1"):
        mine = spans(found, user)
        assert all(done <= sent for (_, done), (sent, _) in pairwise(mine))
        assert [sent for sent, _ in mine] == pytest.approx([1, 2, 4.5, 4.6, 5, 6, 7, 8, 9])
    assert all(row.get("send_delay_s") is None for row in found)  # a busy user is no fault of the generator


def test_what_a_paced_user_did_not_come_to_is_unsent(tmp_path: Path) -> None:
    fired(tmp_path, after(3.1), {"model": "closed", "pace": "1s"})
    found = rows(tmp_path)
    assert [row["status"] for row in found] == ["ok"] * 3 + ["unsent"] * 6
    assert found[-1]["error"] == "the user still waited for an earlier answer when the workload ended"


def test_a_thinking_user_pauses_after_each_answer(tmp_path: Path) -> None:
    fired(tmp_path, after(0.5), {"model": "closed", "users": 3, "think": "1100ms"}, EVERY_100_MS)
    found = rows(tmp_path)
    for user in ("c.0.0", "c.0.1", "c.0.2"):
        assert [sent for sent, _ in spans(found, user)] == pytest.approx([1.1, 2.7, 4.3, 5.9, 7.5, 9.1])
    assert len(found) == len({row["invocation_id"] for row in found}) == 100 + 18
    assert [row["invocation_id"] for row in found if row["user"] == "c.0.1"] == [101, 104, 107, 110, 113, 116]


def test_thinking_is_drawn_from_the_seed_and_each_user_alone(tmp_path: Path) -> None:
    loop = {"model": "closed", "users": 2, "think": "500ms", "spread": "exponential"}
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fired(tmp_path / name, after(0.1), loop)
        found.append([(row["invocation_id"], row["t_sent"]) for row in rows(tmp_path / name)])
    assert found[0] == found[1]
    assert len({t for _, t in found[0]}) == len(found[0])


# In real time: nothing is asserted but order, completeness and comparisons.


def live(folder: Path, role: Client, beside: Callable[[], Awaitable[None]] | None = None) -> None:
    async def main() -> None:
        env = LiveEnvironment(Site("c", "client", 1, {"c": "127.0.0.1"}, {}, {}), None, folder)  # type: ignore[arg-type]
        firing = asyncio.ensure_future(drive(role, env, folder, env.now() + 0.05))
        if beside is not None:
            await beside()
        await firing

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(main())


def test_being_late_moves_no_later_invocation(tmp_path: Path) -> None:
    planned(tmp_path, {"model": "deterministic", "rate": "100/s"}, duration="2s")

    async def invoke(env: Environment, invocation: Invocation) -> Outcome:
        if invocation.invocation_id == 50:
            time.sleep(0.5)  # blocks the generator on purpose
        return Outcome("ok")

    live(tmp_path, Sample(invoke))
    found = rows(tmp_path)
    assert len(found) == 200 and statuses(tmp_path) == {"ok": 200}
    assert found[52]["send_delay_s"] > 0.4 and found[52]["response_time_s"] > 0.4
    assert found[199]["send_delay_s"] < found[52]["send_delay_s"] / 2


def test_rows_and_progress_can_be_read_while_it_runs(tmp_path: Path) -> None:
    planned(tmp_path, {"model": "deterministic", "rate": "50/s"}, duration="3s")
    seen: list[int] = []

    async def look() -> None:
        deadline = time.monotonic() + 30
        while not seen or seen[-1] < 20:
            assert time.monotonic() < deadline, f"rows seen so far: {seen[-5:]}"
            await asyncio.sleep(0.05)
            seen.append(sum(row["status"] == "ok" for row in rows(tmp_path)))
        assert seen[-1] < 150
        assert json.loads((tmp_path / "progress.json").read_text())["scheduled"] == 150

    live(tmp_path, Sample(after(0.01)), look)
    assert statuses(tmp_path) == {"ok": 150}


@pytest.mark.alone
def test_the_precise_loop_is_closer_to_the_schedule_than_the_stock_one() -> None:
    async def lateness() -> float:
        loop, errors = asyncio.get_running_loop(), []
        begin = loop.time() + 0.01
        for number in range(80):
            due = begin + number * 0.0037
            await asyncio.sleep(due - loop.time())
            errors.append(loop.time() - due)
        return sorted(errors)[40]

    precise, stock = [], []
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        for _ in range(6):  # by turns, so that what else goes on is the same for both
            precise.append(runner.run(lateness()))
            stock.append(asyncio.run(lateness()))
    assert min(precise) < min(stock)
