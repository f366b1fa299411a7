"""The arena: private, ends with its work, and is entered from outside."""

from __future__ import annotations

import ctypes
import os
import pty
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from in_arena import become, each_user, forked, line, passes, run_as, status_of

from testbed import linux
from testbed.errors import MachineLacks, UsageError
from testbed.substrate import registry
from testbed.substrate.arena import RUNTIME, inside, run_inside
from testbed.substrate.netns import NetnsSubstrate

pytestmark = pytest.mark.feature("netns")
WITHIN_S = 30.0


def until(true: Callable[[], bool], what: str) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline, f"waited {WITHIN_S:g} s for {what}"
        time.sleep(0.01)


def processes() -> list[int]:
    """Those that /proc shows."""
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


@each_user
def test_the_exit_status_of_the_work_comes_back(user: str) -> None:
    assert run_as(user, lambda: 7) == 7


@each_user
def test_a_work_that_was_killed_gives_128_and_the_signal(user: str) -> None:
    def work() -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert run_as(user, work) == 128 + signal.SIGKILL


@each_user
def test_inside_there_are_no_interfaces_processes_or_runtime_files_of_the_machine(user: str) -> None:
    def work() -> None:
        assert inside()
        assert [name for _, name in socket.if_nameindex()] == ["lo"]
        assert processes() == [1, 2]
        assert [path.name for path in Path("/run").iterdir()] == ["testbed"]
        assert os.getuid() == 0
        (RUNTIME / "mark").write_text("here")
        with socket.create_server(("127.0.0.1", 0)) as server:  # the loopback interface is up
            socket.create_connection(server.getsockname()).close()

    passes(work, user)
    assert not (RUNTIME / "mark").exists()


def test_in_an_arena_already_the_work_simply_runs() -> None:
    def work() -> None:
        assert run_inside(os.getpid) == os.getpid()

    passes(work)


@each_user
def test_init_buries_orphans(user: str) -> None:
    def work() -> None:
        orphan = forked(lambda: forked(lambda: 0) and 0)
        assert status_of(orphan) == 0
        until(lambda: processes() == [1, 2], "the orphan's end")

    passes(work, user)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_reaches_the_work(number: int) -> None:
    ready, told = os.pipe()

    def work() -> int:
        signal.signal(number, lambda *_: os._exit(23))
        os.write(told, b"x")
        while True:
            time.sleep(0.01)

    command = forked(lambda: run_inside(work, nested=True))
    os.read(ready, 1)
    os.kill(command, number)
    assert status_of(command) == 23


def test_ctrl_c_is_for_the_work_alone_and_its_status_comes_back() -> None:
    ready, told = os.pipe()

    def work() -> int:
        try:
            os.write(told, b"x")
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            return 42

    def body() -> int:
        os.setpgid(0, 0)
        return run_inside(work, nested=True)

    command = forked(body)
    os.read(ready, 1)
    os.killpg(command, signal.SIGINT)  # what a terminal does
    assert status_of(command) == 42


