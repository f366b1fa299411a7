"""A server and two invokers in emulation: namespaces, shaped links, agents, real actions; some are killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emulated_fleet
import pytest
from test_wsk_npm_client import CLIENT, ZIP
from wsk_live import GUEST, clean_environment

sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
from in_arena import passes

from roles.openwhisk.options import PORT
from testbed.places import home

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("relay")]
HERE = Path(__file__).parent
SLOW = "import time\ndef main(p):\n    time.sleep(p.get('s', 0))\n    return {'x': p}"


class Emulated(emulated_fleet.Emulated):
    """What is up, and short ways to ask it."""

    @property
    def server(self) -> str:
        """``host:port`` of the server."""
        return f"{self.experiment.topology.address('s')}:{PORT}"

    def curl(self, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and data that the client's machine gets."""
        url = f"http://{self.server}/api/v1/namespaces/_/{path}"
        data = [] if body is None else ["-H", "content-type: application/json", "-d", json.dumps(body)]
        argv = ["curl", "-sS", "-m", "60", "-w", "\n%{http_code}", "-u", GUEST, "-X", verb, *data, url]
        done = self.network.host("c1").run(argv, check=False, timeout=90)
        assert done.status == 0, done.stderr
        text, _, code = done.stdout.rpartition("\n")
        return int(code), json.loads(text)

    def until(self, question: Callable[[], tuple[int, Any]], status: int = 200) -> Any:
        """Ask until the status is as wanted; the data then."""
        for _ in range(200):
            found = question()
            if found[0] == status:
                return found[1]
        raise AssertionError(f"still {found}")


def on_star(story: Callable[[Emulated], None]) -> None:
    """Play a story on a network of its own."""

    def work() -> None:
        with emulated_fleet.emulated(Emulated, HERE / "wsk_emulated.yaml") as star:
            story(star)

    passes(work)


def invoker_of(record: dict[str, Any]) -> str:
    """Where an activation ran; nowhere, if what came is a refusal."""
    noted = {each["key"]: each["value"] for each in record.get("annotations", ())}
    return str(noted.get("invoker", ""))


def test_actions_survive_a_server_that_is_killed_and_records_do_not() -> None:
    def story(star: Emulated) -> None:
        assert star.curl("PUT", "actions/slow", {"exec": {"kind": "python:3", "code": SLOW}})[0] == 200
        record = star.curl("POST", "actions/slow?blocking=true", {"s": 0})[1]
        assert record["response"]["result"] == {"x": {"s": 0}}, record
        star.again("s", "server")
        assert sorted(each["name"] for each in star.curl("GET", "actions")[1]) == ["model", "slow"]
        assert star.curl("GET", f"activations/{record['activationId']}")[0] == 404
        assert star.curl("POST", "actions/slow?blocking=true&result=true", {"s": 0})[0] == 200

    on_star(story)


def test_an_invoker_that_is_killed_costs_what_it_ran_and_is_used_again() -> None:
    def story(star: Emulated) -> None:
        star.curl("PUT", "actions/slow", {"exec": {"kind": "python:3", "code": SLOW}})
        victim = invoker_of(star.curl("POST", "actions/slow?blocking=true", {})[1])
        found: list[tuple[int, Any]] = []
        ask = "actions/slow?blocking=true"
        asking = threading.Thread(target=lambda: found.append(star.curl("POST", ask, {"s": 9})))
        asking.start()
        star.until(lambda: (len(_workers(star.fleet.pids()[victim, "invoker"])), None), 1)
        os.kill(star.fleet.pids()[victim, "invoker"], signal.SIGKILL)
        asking.join()
        status, record = found[0]
        assert (status, record["response"]["status"]) == (500, "whisk internal error"), found
        other = star.until(lambda: star.curl("POST", "actions/slow?blocking=true", {}))
        assert invoker_of(other) != victim
        star.again(victim, "invoker")
        for _ in range(200):
            if invoker_of(star.curl("POST", "actions/slow?blocking=true", {})[1]) == victim:
                return
        raise AssertionError(f"{victim} is not used again")

    on_star(story)


def _workers(agent: int) -> list[str]:
    """The processes below an agent that fork workers."""
    return Path(f"/proc/{agent}/task/{agent}/children").read_text().split()


@pytest.mark.feature("node")
@pytest.mark.skipif(not CLIENT.is_dir(), reason="needs the npm package openwhisk: ./tb test installs it")
def test_the_originals_client_works_over_the_network_with_invokers() -> None:
    def story(star: Emulated) -> None:
        given = [f"{name}={value}" for name, value in {"CLIENT_AT": str(CLIENT), "ZIP": ZIP}.items()]
        argv = ["env", *given, "node", str(HERE / "client" / "acceptance.js"), f"http://{star.server}", GUEST]
        done = star.network.host("c1").run(argv, check=False, timeout=120)
        assert done.status == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["result"]["ok"] == {"payload": "hello"}
        assert found["sequenced"]["ok"] == {"n": 4}
        assert found["failing"]["status"] == 502
        assert found["gone"]["status"] == 404
        assert 429 in found["burst"]

    on_star(story)


@pytest.mark.parametrize("substrate", ["netns", "twin"])
def test_an_experiment_for_another_system_runs_when_one_word_is_changed(substrate: str, tmp_path: Path) -> None:
    sets = ["system=openwhisk", "workload.warmup=1s", "workload.duration=3s", "timeline=[]"]
    argv = [sys.executable, "-m", "testbed", "run", "-q", "--no-figures", "--substrate", substrate, "--out",
            str(tmp_path), *(word for each in sets for word in ("--set", each)),
            str(home() / "experiments" / "quickstart.yaml")]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, env=clean_environment(), timeout=240, check=False)
    assert done.returncode in (0, 1), done.stderr  # a busy machine may make it suspect
    (run,) = tmp_path.iterdir()
    with (run / "invocations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 30
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["node"] for row in rows} <= {"w1", "w2"}
    assert {"0", "1"} == {row["cold"] for row in rows}
    with (run / "wsk_activations.csv").open() as file:
        records = list(csv.DictReader(file))
    assert len(records) == len(rows)
    assert {record["namespace"] for record in records} == {"whisk.system"}
