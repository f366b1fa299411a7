"""The tools that people know, run on emulated hosts as a person would: through `testbed up` and `testbed exec`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import HELLO, ORDINARY_USER, cli, command, environment, record, write

TOPOLOGY = """
name: tools
nodes: {user: {}, near: {}, far: {}, r1: {kind: router}, r2: {kind: router}, r3: {kind: router}}
links:
  - {ends: [user, r1], delay: 5ms}
  - {ends: [r1, r2], delay: 5ms, rate: 20Mbit}
  - [r2, near]
  - {ends: [r2, far], forward: {loss: 20%}}
  - {ends: [r1, r3], delay: 30ms}
  - {ends: [r3, r2], delay: 30ms}
routing: {protocol: ospf, metric: delay}
"""
PATIENCE_S = 60.0
pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("bird")]
as_whom = pytest.mark.parametrize(
    "person", ["root", "ordinary"] if os.geteuid() == 0 else ["self"], indirect=True, scope="module"
)


@dataclass
class Person:
    """Somebody at a terminal, with a network of theirs up."""

    network: str
    folder: Path
    user: int | None

    def at(self, host: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """What `testbed exec` says."""
        return cli("exec", "-n", self.network, host, "--", *argv, cwd=self.folder, user=self.user)

    @contextmanager
    def meanwhile(self, host: str, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """The same in another terminal; Ctrl-C ends it, or a kill."""
        words = command("exec", "-n", self.network, host, "--", *argv, user=self.user)
        with subprocess.Popen(words, cwd=self.folder, env=environment(), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL) as running:  # fmt: skip
            try:
                yield running
            finally:
                self.at(host, "sh", "-c", 'kill $(ss -Hltnp | grep -o "pid=[0-9]*" | cut -d= -f2)')
                running.kill()

    def when(self, host: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """As ``at``, again and again until it succeeds."""
        return until(lambda: self.at(host, *argv))


def until(attempt: Callable[[], subprocess.CompletedProcess[str]]) -> subprocess.CompletedProcess[str]:
    deadline = time.monotonic() + PATIENCE_S
    while (done := attempt()).returncode != 0:
        assert time.monotonic() < deadline, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def person(request: pytest.FixtureRequest) -> Iterator[Person]:
    user = ORDINARY_USER if request.param == "ordinary" else None
    with place_of(user) as folder:
        (folder / "tools.yaml").write_text(TOPOLOGY)
        (folder / "letter.txt").write_text("Dear reader\n")
        someone = Person(folder.name, folder, user)
        up = cli("up", "tools.yaml", "--name", someone.network, cwd=folder, user=user)
        assert up.returncode == 0, up.stderr
        yield someone
        assert cli("down", someone.network, cwd=folder, user=user).returncode == 0


@contextmanager
def place_of(user: int | None) -> Iterator[Path]:
    """A folder of somebody's own; pytest's are closed to other users."""
    with tempfile.TemporaryDirectory(prefix="tools-") as name:
        if user is not None:
            os.chown(name, user, user)
        yield Path(name)


@as_whom
@pytest.mark.feature("ping")
def test_ping_shows_the_delay_of_the_way(person: Person) -> None:
    said = person.at("user", "ping", "-c", "10", "-i", "0.2", "near").stdout
    found = re.search(r"rtt min/avg/max/mdev = ([\d.]+)/", said)
    assert found is not None, said
    assert 20 <= float(found[1]) < 40  # 5 ms on each of two links, there and back; the detour would take 130 ms
    assert "ttl=62" in said  # two routers on the way


@as_whom
@pytest.mark.feature("ping")
def test_ping_shows_the_loss_of_a_link(person: Person) -> None:
    said = person.at("r2", "ping", "-4", "-q", "-c", "400", "-i", "0.01", "far").stdout
    found = re.search(r"([\d.]+)% packet loss", said)
    assert found is not None, said
    assert 10 < float(found[1]) < 30  # asked for: 20 % one way; chance alone goes that far in one of a million


@as_whom
@pytest.mark.feature("ping")
def test_probes_that_live_for_ever_more_hops_show_the_way(person: Person) -> None:
    """What traceroute does: each router on the way tells of the probe that died there."""
    script = "for hops in 1 2 3; do ping -4 -n -c 1 -t $hops near | grep -i ^.*from; done; getent ahostsv4 r1 near"
    first, second, third, *known = person.at("user", "sh", "-c", script).stdout.splitlines()
    assert first.startswith(f"From {known[0].split()[0]} "), first
    assert "Time to live exceeded" in second
    assert f"from {known[-1].split()[0]}: " in third


@as_whom
@pytest.mark.feature("iperf3")
def test_iperf3_finds_the_rate_in_both_directions(person: Person) -> None:
    with person.meanwhile("near", "iperf3", "-s"):
        for direction in ((), ("-R",)):
            person.when("user", "iperf3", "-4", "-c", "near", "-n", "1K")  # with -J, no failure shows in its status
            done = person.at("user", "iperf3", "-4", "-c", "near", "-t", "3", "-J", *direction)
            rate = json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]
            assert 6e6 < rate < 20.5e6, direction  # 20 Mbit/s with headers; a busy machine gives less


@as_whom
def test_curl_gets_a_file_from_a_web_server_by_its_name(person: Person) -> None:
    with person.meanwhile("near", "python3", "-m", "http.server", "8000", "--bind", "::"):
        page = person.when("user", "curl", "-sf", "http://near:8000/letter.txt")
        assert page.stdout == "Dear reader\n"
        told = person.at("user", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{time_total}",
                         "http://near:8000/nothing").stdout.split()  # fmt: skip
        assert told[0] == "404"
        assert float(told[1]) >= 0.040  # a round trip for the connection and one for the page, 20 ms each


@as_whom
def test_birdc_shows_the_neighbours_and_the_ways_of_a_router(person: Person) -> None:
    said = person.at("r1", "birdc", "-s", "/run/testbed/bird/r1.ctl", "show", "ospf", "neighbors", "ospf4").stdout
    assert said.count("Full/PtP") == 2, said
    ways = person.at("r1", "ip", "-4", "route", "show", "proto", "bird").stdout
    assert len(ways.splitlines()) == 3, ways  # to near, to far and to the link between r3 and r2
    assert len(set(re.findall(r"dev (\S+)", ways))) in (1, 2)


@pytest.mark.feature("sshd")
@pytest.mark.parametrize("user", [None, ORDINARY_USER] if os.geteuid() == 0 else [None])
def test_ssh_reaches_the_hosts_of_a_run_that_has_ssh_servers(user: int | None) -> None:
    with place_of(user) as folder:
        write(folder, HELLO.replace("duration: 2s", "duration: 8s") + "access: ssh\n")
        words = command("run", "experiment.yaml", "--out", "runs", user=user)
        with subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as running:  # fmt: skip
            assert until(lambda: ssh(running, folder, user)).stdout == "h2\n"
            assert running.communicate(timeout=150) is not None
        (run,) = (folder / "runs").glob("hello-*")
        assert record(run)["state"] == "done"


def ssh(running: subprocess.Popen[str], folder: Path, user: int | None) -> subprocess.CompletedProcess[str]:
    """What h2 answers when somebody on h1 of the run asks it over SSH."""
    assert running.poll() is None, running.stderr.read() if running.stderr else ""
    name = next((each.name for each in (folder / "runs").glob("hello-*")), "none")
    line = "exec ssh -F /run/ssh-*/config -o BatchMode=yes h2 hostname"
    return cli("exec", "-n", name, "h1", "--", "sh", "-c", line, cwd=folder, user=user)