def test_says_which_setting_forbids_user_namespaces() -> None:
    def body() -> int:
        uid, gid = os.geteuid(), os.getegid()
        linux.unshare(linux.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        Path("/proc/sys/user/max_user_namespaces").write_text("0")  # of this user namespace alone
        no_capabilities = struct.pack("=6I", *[0] * 6)
        assert ctypes.CDLL(None).capset(struct.pack("=Ii", 0x20080522, 0), no_capabilities) == 0
        try:
            run_inside(lambda: 0, nested=True)
        except MachineLacks as lack:
            return 0 if "user.max_user_namespaces" in lack.remedy and lack.exit_status == 3 else 2
        return 1

    assert status_of(forked(body)) == 0


@contextmanager
def network(name: str, user: str) -> Iterator[None]:
    """A network of three hosts that is up for as long as the block."""

    def work() -> int:
        with NetnsSubstrate().open(line(), RUNTIME / "hosts", 1, {}):
            while True:
                time.sleep(0.01)

    def body() -> int:
        become(user)
        return run_inside(work, name, nested=True)

    command = forked(body)
    try:
        yield
    finally:
        os.kill(command, signal.SIGTERM)
        status_of(command)


def as_user(user: str, body: Callable[[], int]) -> int:
    """The exit status of ``body``, run by this user outside of the arena."""

    def changed() -> int:
        become(user)
        return body()

    return status_of(forked(changed))


def is_up(name: str) -> bool:
    return any(found.name == name and found.hosts for found in registry.arenas())


@each_user
def test_a_network_is_found_and_entered_from_outside_by_name(user: str) -> None:
    name = f"found-{user}-{os.getpid()}"

    def body() -> int:
        until(lambda: is_up(name), "the network")
        (info,) = [found for found in registry.arenas() if found.name == name]
        assert set(info.hosts) == {"h1", "h2", "h3", "r1"}
        assert registry.attach(name, "h1", ["sh", "-c", "test $(hostname) = h1 && ping -c1 -W5 h2 >/dev/null"]) == 0
        assert registry.attach(name, "h1", ["sh", "-c", "exit 3"]) == 3
        assert registry.attach(name, "h1", ["sh", "-c", "kill -9 $$"]) == 128 + signal.SIGKILL
        assert registry.attach(name, "h1", ["no-such-program"]) == 127
        return 0

    with network(name, user):
        assert as_user(user, body) == 0


def test_a_wrong_name_gets_the_nearest_right_one() -> None:
    name = f"spelt-{os.getpid()}"
    with network(name, "root"):
        until(lambda: is_up(name), "the network")
        with pytest.raises(UsageError, match=r"no host called 'h11'. Did you mean 'h1'?"):
            registry.attach(name, "h11", ["true"])
        with pytest.raises(UsageError, match=f"Did you mean '{name}'?"):
            registry.attach(name + "x", "h1", ["true"])
        with pytest.raises(UsageError, match=f"up already. End it with `testbed down {name}`"):
            run_inside(lambda: 0, name, nested=True)
    with pytest.raises(UsageError, match="no network called"):
        registry.end(name)


@each_user
def test_down_ends_a_network_and_its_name_is_free_at_once(user: str) -> None:
    name = f"ended-{user}-{os.getpid()}"

    def body() -> int:
        def work() -> int:
            while True:
                time.sleep(0.01)

        command = forked(lambda: run_inside(work, name, nested=True))
        until(lambda: name in registry.names(), "the network")
        registry.end(name)
        assert name not in registry.names()
        return 0 if status_of(command) == 128 + signal.SIGTERM else 1

    assert as_user(user, body) == 0


@each_user
def test_a_shell_on_a_host_has_a_terminal_and_job_control(user: str) -> None:
    name = f"shell-{user}-{os.getpid()}"
    with network(name, user):
        assert as_user(user, lambda: 0 if _up_soon(name) else 1) == 0
        child, terminal = pty.fork()
        if child == 0:
            become(user)
            os.environ["SHELL"] = "/bin/bash"
            os._exit(registry.attach(name, "h2"))
        os.write(terminal, b"sleep 1000 & kill %1; wait %1; echo $((6*7))-$(hostname)-$(test -t 0 && echo tty)\n")
        said = _read_until(terminal, b"42-h2-tty")
        assert b"no job control" not in said
        os.write(terminal, b"exit 5\n")
        _drain(terminal)
        assert status_of(child) == 5


def _up_soon(name: str) -> bool:
    until(lambda: is_up(name), "the network")
    return True


def _read_until(terminal: int, wanted: bytes) -> bytes:
    said = b""
    while wanted not in said:
        said += os.read(terminal, 4096)
    return said


def _drain(terminal: int) -> None:
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:  # the other side is closed
        os.close(terminal)
