"""Real machines as hosts: runs over SSH on servers that stand for machines (see ``machine_yard.py``)."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from command import HELLO, write
from machine_yard import SOON_S, Yard, in_yard, only_run, rows

pytestmark = pytest.mark.skipif(
    shutil.which("sshd", path="/usr/sbin:/sbin") is None, reason="needs the OpenSSH server (Debian: openssh-server)"
)
HOSTS = {"h1": "m1", "h2": "m2"}


def test_an_experiment_runs_on_machines_and_leaves_nothing_there() -> None:
    def body(yard: Yard) -> None:
        done = yard.run(write(yard.out, HELLO), yard.inventory(HOSTS))
        assert done.returncode == 0, done.stderr
        run = only_run(yard.out)
        invocations = rows(run["folder"] / "invocations.csv")
        assert {row["status"] for row in invocations} == {"ok"}
        assert len(invocations) == 40
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
        assert "On machine 'm2': the interface eth0 is left alone, since it has the tbf 9: of somebody else" in done.stderr
        yard.until_clean("m1", "m2")
        assert yard.network.host("m2").run(["tc", "qdisc", "show", "dev", "eth0"]).stdout == before

    in_yard(body)


@pytest.mark.skipif(os.geteuid() != 0, reason="root is refused nothing")
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
