"""One suite for the hosts of all substrates of this machine: commands, processes, files, Fabric."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from in_arena import each_substrate, line, opened, passes

from testbed.errors import CommandFailed
from testbed.substrate.arena import RUNTIME

pytestmark = pytest.mark.feature("netns")


@pytest.mark.ability("hosts", "a command gives its status and its output")
@each_substrate
def test_a_command_gives_its_status_and_its_output(substrate: str) -> None:
    def work() -> None:
        with opened(substrate, line()) as network:
            host = network.host("h1")
            done = host.run(["sh", "-c", "echo out; echo err >&2; pwd; exit 4"], check=False)
            assert (done.status, done.stdout, done.stderr) == (4, f"out\n{host.folder}\n", "err\n")
            assert host.run(["sh", "-c", "kill -9 $$"], check=False).status == -signal.SIGKILL
            with pytest.raises(CommandFailed, match="On host h1, the command 'sh -c echo oh; exit 2'"):
                host.run(["sh", "-c", "echo oh; exit 2"])
            assert host.run(["no-such-program"], check=False).status == 127

    passes(work)


@pytest.mark.ability("hosts", "a command that takes too long is killed with all that it started")
@each_substrate
def test_a_command_that_takes_too_long_is_killed_with_what_it_started(substrate: str) -> None:
    def work() -> None:
        with opened(substrate, line()) as network:
            with pytest.raises(TimeoutError, match=r"did not end within 0.2 s; it had said 'started"):
                network.host("h1").run(["sh", "-c", "echo started; sleep 1234 & sleep 1234"], timeout=0.2)
            deadline = time.monotonic() + 10
            while "1234" in network.host("h1").run(["ps", "axo", "args"]).stdout:
                assert time.monotonic() < deadline

    passes(work)


@pytest.mark.ability("hosts", "a process has its output, number and status in its own folder")
@each_substrate
def test_a_process_leaves_its_record_in_its_folder(substrate: str) -> None:
    def work() -> None:
        with opened(substrate, line()) as network:
            host = network.host("h1")
            argv = ["sh", "-c", "echo $GREETING from $(hostname); echo oh >&2; exec sleep 1000"]
            process = host.start(argv, host.folder / "agent", env={"GREETING": "hello"})
            deadline = time.monotonic() + 10
            while "hello" not in (host.folder / "agent" / "stdout").read_text():
                assert time.monotonic() < deadline
            assert process.poll() is None
            assert process.wait(0.01) is None
            assert int((host.folder / "agent" / "pid").read_text()) == process.pid
            process.signal(signal.SIGTERM)
            assert process.wait(10) == -signal.SIGTERM
            process.signal(signal.SIGTERM)  # no error
            assert (process.folder / "exit").read_text() == f"{-signal.SIGTERM}\n"
            assert (process.folder / "stdout").read_text() == "hello from h1\n"
            assert (process.folder / "stderr").read_text() == "oh\n"
            left = host.start(["sleep", "1000"], host.folder / "left")
            with pytest.raises(CommandFailed, match="no-such-program"):
                host.start(["no-such-program"], host.folder / "none")
        assert (left.folder / "exit").read_text() == f"{-signal.SIGKILL}\n"

    passes(work)


@pytest.mark.ability("hosts", "files are put and got, by the host and by Fabric")
@each_substrate
def test_files_are_put_and_got_by_the_host_and_by_fabric(substrate: str) -> None:
    def work() -> None:
        with opened(substrate, line()) as network:
            host = network.host("h1")
            host.put("one", Path("etc/a.conf"))
            assert host.get(host.folder / "etc/a.conf") == "one"
            (RUNTIME / "local").write_text("two")
            (RUNTIME / "local").chmod(0o640)
            host.connection.put(str(RUNTIME / "local"), "etc/b.conf")
            assert (host.folder / "etc/b.conf").stat().st_mode & 0o777 == 0o640
            host.connection.get("etc/b.conf", str(RUNTIME / "back"))
            assert (RUNTIME / "back").read_text() == "two"

    passes(work)


@pytest.mark.ability("hosts", "Fabric runs commands on a host")
@each_substrate
def test_fabric_runs_commands_on_the_host(substrate: str) -> None:
    from invoke import UnexpectedExit  # type: ignore[attr-defined]

    def work() -> None:
        with opened(substrate, line()) as network:
            host = network.host("h2")
            quiet = {"hide": True, "in_stream": False}
            result = host.connection.run("hostname && pwd && echo $WORD", env={"WORD": "hi"}, **quiet)
            assert result.stdout == f"h2\n{host.folder}\nhi\n"
            assert host.connection.is_connected
            with pytest.raises(UnexpectedExit):
                host.connection.run("exit 3", **quiet)

    passes(work)
