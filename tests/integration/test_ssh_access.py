"""SSH servers on emulated hosts: plain Fabric, a person's ssh, and the same deployment as everywhere else."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from echo_fleet import HOME, READY_S, ask, each_able_user, network, specs
from in_arena import line, passes

from testbed.deploy.fleet import deploy
from testbed.deploy.ssh import SshHosts, over_ssh
from testbed.errors import AgentFailed, CommandFailed, TestbedError
from testbed.substrate.netns import NetnsNetwork

pytestmark = pytest.mark.skipif(
    shutil.which("sshd", path="/usr/sbin:/sbin") is None, reason="needs the OpenSSH server (Debian: openssh-server)"
)
NAMES = ("h1", "h2")


@contextmanager
def reached() -> Iterator[tuple[NetnsNetwork, SshHosts]]:
    with network(line()) as net, over_ssh(net, NAMES) as hosts:
        yield net, hosts


@each_able_user
def test_a_host_reached_by_ssh_keeps_the_host_contract(user: str) -> None:
    def body() -> None:
        with reached() as (_, hosts):
            host = hosts.host("h2")
            assert host.run(["hostname"]).stdout == "h2\n"
            assert host.run(["printf", "%s|", "a b", "$HOME", "it's"]).stdout == "a b|$HOME|it's|"
            assert host.run(["sh", "-c", "pwd; exit 3"], check=False).status == 3
            assert host.run(["pwd"]).stdout == f"{host.folder}\n"
            with pytest.raises(CommandFailed, match="On host h2, the command 'sh -c echo no >&2; exit 4' exited"):
                host.run(["sh", "-c", "echo no >&2; exit 4"])
            with pytest.raises(TimeoutError, match=r"On host h2, 'sleep 60' did not end within 0\.5 s"):
                host.run(["sleep", "60"], timeout=0.5)
            host.put("Grüße\n", Path("deep/er/text"))
            assert host.get(host.folder / "deep" / "er" / "text") == "Grüße\n"
            with pytest.raises(FileNotFoundError):
                host.get(Path("nothing"))

    passes(body, user)


@each_able_user
def test_a_command_started_over_ssh_goes_on_and_leaves_its_record(user: str) -> None:
    def body() -> None:
        with reached() as (_, hosts):
            host = hosts.host("h1")
            folder = host.folder / "job"
            process = host.start(["sh", "-c", 'echo "$WORD"; exec sleep 60'], folder, env={"WORD": "so it is"})
            assert process.poll() is None
            assert process.wait(0.1) is None
            process.signal(signal.SIGTERM)
            assert process.wait(READY_S) == -signal.SIGTERM
            process.signal(signal.SIGTERM)
            assert (folder / "stdout").read_text() == "so it is\n"
            assert (folder / "pid").read_text() == f"{process.pid}\n"
            missing = host.start(["no-such-program"], host.folder / "other")
            assert missing.wait(READY_S) == 127
            assert "no-such-program: No such file" in (host.folder / "other" / "stderr").read_text()

    passes(body, user)


@each_able_user
def test_a_person_s_ssh_from_another_host_gets_a_terminal(user: str) -> None:
    def body() -> None:
        with reached() as (net, hosts):
            ssh = ["ssh", "-F", str(hosts.access.config)]
            assert net.host("h1").run([*ssh, "h2", "hostname"]).stdout == "h2\n"
            assert net.host("h3").run([*ssh, "-tt", "h1", "tty"]).stdout.strip().startswith("/dev/pts/")
            trusting = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
            stranger = ["ssh", "-F", "/dev/null", *trusting, "-i", str(hosts.access.folder / "host_key")]
            refused = net.host("h1").run([*stranger, f"{hosts.access.user}@h2", "hostname"], check=False)
            assert "Permission denied (publickey)" in refused.stderr

    passes(body, user)


@each_able_user
def test_plain_fabric_on_another_host_reaches_it(user: str) -> None:
    program = (
        "import fabric, io, sys\n"
        "address, user, key, folder = sys.argv[1:]\n"
        "connection = fabric.Connection(address, user, connect_kwargs={'key_filename': key})\n"
        "connection.put(io.BytesIO(b'by fabric'), folder + '/letter')\n"
        "print(connection.run('hostname', hide=True).stdout.strip())\n"
    )

    def body() -> None:
        with reached() as (net, hosts):
            target = [net.topology.address("h2"), hosts.access.user, str(hosts.access.key), str(net.host("h2").folder)]
            home = f"HOME={net.host('h1').folder}"  # Fabric reads the user's settings there
            done = net.host("h1").run(["env", home, sys.executable, "-c", program, *target])
            assert done.stdout == "h2\n"
            assert (net.host("h2").folder / "letter").read_text() == "by fabric"

    passes(body, user)


@each_able_user
def test_agents_are_deployed_over_ssh_by_the_same_code(user: str) -> None:
    def body() -> None:
        with reached() as (net, hosts):
            with deploy(hosts, specs(net.topology, h1="server", h2="server"), home=HOME) as agents:
                agents.wait_ready(READY_S)
                assert ask(net.host("h1"), net.topology.address("h2"), "who?") == "h2"
                agents.kill("h1", "server")
                assert agents.failures() == []
                os.kill(agents.pids()["h2", "server"], signal.SIGKILL)
                assert agents.agents["h2", "server"].process.wait(READY_S) == -signal.SIGKILL
                end = time.monotonic() + READY_S
                while not (told := agents.failures()):
                    assert time.monotonic() < end
                assert [(each.node, each.status) for each in told] == [("h2", -signal.SIGKILL)]
                assert agents.failures() == []
            assert (net.host("h1").folder / "server" / "exit").read_text() == "-9\n"

    passes(body, user)


def test_an_agent_that_fails_over_ssh_is_named_with_its_log() -> None:
    def body() -> None:
        said = r"'broken' on host 'h1' .*no flux(?s:.*)in the capacitor"
        with (
            reached() as (net, hosts),
            deploy(hosts, specs(net.topology, h1="broken"), home=HOME) as agents,
            pytest.raises(AgentFailed, match=said),
        ):
            agents.wait_ready(READY_S)

    passes(body)


def test_a_lost_connection_is_told_in_a_sentence_and_made_again() -> None:
    def body() -> None:
        with reached() as (net, hosts):
            host = hosts.host("h1")
            host.run(["true"])
            host.connection.transport.close()
            assert host.run(["hostname"]).stdout == "h1\n"
            server = int((net.host("h1").folder / "sshd" / "pid").read_text())
            os.kill(server, signal.SIGKILL)
            host.connection.close()
            with pytest.raises(TestbedError, match="The SSH connection to host 'h1' failed: "):
                host.run(["true"])

    passes(body)


def test_a_refused_key_is_told_in_a_sentence_with_the_place_of_the_server_s_log() -> None:
    def body() -> None:
        with reached() as (net, hosts):
            connection = hosts.host("h1").connection
            connection.connect_kwargs["key_filename"] = str(hosts.access.folder / "host_key")  # not the one it takes
            with pytest.raises(TestbedError, match="SSH connection to host 'h1' failed: Authentication failed") as told:
                connection.put(io.BytesIO(b"text"), remote="anywhere")
            log = net.host("h1").folder / "sshd" / "stderr"
            assert f"{hosts.access.user}@{net.topology.address('h1')}, port 22; {log} has" in str(told.value)
            assert log.exists()

    passes(body)


def test_servers_listen_on_their_host_s_own_addresses_only() -> None:
    def body() -> None:
        with reached() as (net, _):
            listening = net.host("h1").run(["ss", "-Hltn"]).stdout
            own = {net.topology.address("h1"), f"[{net.topology.address('h1', 6)}]"}
            assert {row.split()[3].rpartition(":")[0] for row in listening.splitlines()} == own

    passes(body)


def test_outside_an_arena_no_server_is_started() -> None:
    with pytest.raises(TestbedError, match="inside an arena"), over_ssh(None, ("h1",)):  # type: ignore[arg-type]
        pass
