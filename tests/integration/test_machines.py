"""Real machines as hosts: runs over SSH on servers that stand for machines (see ``machine_yard.py``)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import HELLO, write
from echo_fleet import each_able_user
from host_contract import keeps_the_host_contract
from machine_yard import SOON_S, Yard, in_yard, judged_run, only_run, rows

from testbed import linux
from testbed.errors import UsageError
from testbed.substrate.away import Errand
from testbed.substrate.machines import MachinesSubstrate
from testbed.topology.load import load
from testbed.topology.model import Topology

pytestmark = pytest.mark.skipif(
    shutil.which("sshd", path="/usr/sbin:/sbin") is None, reason="needs the OpenSSH server (Debian: openssh-server)"
)
HOSTS = {"h1": "m1", "h2": "m2"}


@pytest.mark.ability("runs", "an experiment runs to its end, with a row for every invocation", on="machines")
def test_an_experiment_runs_on_machines_and_leaves_nothing_there() -> None:
    def body(yard: Yard) -> None:
        run = judged_run(yard.out, yard.run(write(yard.out, HELLO), yard.inventory(HOSTS)))
        assert len(rows(run["folder"] / "invocations.csv")) == 40
        assert set(run["machines"]) == {"m1", "m2"}
        assert run["machines"]["m1"]["address"] == yard.address("m1")
        assert {row["node"] for row in rows(run["folder"] / "nodes.csv")} == {"h1", "h2"}
        assert rows(run["folder"] / "machine.csv")
        assert (run["folder"] / "hosts" / "h2" / "computer" / "stderr").exists()
        yard.until_clean("m1", "m2")

    in_yard(body)


RATE = """\
name: rate
topology: {nodes: {h1: {}, h2: {}}, links: [{ends: [h1, h2], rate: 8Mbit}]}
system: serverless_on_edge
place: {control: h1, gateway: h1, worker: h2, client: h1}
functions: {square: {service: 2ms}}
workload: {duration: 2s, timeout: 2s, traffic: [{arrivals: {model: deterministic, rate: 10/s}}]}
timeline:
  - {at: 500ms, do: shape, link: h1-h2, change: {rate: 4Mbit}}
  - {at: 1s, do: cut, link: h1-h2}
  - {at: 1200ms, do: mend, link: h1-h2}
