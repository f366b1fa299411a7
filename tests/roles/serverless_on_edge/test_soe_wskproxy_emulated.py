"""The original's client for JavaScript, unmodified, and curl, over an emulated network: proxies before an edge with two
OpenWhisk servers behind it.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emulated_fleet
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
from in_arena import passes

from roles.openwhisk.auth import PUBLIC
from testbed.cli import main
from testbed.store import find

HERE = Path(__file__).parent
CLIENT = Path(sys.prefix, "openwhisk-client")
GUEST = PUBLIC["guest"]
pytestmark = [
    pytest.mark.feature("netns"),
    pytest.mark.feature("relay"),
    pytest.mark.feature("node"),
    pytest.mark.skipif(not CLIENT.is_dir(), reason="needs the npm package openwhisk: ./tb test installs it"),
]


class Emulated(emulated_fleet.Emulated):
    """What is up, and short ways to ask it."""

    def url(self, node: str, port: int) -> str:
        """Where an agent speaks HTTP."""
        return f"http://{self.experiment.topology.address(node)}:{port}"

    def client(self, *argv: str) -> Any:
        """What a program of the client's machine prints, which is JSON."""
        clear = [word for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "proxy", "PROXY")
                 for word in ("-u", name)]  # fmt: skip
        done = self.network.host("c1").run(["env", *clear, *argv], check=False, timeout=200)
        assert done.status == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    def strictly(self, path: str) -> tuple[int, Any]:
        """Status and data that curl gets from the strict proxy."""
        url = f"{self.url('p2', 20000)}/api/v1/namespaces/{path}"
        form = '{"status": %{http_code}}'
        argv = ["curl", "-sS", "-m", "60", "-w", f",{form}]", "-d", '{"input": "a \\"b\\""}', url]
        argv = ["sh", "-c", 'printf "["; exec "$@"', "sh", *argv]
        data, told = self.client(*argv)
        return told["status"], data

    def log(self, node: str) -> list[str]:
        """Lines of a proxy's log that tell of calls."""
        return [line for line in self.fleet.agents[node, "wskproxy"].log().splitlines() if "retcode" in line]


def on_network(story: Callable[[Emulated], None]) -> None:
    """Play a story on a network of its own."""

    def work() -> None:
        with emulated_fleet.emulated(Emulated, HERE / "soe_wskproxy.yaml") as net:
            story(net)

    passes(work)


def test_the_originals_client_invokes_actions_of_two_servers_through_proxy_and_edge() -> None:
    def story(net: Emulated) -> None:
        servers = [net.url(node, 3233) for node in ("ow1", "ow2")]
        found = net.client("env", f"CLIENT_AT={CLIENT}", "node", str(HERE / "proxied.js"), net.url("p1", 20000),
                           GUEST, *servers)  # fmt: skip
        check_invocations(found)
        check_failures(found)
        check_activations(found)
        check_ways(found, servers)
        assert found["updated"]["ok"] == {"payload": "new hello"}
        assert found["deleted"]["ok"] == 404
        (line,) = [line for line in net.log("p1") if "output: later" in line]
        assert "retcode: OK, from: http://" in line and "hops: 3, load: 0/0/0, output: later, dataout size: 19" in line

    on_network(story)


def check_invocations(found: Any) -> None:
    """The three ways to invoke, and names."""
    assert "ok" in found["made"], found["made"]
    assert found["appeared"]["ok"] == {"n": 10} and found["all there"]["ok"] == 502
    record = found["blocking"]["ok"]
    assert record["response"] == {"result": {"payload": "hello"}, "success": True, "status": "success"}
    assert record["end"] - record["start"] == record["duration"]
    assert found["result"]["ok"] == found["qualified"]["ok"] == {"payload": "hello"}
    assert found["packaged"]["ok"] == {"n": 11}, "with the package's parameter"
    assert set(found["invokes"]["ok"]) == set(found["string"]["ok"]) == {"activationId"}


