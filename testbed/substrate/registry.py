"""Finding and entering the arenas that live on this machine, without any file that could be left behind.

The init of each arena listens on an abstract Unix socket, ``@testbed/<uid>/<name>``, in the machine's own network
namespace. The kernel lists such sockets in /proc/net/unix and removes them with the process. A client learns who
listens (SO_PEERCRED), receives the arena's namespaces as open files (SCM_RIGHTS), enters them and starts its command.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from testbed import linux
from testbed.errors import LimitNotInForce, TestbedError, UsageError
from testbed.substrate import cgroups_owner, programs

HOSTS_FILE = "hosts.json"
_KINDS = ("user", "mnt", "pid", "ipc", "net", "uts")
_LISTENING = 0x00010000


@dataclass(frozen=True, slots=True)
class ArenaInfo:
    """One living arena: its name, its init's process number, and its hosts and routers."""

    name: str
    pid: int
    hosts: tuple[str, ...]


def _address(name: str) -> str:
    return f"\0testbed/{os.getuid()}/{name}"


def listen(name: str) -> socket.socket:
    """The socket that makes an arena known as ``name``; UsageError if another has that name."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(_address(name))
    except OSError as error:
        listener.close()
        raise UsageError(f"A network called {name!r} is up already. End it with `testbed down {name}`.") from error
    listener.listen(16)
    return listener


class Known(NamedTuple):
    """How a host is entered: the publishing process' descriptors of its network and host-name spaces, and the files
    that its programs write "0" to, so that its limits hold for them."""

    spaces: tuple[int, int]
    joins: Sequence[str] = ()


def publish(runtime: Path, hosts: Mapping[str, Known]) -> None:
    """Tell clients which hosts there are."""
    text = json.dumps({"pid": os.getpid(), "hosts": hosts})
    (runtime / f"{HOSTS_FILE}.new").write_text(text)
    (runtime / f"{HOSTS_FILE}.new").replace(runtime / HOSTS_FILE)


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Process number and user of the other side."""
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def answer(listener: socket.socket, work: int, runtime: Path) -> None:
    """Serve one client (in init): end the work, or hand out the namespaces and the list of hosts."""
    connection, _ = listener.accept()
    with connection, suppress(OSError):  # a client that went away is none of init's business
        connection.settimeout(5)
        if _peer(connection)[1] != os.getuid():
            return
        if connection.recv(16) == b"end":
            os.kill(work, signal.SIGTERM)
            return
        fds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in _KINDS]
        try:
            socket.send_fds(connection, [b"\n"], fds)
            connection.sendall((runtime / HOSTS_FILE).read_bytes())
        finally:
            for fd in fds:
                os.close(fd)


def _connect(name: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10)
    try:
        connection.connect(_address(name))
    except ConnectionRefusedError:
        connection.close()
        return None
    if _peer(connection)[1] != os.getuid():
        connection.close()
        raise TestbedError(f"The network {name!r} belongs to another user; nothing was sent to it.")
    return connection


def names() -> tuple[str, ...]:
    """The names of this user's arenas, sorted."""
    start = f"@testbed/{os.getuid()}/"
    found = set()
    for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7].startswith(start) and int(fields[3], 16) & _LISTENING:
            found.add(fields[7].removeprefix(start))
    return tuple(sorted(found))


def _ask(name: str) -> tuple[int, list[int], dict[str, Any]] | None:
    """Init's process number, the namespaces, and what ``publish`` wrote; None if the arena has gone."""
    connection = _connect(name)
    if connection is None:
        return None
    with connection, suppress(ConnectionError):
        connection.sendall(b"enter")
        first, fds, _, _ = socket.recv_fds(connection, 1, len(_KINDS))
        if first:
            said = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            return _peer(connection)[0], list(fds), json.loads(said)
    return None


def arenas() -> tuple[ArenaInfo, ...]:
    """This user's living arenas, by name."""
    found = []
    for name in names():
        asked = _ask(name)
        if asked is not None:
            pid, fds, network = asked
            _close(fds)
            found.append(ArenaInfo(name, pid, tuple(network.get("hosts", ()))))
    return tuple(found)


def end(name: str) -> None:
    """Ask the arena to end; returns when its processes are gone. UsageError if there is none of that name."""
    connection = _connect(name)
    if connection is None:
        raise UsageError(unknown("network", name, names(), "No network is up."))
    with connection:
        number = _peer(connection)[0]
        init, command = os.pidfd_open(number), _command(number)
        connection.sendall(b"end")
        connection.recv(1)
    try:
        _gone(init, name)
    finally:
        os.close(init)
        cgroups_owner.clear(command, everywhere=True)