"""
SHAPED = {name: {"interface": "eth0"} for name in ("m1", "m2")}


@pytest.mark.feature("htb")
def test_rates_between_machines_are_put_in_force_and_taken_away_again() -> None:
    def body(yard: Yard) -> None:
        done = yard.run(write(yard.out, RATE), yard.inventory(HOSTS, SHAPED, links="shaped"))
        assert done.returncode in (0, 1), done.stderr
        run = only_run(yard.out)
        assert run["state"] == "done", done.stderr
        assert [row["asked_rate"] for row in run["calibration"]] == [8e6, 8e6]
        for row in run["calibration"]:
            assert row["between_machines"] == "shaped"
            assert abs(row["measured_rate"] / 8e6 - 1) < 0.2
        assert [row["kind"] for row in rows(run["folder"] / "events.csv")][:3] == ["shape", "cut", "mend"]
        yard.until_clean("m1", "m2")
        for name in ("m1", "m2"):
            assert "htb" not in yard.network.host(name).run(["tc", "qdisc", "show", "dev", "eth0"]).stdout

    in_yard(body)


@pytest.mark.feature("htb")
def test_an_interface_that_somebody_else_has_shaped_is_left_alone() -> None:
    def body(yard: Yard) -> None:
        theirs = ["tc", "qdisc", "add", "dev", "eth0", "root", "handle", "9:", "tbf", "rate", "90mbit", "burst", "20k",
                  "limit", "90k"]  # fmt: skip
        yard.network.host("m2").run(theirs)
        before = yard.network.host("m2").run(["tc", "qdisc", "show", "dev", "eth0"]).stdout
        done = yard.run(write(yard.out, RATE), yard.inventory(HOSTS, SHAPED, links="shaped"))
        assert done.returncode == 1
        assert "On machine 'm2': the interface eth0 is left alone, since it has the tbf 9: of somebody" in done.stderr
        yard.until_clean("m1", "m2")
        assert yard.network.host("m2").run(["tc", "qdisc", "show", "dev", "eth0"]).stdout == before

    in_yard(body)


@pytest.mark.ability("networks", "a shape that nothing can put in force is refused", on="machines")
def test_delays_are_refused_in_words_where_the_kernel_has_no_netem() -> None:
    from testbed.substrate.probe import probe

    if probe().has("netem"):
        pytest.skip("this kernel has netem")

    def body(yard: Yard) -> None:
        done = yard.run(write(yard.out, HELLO), yard.inventory(HOSTS, SHAPED, links="shaped"))
        assert done.returncode == 1
        assert "The kernel of machine 'm1' has no netem, so that only rates can be put in force there" in done.stderr
        run = only_run(yard.out)
        assert run["state"] == "failed"
        assert len(rows(run["folder"] / "invocations.csv")) == 40
        yard.until_clean("m1", "m2")
        assert "htb" not in yard.network.host("m1").run(["tc", "qdisc", "show", "dev", "eth0"]).stdout

    in_yard(body)


def test_clocks_of_machines_are_found_out_and_made_up_for() -> None:
    def body(yard: Yard) -> None:
        run = judged_run(yard.out, yard.run(write(yard.out, HELLO), yard.inventory(HOSTS)))
        assert abs(run["machines"]["m1"]["clock"]["offset_s"] + 1000) < 0.1
        assert abs(run["machines"]["m2"]["clock"]["offset_s"] + 77) < 0.1
        assert 0 < run["verdict"]["figures"]["clock_error"] < 0.1
        for row in run["calibration"]:
            assert -0.1 < row["measured_p50_s"] < 0.1
        sent = [float(row["t_sent"]) for row in rows(run["folder"] / "invocations.csv") if row["t_sent"]]
        assert -0.1 < min(sent) < max(sent) < SOON_S

    in_yard(body, skews={"m1": 1000.0, "m2": 77.0})


@each_able_user
def test_quickstart_runs_on_five_machines_one_of_them_behind_a_jump_host(user: str) -> None:
    def body(yard: Yard) -> None:
        hosts = {"c1": "m1", "e1": "m2", "w1": "m3", "w2": "m4", "ctl": "m5"}
        through = {"m5": {"jump": f"{yard.access.user}@{yard.address('m1')}:22"}}
        short = ["--set", "timeline=[]", "--set", "workload.warmup=0s", "--set", "workload.duration=3s"]
        done = yard.run("experiments/quickstart.yaml", yard.inventory(hosts, through), *short)
        assert "verdict" in done.stderr, done.stderr
        run = judged_run(yard.out, done)
        assert run["verdict"]["figures"]["unshaped"] > 0
        invocations = rows(run["folder"] / "invocations.csv")
        assert {row["node"] for row in invocations if row["status"] == "ok"} == {"w1", "w2"}
        assert f"from {yard.address('m1')} port" in yard.said("m5")
        assert f"from {yard.address('m1')} port" not in yard.said("m4")
        yard.until_clean(*hosts.values())

    in_yard(body, machines=5, user=user)


@pytest.mark.ability("hosts", "a command gives its status and its output", on="machines")
@pytest.mark.ability("hosts", "a process has its output, number and status in its own folder", on="machines")
@pytest.mark.ability("hosts", "files are put and got, by the host and by Fabric", on="machines")
@pytest.mark.ability("hosts", "Fabric runs commands on a host", on="machines")
def test_a_machine_keeps_the_host_contract() -> None:
    def body(yard: Yard) -> None:
        topology = load(Path("topologies/two-hosts.yaml"))
        carrier = MachinesSubstrate(str(yard.inventory(HOSTS)))
        carrier.expect(Errand(topology, ["h1", "h2"]))
        with linux.entered(yard.network.host("d").net):  # threads begun in here stay here
            assert carrier.enter(lambda: _verbs(carrier, topology, yard), "contract") == 0
        assert (yard.out / "hosts" / "h2" / "deep" / "er" / "text").read_text() == "Grüße\n"
        assert (yard.out / "hosts" / "h2" / "large").stat().st_size == 3_000_000
        yard.until_clean("m1", "m2")

    in_yard(body)


def _verbs(carrier: MachinesSubstrate, topology: Topology, yard: Yard) -> int:
    with carrier.open(topology, yard.out / "hosts", 1, {}) as network:
        host = network.host("h2")
        keeps_the_host_contract(host)
        assert host.connection.run("hostname -I", hide=True, in_stream=False).stdout.strip() == yard.address("m2")
        with pytest.raises(KeyError):
            network.host("h7")
        with pytest.raises(UsageError, match="is real"):
            network.connect("h1-h2", up=False)
    return 0


@pytest.mark.feature("netem")
def test_delays_between_machines_are_put_in_force_by_netem_and_taken_away_again() -> None:
    def body(yard: Yard) -> None:
        done = yard.run(write(yard.out, HELLO), yard.inventory(HOSTS, SHAPED, links="shaped"))
        run = only_run(yard.out)
        assert run["state"] == "done", done.stderr
        for row in run["calibration"]:
            assert row["between_machines"] == "shaped"
            assert abs(row["measured_p50_s"] / row["asked_delay_s"] - 1) < 0.3
        yard.until_clean("m1", "m2")
        for name in ("m1", "m2"):
            assert "htb" not in yard.network.host(name).run(["tc", "qdisc", "show", "dev", "eth0"]).stdout

    in_yard(body)
