"""What only Mininet networks have. All that they share with others is in test_network.py."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from command import ORDINARY_USER, cli, command, environment, record
from in_arena import each_user, line, passes

from shaping_traffic import transfer  # isort: skip  # a helper in this folder, as in_arena is
from testbed.errors import MachineLacks
from testbed.substrate.arena import RUNTIME
from testbed.substrate.find import named

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("mnexec"), pytest.mark.feature("mininet")]
SETTINGS = ["fs/file-max", "kernel/pty/max", "net/core/rmem_max", "net/core/wmem_max", "net/ipv4/tcp_rmem",
            "net/ipv4/neigh/default/gc_thresh3", "net/core/netdev_max_backlog"]  # fmt: skip
LONG_NAMES = """
name: names
nodes: {h1: {}, a-host-of-many-letters: {}, a-switch-of-many-letters: {kind: switch}, b1: {kind: switch}}
links: [[h1, a-switch-of-many-letters], [a-switch-of-many-letters, b1], [b1, a-host-of-many-letters]]
"""


@pytest.mark.feature("ping")
@each_user
def test_mininet_knows_the_nodes_and_reaches_them_in_its_own_way(user: str) -> None:
    def work() -> None:
        with named("mininet").open(line(), RUNTIME / "hosts", 1, {}) as network:
            net = network.mininet
            assert [node.name for node in net.hosts] == ["h1", "h2", "h3", "r1"]
            assert [node.name for node in net.switches] == ["s1"]
            assert net.pingAll(timeout="5") == 0
            assert net["h1"].IP() == network.topology.address("h1")
            assert net["h1"].cmd("hostname").split() == ["h1"]
            assert set(net["h1"].cmd("ls /sys/class/net").split()) >= {"lo", "eth0"}
            assert {str(each) for each in net["s1"].intfList()} == {"lo", "s1-eth1", "s1-eth2", "s1-eth3"}
            assert "state forwarding" in net["s1"].cmd("bridge link")
            (cable,) = net.linksBetween(net["r1"], net["h2"])
            assert cable.intf2.MAC() in net["h2"].cmd("ip link")

    passes(work, user)


def test_its_link_down_cuts_and_leaves_addresses_and_routes() -> None:
    def work() -> None:
        with named("mininet").open(line(), RUNTIME / "hosts", 1, {}) as network:
            net = network.mininet
            before = net["h2"].cmd("ip -o addr; ip route")
            net.configLinkStatus("r1", "h2", "down")
            assert "100% packet loss" in net["h1"].cmd("ping -c 2 -i 0.05 -W 1 h2")
            assert net["h2"].cmd("ip -o addr; ip route") == before
            net.configLinkStatus("r1", "h2", "up")
            assert " 0% packet loss" in net["h1"].cmd("ping -c 2 -i 0.05 -W 5 h2")

    passes(work)


def test_names_that_are_too_long_for_an_interface_or_taken_are_no_problem() -> None:
    def work() -> None:
        with named("mininet").open(line(LONG_NAMES), RUNTIME / "hosts", 1, {}) as network:
            ping = ["ping", "-c1", "-W5", "a-host-of-many-letters"]
            assert network.host("h1").run(ping).status == 0

    passes(work)


def test_a_node_whose_shell_is_gone_does_not_hold_up_the_end() -> None:
    def work() -> None:
        with named("mininet").open(line(), RUNTIME / "hosts", 1, {}) as network:
            network.mininet["h1"].shell.kill()
            network.mininet["h2"].cmd("trap '' HUP")

    passes(work)


def test_no_setting_and_no_interface_of_the_machine_is_touched(capfd: pytest.CaptureFixture[str]) -> None:
    def machine() -> list[str]:
        texts = [(Path("/proc/sys") / name).read_text() for name in SETTINGS if (Path("/proc/sys") / name).exists()]
        return [*texts, *sorted(each.name for each in Path("/sys/class/net").iterdir())]

    def work() -> None:
        with named("mininet").open(line(), RUNTIME / "hosts", 1, {}):
            pass

    before = machine()
    passes(work)
    assert machine() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("user", [None, ORDINARY_USER])
def test_mininets_command_line_has_the_terminal_and_ends_the_network(open_folder: Path, user: int | None) -> None:
    wish = ["--name", open_folder.name, "--substrate", "mininet", "--cli"]
    argv = command("up", "topologies/edge-line.yaml", *wish, user=user)
    words = "nodes\npingall\nr1 hostname\nlink h1 nobody down\nexit\n"
    done = subprocess.run(
        argv, input=words, cwd=open_folder, env=environment(), timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,  # where Mininet writes is its own affair
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " 0% dropped" in done.stdout
    assert "r1\n" in done.stdout
    assert "There is no node called 'nobody'." in done.stdout
    assert cli("exec", "-n", open_folder.name, "h1", "--", "true", cwd=open_folder).returncode == 2


def test_networks_without_a_command_line_say_so(tmp_path: Path) -> None:
    done = cli("up", "topologies/two-hosts.yaml", "--cli", cwd=tmp_path)
    assert (done.returncode, "have no command line: leave out --cli" in done.stderr) == (2, True)


@pytest.mark.ability("runs", "an experiment runs to its end, with a row for every invocation", on="mininet")
@pytest.mark.feature("relay")
@pytest.mark.parametrize("user", [None, ORDINARY_USER])
def test_an_experiment_runs_on_mininet_and_its_record_says_so(open_folder: Path, user: int | None) -> None:
    done = cli("run", "experiments/quickstart.yaml", "--substrate", "mininet", "--set", "workload.duration=3s",
               "--out", str(open_folder / "runs"), cwd=open_folder, user=user)  # fmt: skip
    assert done.returncode in (0, 1) and done.stdout, done.stderr
    found = record(done.stdout.split()[-1])
    assert found["substrate"] == "mininet"
    assert found["state"] == "done", found
    assert found["features"]["switches"] == "Linux bridges"


TWO_SWITCHES = """
name: switches
nodes: {h1: {}, h2: {}, h3: {}, s1: {kind: switch}, s2: {kind: switch}}
links: [[h1, s1], [s1, s2], {ends: [s2, h2], delay: 1ms}, [s2, h3]]
"""


@pytest.mark.feature("ovs-vswitchd")
@pytest.mark.feature("ping")
@pytest.mark.parametrize("option", ["ovs", "flows"])
@each_user
def test_open_vswitch_carries_tcp_and_is_gone_with_its_daemons(option: str, user: str) -> None:
    def daemons() -> list[str]:
        texts = [path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm")]
        return sorted(text for text in texts if text.startswith("ovs"))

    def work() -> None:
        with named(f"mininet:{option}").open(line(TWO_SWITCHES), RUNTIME / "hosts", 1, {}) as network:
            assert "Open vSwitch" in network.notes["switches"]
            for start, goal in (("h1", "h2"), ("h3", "h1")):
                transfer(network, start, goal, 2_000_000)  # and compares what came with what was sent
            flows = network.mininet["s2"].dpctl("dump-flows")
            assert flows.count("dl_dst") == (4 if option == "flows" else 0), flows
            assert daemons() == ["ovs-vswitchd", "ovsdb-server"]
        assert daemons() == []
        assert not Path("/run/openvswitch").exists()

    passes(work, user)


@pytest.mark.feature("ovs-vswitchd")
def test_fixed_flows_carry_nothing_to_a_machine_that_is_not_in_the_topology() -> None:
    def work() -> None:
        with named("mininet:flows").open(line(TWO_SWITCHES), RUNTIME / "hosts", 1, {}) as network:
            ping = ["ping", "-c2", "-i0.1", "-W1", "h3"]
            assert network.host("h1").run(ping).status == 0
            network.host("h3").run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:77"])
            assert network.host("h1").run(ping, check=False).status == 1

    passes(work)


def test_an_option_that_mininet_does_not_have_is_refused_with_the_nearest(tmp_path: Path) -> None:
    done = cli("up", "topologies/two-hosts.yaml", "--substrate", "mininet:osv", cwd=tmp_path)
    assert (done.returncode, "mininet:flows. Did you mean 'mininet:ovs'?" in done.stderr) == (2, True)


def test_a_shell_that_is_killed_while_mininet_waits_for_it_ends_the_building(monkeypatch: pytest.MonkeyPatch) -> None:
    from testbed.substrate import mininet_nodes

    def work() -> None:
        plain = mininet_nodes.Machine._popen

        def killed(node: Any, *args: Any, **params: Any) -> Any:
            child = plain(node, *args, **params)
            child.kill()
            return child

        monkeypatch.setattr(mininet_nodes.Machine, "_popen", killed)
        with pytest.raises(MachineLacks, match="a shell in new namespaces"), named("mininet").open(
            line(), RUNTIME / "hosts", 1, {}
        ):
            pass

    passes(work)