def check_failures(found: Any) -> None:
    """Errors of actions, and what a proxy refuses."""
    for step, kind, text in (("failing", "application error", "no disk"),
                             ("crashing", "action developer error", "crashed")):  # fmt: skip
        assert found[step]["status"] == 502 and text in found[step]["message"], found[step]
        assert found[step]["error"]["response"]["status"] == kind and "code" not in found[step]["error"]
    assert "no disk" in found["failing result"]["message"], "this client never asks for the bare result"
    for step, status in (("nowhere", 404), ("create", 501), ("list", 501), ("wrong key", 401)):
        assert found[step]["status"] == status and found[step]["error"]["code"], found[step]
    assert "ask the OpenWhisk server" in found["create"]["message"]
    assert set(found["burst"]) == {200, 429} and found["burst"].count(200) >= 30
    assert "(count: 30, allowed: 30)" in found["burst error"]["error"]["error"]


def check_activations(found: Any) -> None:
    """What the proxy keeps."""
    assert found["activation"]["ok"]["response"]["result"] == {"payload": "later"}
    assert found["activation result"]["ok"] == found["activation"]["ok"]["response"]
    assert found["activation logs"]["ok"] == {"logs": []}
    assert [each["name"] for each in found["activations"]["ok"]] == ["copy"] * 3
    assert found["namespaces"]["ok"] == ["guest"]


def check_ways(found: Any, servers: list[str]) -> None:
    """Hops, and who answered."""
    assert {each["hops"] for each in found["ways"]} == {3}
    assert {each["responder"] for each in found["ways"]} == set(servers)
    assert {each["path"] for each in found["ways"]} == {"guest/copy"}
    assert all(each["waitTime"] > 0 for each in found["ways"])


def test_strictly_curl_gets_what_the_original_gives() -> None:
    def story(net: Emulated) -> None:
        both = "blocking=true&result=true"
        assert net.strictly(f"_/actions/f?{both}") == (200, {"payload": '{"input": "a \\"b\\""}'}), "a plain function"
        assert net.strictly(f"guest/actions/f?{both}")[0] == 200, "an action"
        assert net.strictly(f"guest/actions/nope?{both}")[0] == 404
        assert net.strictly("_/actions/f?blocking=true")[0] == 400
        assert net.strictly("_/actions/f?blocking=true&result=false")[0] == 501
        plain, action, *_ = net.log("p2")
        assert "hops: 3" in plain and "hops: 3" in action and ":3233, ptime" in action

    on_network(story)


def test_each_agent_on_the_way_may_die_and_come_back_and_every_failure_says_why(tmp_path: Path) -> None:
    deaths = [(2, "e1", "router"), (4, "p1", "wskproxy"), (6, "ow1", "openwhisk"), (8, "k1", "edgecomputerwsk")]
    events = ", ".join(f"{{at: {at + later}s, do: {do}, node: {node}, role: {role}}}"
                       for at, node, role in deaths for later, do in ((0, "kill"), (1, "restart")))  # fmt: skip
    own = "settings.serverless_on_edge."
    sets = [f"timeline=[{events}]", "workload.duration=16s", f"{own}edgecomputerwsk={{back-off: 1}}",
            f"{own}router={{num-threads: 50, router-conf: {{max-pending-clients: 50}}}}"]  # fmt: skip
    argv = [word for each in sets for word in ("--set", each)]
    main(["run", str(HERE / "soe_wskproxy_explored.yaml"), *argv, "--substrate", "netns", "--out", str(tmp_path),
          "--quiet", "--no-figures"])  # fmt: skip
    found = find("last", tmp_path)
    with (found / "invocations.csv").open(newline="") as file:
        calls = [row for row in csv.DictReader(file) if row["client"] == "c1"]
    assert len(calls) > 40 and {row["status"] for row in calls} <= {"ok", "error", "rejected", "timeout"}
    assert all(row["error"] for row in calls if row["status"] != "ok"), "each failure says why"
    late = [row for row in calls if float(row["t_scheduled"]) > 13]
    assert late and {row["status"] for row in late} == {"ok"}, [row["error"] for row in late]
    assert {(row["node"], row["hops"]) for row in late} == {("ow1", "3")}
    with (found / "soe_proxied.csv").open(newline="") as file:
        proxied = list(csv.DictReader(file))
    assert len(proxied) > 40 and all(len(row["activation_id"]) == 32 for row in proxied)