def _command(init: int) -> str:
    """What the control groups of an arena are called by: the command, which started the keeper, which started init."""
    with suppress(ProcessLookupError):
        return cgroups_owner.name_of(cgroups_owner.parent(cgroups_owner.parent(init)))
    return ""


def _gone(init: int, name: str) -> None:
    if not select.select([init], [], [], 30)[0]:
        signal.pidfd_send_signal(init, signal.SIGKILL)
        if not select.select([init], [], [], 30)[0]:
            raise TestbedError(f"The network {name!r} did not end within 60 s of being asked and killed.")


def attach(name: str, host: str, argv: Sequence[str] = ()) -> int:
    """Run ``argv`` (none: a shell) on ``host`` of the arena ``name``, on this terminal; returns its exit status."""
    asked = _ask(name)
    if asked is None:
        raise UsageError(unknown("network", name, names(), "No network is up."))
    _, fds, network = asked
    hosts = network.get("hosts", {})
    if host not in hosts:
        _close(fds)
        raise UsageError(unknown("host", host, tuple(hosts), f"The network {name!r} has no hosts yet."))
    known = Known(*hosts[host])
    files = [f"/proc/{network['pid']}/fd/{fd}" for fd in known.spaces]
    sys.stdout.flush()
    sys.stderr.flush()
    interactive = _in_foreground()
    entrant = os.fork()
    if entrant == 0:
        _enter(fds, files, known.joins, list(argv) or [os.environ.get("SHELL", "/bin/sh")], host)
    _close(fds)
    return _outlive(entrant, interactive)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def unknown(what: str, name: str, known: Sequence[str], none: str) -> str:
    """The sentence for a name that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]!r}?" if near else (f" There are: {', '.join(known)}." if known else f" {none}")
    return f"There is no {what} called {name!r}.{hint}"


def _in_foreground() -> bool:
    """Whether this process may talk to the terminal on its standard input."""
    return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()


def _outlive(child: int, interactive: bool) -> int:
    """Wait for ``child`` with Ctrl-C left to it, and take the terminal back afterwards."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        if interactive:
            _take_terminal()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _take_terminal() -> None:
    """Make this process' group the terminal's foreground group, where there is a terminal."""
    old = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with suppress(OSError):
        os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, old)


def _enter(fds: Sequence[int], files: Sequence[str], joins: Sequence[str], argv: Sequence[str], host: str) -> None:
    """In a forked process: go into the arena and onto the host, and become the command. Never returns."""
    status = 1
    try:
        folder = Path.cwd()
        with suppress(OSError):  # root's arena has no user namespace of its own
            linux.setns(fds[0])
        for fd in fds[1:]:
            linux.setns(fd)
        inner = os.fork()  # only a child is in the PID namespace, and sees the work's files in its /proc
        if inner:
            _close(fds)
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)
            code = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
            os._exit(code if code >= 0 else 128 - code)
        _obey(joins)
        _become(files, argv, folder)
    except LimitNotInForce as error:
        print(f"Cannot enter host {host}: {error}", file=sys.stderr)  # noqa: T201
    except FileNotFoundError as error:
        print(f"On host {host} there is no program called {error.filename or argv[0]!r}.", file=sys.stderr)  # noqa: T201
        status = 127
    except OSError as error:
        print(f"Cannot enter host {host}: {error}.", file=sys.stderr)  # noqa: T201
    finally:
        sys.stderr.flush()
        os._exit(status)


def _obey(joins: Sequence[str]) -> None:
    """Come under the limits of the host."""
    for file in joins:
        try:
            Path(file).write_text("0")
        except OSError as error:
            raise LimitNotInForce(
                f"its limits cannot be put in force for this terminal ({file}: {error.strerror}). Where systemd "
                "delegated a group to the network, enter from a terminal that is in a group of it, or as root."
            ) from error


def _become(files: Sequence[str], argv: Sequence[str], folder: Path) -> None:
    net, uts = (os.open(file, os.O_RDONLY | os.O_CLOEXEC) for file in files)
    linux.setns(uts, linux.CLONE_NEWUTS)
    linux.setns(net, linux.CLONE_NEWNET)
    with suppress(OSError):  # the working folder is the same file in the arena, unless it was below /run
        os.chdir(folder)
    if os.isatty(0):  # a group of its own, for job control inside
        os.setpgid(0, 0)
        _take_terminal()
    program = programs.find(argv[0])  # also what an ordinary user's PATH leaves out, such as /usr/sbin
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "no such program", argv[0])
    os.execv(program, list(argv))
