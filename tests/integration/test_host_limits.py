"""Limits of hosts: in force for all that runs there, told of when they are reached, and gone with the network."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from command import cli
from echo_fleet import HOME, READY_S, ask, network, specs
from in_arena import NOBODY, become, each_substrate, forked, opened, passes, run_as, status_of

from testbed.deploy.fleet import deploy
from testbed.deploy.forks import fork_server
from testbed.errors import AgentFailed, LimitNotInForce, MachineLacks
from testbed.substrate import cgroups, cgroups_owner
from testbed.substrate.arena import run_inside
from testbed.substrate.base import observed
from testbed.substrate.host import NetnsHost
from testbed.topology.load import parse
from testbed.topology.model import Topology

pytestmark = [pytest.mark.alone, pytest.mark.feature("netns")]
limit_cpu = pytest.mark.feature("limit-cpu")
limit_cpuset = pytest.mark.feature("limit-cpuset")
limit_memory = pytest.mark.feature("limit-memory")

BUSY = """
import os, time
pid = os.fork()
begun, used = time.monotonic(), time.process_time()
while time.monotonic() - begun < 1.5:
    pass
os.write(1, b"%f " % ((time.process_time() - used) / (time.monotonic() - begun)))
if pid:
    os.wait()
"""
HUNGRY = "import sys; held = bytearray(int(sys.argv[1]) << 20); print(len(held))"
NOISE = 1.25  # a period more or less at each end, and ticks


def pair(one: str = "", two: str = "") -> Topology:
    """Two hosts on a link with these limits."""
    return parse(f"name: pair\nnodes: {{h1: {{{one}}}, h2: {{{two}}}}}\nlinks: [[h1, h2]]\n", "pair.yaml")


def share(host: NetnsHost) -> float:
    """How much of a core two busy programs of the host get, both together."""
    return sum(map(float, host.run(["python3", "-c", BUSY]).stdout.split()))


def groups() -> list[Path]:
    """All groups of this program on the machine."""
    return [Path(folder, name) for each in cgroups.hierarchies() for folder, names, _ in os.walk(each.mount)
            for name in names if name.startswith(cgroups.PREFIX)]  # fmt: skip


def until(what: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.ability("hosts", "all programs of a host together get its share of a core, and no more")
@limit_cpu
@each_substrate
def test_all_programs_of_a_host_together_get_its_share_of_a_core_and_no_more(substrate: str) -> None:
    def work() -> None:
        with opened(substrate, pair("cpu: 0.3")) as net:
            host = net.host("h1")
            assert 0.05 < share(host) < 0.3 * NOISE
            assert net.limit_use()["h1"].throttled_s > 0  # how often, depends on what else runs here
            assert "h2" not in net.limit_use()
            assert net.notes["limit-cpu"].startswith("h1 0.3 (v")

    passes(work)


@limit_cpuset
def test_programs_run_on_the_processors_of_their_host_alone() -> None:
    last = max(os.sched_getaffinity(0))

    def work() -> None:
        with opened("netns", pair(f"cpuset: {last}")) as net:
            allowed = net.host("h1").run(["grep", "Cpus_allowed_list", "/proc/self/status"]).stdout
            assert allowed.split() == ["Cpus_allowed_list:", str(last)]

    passes(work)


@pytest.mark.ability("hosts", "a host that is full loses the program that filled it, and nothing else")
@limit_memory
@each_substrate
def test_a_host_that_is_full_loses_the_program_that_filled_it_and_nothing_else(substrate: str) -> None:
    def work() -> None:
        with opened(substrate, pair("memory: 48MB")) as net:
            full, roomy = net.host("h1"), net.host("h2")
            small = full.start(["sleep", "1000"], full.folder / "small")
            assert full.run(["python3", "-c", HUNGRY, "16"]).status == 0
            assert full.run(["python3", "-c", HUNGRY, "96"], check=False).status == -signal.SIGKILL
            assert roomy.run(["python3", "-c", HUNGRY, "96"]).status == 0
            assert small.poll() is None
            assert net.limit_use()["h1"].killed == 1
            blame = "host h1 was out of memory (its limit is 48MB), and the kernel killed 1 program"
            assert full.group.blame() == blame

    passes(work)


@limit_cpu
@limit_memory
def test_whatever_way_a_program_comes_onto_a_host_it_is_under_its_limits() -> None:
    def work() -> None:
        with opened("mininet", pair("cpu: 0.5, memory: 200MB")) as net:
            host, show = net.host("h1"), ["cat", "/proc/self/cgroup"]
            inside = [str(file.parent.name) for file in host.group.files]
            assert set(inside) == {"h1"}
            started = host.start(show, host.folder / "started")
            assert started.wait(20) == 0
            texts = [
                host.run(show).stdout,
                (started.folder / "stdout").read_text(),
                host.connection.run("cat /proc/self/cgroup", hide=True, in_stream=False).stdout,
                net.mininet["h1"].cmd("cat /proc/self/cgroup"),
            ]
            for text in texts:
                assert _members(text) == _members(texts[0])
                assert len(_members(text)) == len(inside)
            assert _members(observed(host).run(show).stdout) == []
            assert _members(net.host("h2").run(show).stdout) == []
            assert host.connection.run("exit 3", warn=True, hide=True, in_stream=False).exited == 3

    passes(work)


def _members(text: str) -> list[str]:
    """The groups of hosts in the text of /proc/self/cgroup."""
    return [line for line in text.splitlines() if f"/{cgroups.PREFIX}" in line]


@limit_cpu
@limit_memory
def test_agents_are_under_the_limits_before_they_do_anything() -> None:
    def work() -> None:
        topology = pair("cpu: 0.5, memory: 300MB")
        with ExitStack() as stack:
            net = stack.enter_context(network(topology))
            forks = stack.enter_context(fork_server(["echo"], net.host("h1").folder / "log", HOME))
            fleet = stack.enter_context(deploy(net, specs(topology, h1="server"), forks, home=HOME))
            fleet.wait_ready(READY_S)
            pid = fleet.pids()["h1", "server"]
            group = net.host("h1").group
            assert all(str(pid) in file.read_text().split() for file in group.files)
            assert ask(net.host("h2"), topology.address("h1"), "hello") == "hello"

    passes(work)


@limit_memory
def test_an_agent_without_room_is_told_of_as_that() -> None:
    def work() -> None:
        topology = pair("memory: 1MB")
        with ExitStack() as stack:
            net = stack.enter_context(network(topology))
            forks = stack.enter_context(fork_server(["echo"], net.host("h1").folder / "log", HOME))
            fleet = stack.enter_context(deploy(net, specs(topology, h1="server"), forks, home=HOME))
            with pytest.raises(AgentFailed, match=r"by signal 9 .*; host h1 was out of memory \(its limit is 1MB"):
                fleet.wait_ready(READY_S)

    passes(work)


@limit_cpu
def test_no_group_is_left_when_a_network_has_ended() -> None:
    def work() -> None:
        before = set(groups())
        with opened("netns", pair("cpu: 0.5")) as net:
            net.host("h1").start(["sh", "-c", "sleep 1000 & sleep 1000"], net.host("h1").folder / "left")
            assert len(set(groups()) - before) >= 1
        assert set(groups()) <= before

    passes(work)


@limit_cpu
@limit_memory
def test_what_a_killed_command_leaves_is_removed_by_the_next_one_and_nothing_of_the_living(tmp_path: Path) -> None:
    def holding(file: Path) -> Callable[[], int]:
        def work() -> int:
            with opened("netns", pair("cpu: 0.5, memory: 100MB")) as net:
                net.host("h1").start(["sleep", "1000"], net.host("h1").folder / "sleep")
                names = {file.parent.parent.name for file in net.host("h1").group.files}
                file.write_text(json.dumps(sorted(names)))
                while True:
                    time.sleep(0.01)

        return lambda: run_inside(work, nested=True)

    def names(file: Path) -> list[str]:
        found: list[str] = json.loads(file.read_text())
        return found

    killed, living = tmp_path / "killed", tmp_path / "living"
    victim, other = forked(holding(killed)), forked(holding(living))
    until(lambda: killed.exists() and killed.read_text() and living.exists() and living.read_text())
    os.kill(victim, signal.SIGKILL)
    assert status_of(victim) == -signal.SIGKILL
    left = set(names(killed))
    assert left & {each.name for each in groups()}  # the one thing that outlives SIGKILL
    until(lambda: cgroups_owner.clear(everywhere=True) or not left & {each.name for each in groups()})
    until(lambda: not left & {each.name for each in groups()})
    assert set(names(living)) <= {each.name for each in groups()}
    os.kill(other, signal.SIGTERM)
    status_of(other)
    assert not set(names(living)) & {each.name for each in groups()}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_an_ordinary_user_without_a_group_is_told_what_helps() -> None:
    def work() -> int:
        with pytest.raises(MachineLacks, match=r"the right to limit cpu of hosts.* (As root, make|Run the command as)"):
            opened("netns", pair("cpu: 0.5")).__enter__()
        return 0

    assert run_as("nobody", work) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to hand groups over")
@limit_cpu
@limit_memory
def test_an_ordinary_user_with_groups_of_their_own_needs_no_root() -> None:
    def work() -> int:
        with opened("netns", pair("cpu: 0.3", "memory: 48MB")) as net:
            assert share(net.host("h1")) < 0.3 * NOISE
            assert net.host("h2").run(["python3", "-c", HUNGRY, "96"], check=False).status == -signal.SIGKILL
        return 0

    with handed_over() as own:

        def body() -> int:
            for folder in own:
                (folder / cgroups.PROCS).write_text("0")
            become("nobody")
            status = run_inside(work, nested=True)
            assert [each for folder in own for each in folder.iterdir() if each.is_dir()] == []
            return status

        assert status_of(forked(body)) == 0


@contextmanager
def handed_over() -> Iterator[list[Path]]:
    """Groups that belong to nobody, in the hierarchies of both controllers, as root or systemd would make them."""
    found = {cgroups.of_controller(cgroups.hierarchies(), key) for key in ("cpu", "memory")}
    with ExitStack() as undo:
        folders = []
        for each in found:
            base = each.own
            if each.version == 2:
                base = cgroups.base(each, each.controllers & {"cpu", "memory"})
            folder = base / f"handed-over-{os.getpid()}"
            folder.mkdir()
            undo.callback(folder.rmdir)
            for path in (folder, *folder.iterdir()):
                os.chown(path, NOBODY, NOBODY)
            folders.append(folder)
        yield folders


@limit_cpuset
def test_a_processor_that_is_not_there_is_refused() -> None:
    def work() -> None:
        with pytest.raises(LimitNotInForce, match=r"Host h1 may run on the processors 0,999 alone, but .* offers 0"):
            opened("netns", pair("cpuset: [0, 999]")).__enter__()

    passes(work)


@limit_cpu
def test_a_network_that_is_up_holds_visitors_to_the_limits_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("name: limits-up\nnodes: {h1: {cpu: 0.5}, h2: {}}\nlinks: [[h1, h2]]\n")
    assert cli("up", "small.yaml", cwd=tmp_path).returncode == 0
    try:
        told = cli("exec", "-n", "limits-up", "h1", "--", "cat", "/proc/self/cgroup", cwd=tmp_path)
        assert re.search(rf"/{cgroups.PREFIX}[\d-]+/h1$", told.stdout, re.MULTILINE), told.stdout + told.stderr
        name = _members(told.stdout)[0].split("/")[-2]
    finally:
        assert cli("down", "limits-up", cwd=tmp_path).returncode == 0
    assert name not in {each.name for each in groups()}
