"""The arena: one private set of namespaces that holds all that an emulated network creates.

    the command            waits, passes SIGTERM on
    └── keeper             made the namespaces; waits, passes SIGTERM on
        └── init           first process inside: reaps orphans, answers `testbed exec` and `down`
            └── the work   builds the network, runs the experiment; everything else is its child

Each of the first three dies with its parent (a wish that the kernel fulfils), and when init dies the kernel kills all
processes inside and takes away interfaces, mounts and namespaces. So there is nothing to clean up, whatever is killed
(but control groups, see ``cgroups_owner.py``).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from testbed import linux
from testbed.errors import MachineLacks, TestbedError
from testbed.netlink import Netlink
from testbed.substrate import cgroups_owner, registry
from testbed.substrate.forbidden import forbidden_by
from testbed.substrate.requests import raise_link

MARKER = "TESTBED_ARENA"
RUNTIME = Path("/run/testbed")
_Handler = Callable[[int, FrameType | None], object] | int | None
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_KINDS = linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS


def inside() -> bool:
    """Whether this process is in an arena already."""
    return MARKER in os.environ


def run_inside(work: Callable[[], int], name: str = "", *, nested: bool = False) -> int:
    """Run ``work`` in an arena of its own and return its exit status (128 + n if signal n ended it).

    ``name`` is what `testbed exec` and `down` know it by. Call it from the main thread, before any other thread exists.
    In an arena already, the work simply runs, unless ``nested``. Raises MachineLacks where the kernel forbids it.
    """
    if inside() and not nested:
        return work()
    listener = registry.listen(name or f"arena-{os.getpid()}")
    owner = cgroups_owner.begin()
    reading, writing = os.pipe()
    with _patient() as original:
        me = os.pidfd_open(os.getpid())
        sys.stdout.flush()
        sys.stderr.flush()
        keeper = os.fork()
        if keeper == 0:
            os.close(reading)
            _leave(lambda: _keep(_Plan(work, listener, writing, original, name, owner), me))
        os.close(me)
        os.close(writing)
        listener.close()
        try:
            return _attend(keeper)
        finally:
            cgroups_owner.clear(owner)
            _raise_reported(reading)


def run_beside(work: Callable[[], int], farewell: int) -> int:
    """Run ``work`` in a child without any namespace; its status. It gets signal ``farewell`` if this process dies."""
    with _patient() as original:
        me = os.pidfd_open(os.getpid())
        child = os.fork()
        if child == 0:
            linux.die_with_parent(farewell)
            if select.select([me], [], [], 0)[0]:
                os._exit(128 + farewell)
            _restore(original)
            _leave(work)
        os.close(me)
        return _attend(child)


@dataclass(frozen=True)
class _Plan:
    """What the processes of an arena hand down to each other by fork."""

    work: Callable[[], int]
    listener: socket.socket
    report: int  # where a failure to set up goes, for the command to raise
    handlers: Mapping[int, _Handler]
    name: str
    owner: str  # what control groups are called by


@contextmanager
def _patient() -> Iterator[dict[int, _Handler]]:
    """Ctrl-C is for the work alone: those that wait for it ignore it. Yields the handlers that the work gets back.

    What is to be passed on is held back until each of them can do so, so that no request to end is lost on the way.
    """
    original: dict[int, _Handler] = {number: signal.getsignal(number) for number in (signal.SIGINT, *_PASSED_ON)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    try:
        yield original
    finally:
        _restore(original)


def _restore(handlers: Mapping[int, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)


def _pass_on_to(child: int) -> None:
    """Have ``child`` get the signals that should end this process."""

    def pass_on(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)


def _attend(child: int) -> int:
    """Wait for ``child`` and pass on what should end it.

    The wait is on descriptors: a signal that comes just before waitpid(2) would be heeded only when that returns.
    """
    alive = os.pidfd_open(child)
    waking, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    try:
        _pass_on_to(child)
        while alive not in select.select([alive, waking], [], [])[0]:
            os.read(waking, 4096)
        return _status(os.waitpid(child, 0)[1])
    finally:
        signal.set_wakeup_fd(before)
        for fd in (alive, waking, woken):
            os.close(fd)


def _status(wait_status: int) -> int:
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def _leave(body: Callable[[], int]) -> NoReturn:
    """Run ``body`` as all that is left of a forked process."""
    status = 1
    try:
        status = body()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001 - a forked process must not run on into its parent's code
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _die_with(parent: int) -> None:
    """Die when the process behind this pidfd does, and at once if it is dead already."""
    linux.die_with_parent(signal.SIGKILL)
    if select.select([parent], [], [], 0)[0]:
        os._exit(128 + signal.SIGKILL)


def _keep(plan: _Plan, command: int) -> int:
    uid, gid = os.geteuid(), os.getegid()
    try:
        _unshare(uid, gid)
    except MachineLacks as lack:
        _report(plan, lack)
        return lack.exit_status
    _die_with(command)  # after unshare, since a change of credentials forgets it
    os.close(command)
    me = os.pidfd_open(os.getpid())
    init = os.fork()
    if init == 0:
        _leave(lambda: _init(plan, me))
    _drop_inherited()
    return _attend(init)


def _drop_inherited(*keep: int) -> None:
    """Close all but the standard streams and ``keep``: a process that only waits must hold nobody's pipe open."""
    first = 3
    for fd in (*sorted(keep), 1 << 20):
        os.closerange(first, fd)
        first = fd + 1


def _unshare(uid: int, gid: int) -> None:
    with suppress(PermissionError):
        linux.unshare(_KINDS)
        return
    try:
        linux.unshare(_KINDS | linux.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise MachineLacks(f"user namespaces for ordinary users ({error.strerror})", forbidden_by()) from error


def _report(plan: _Plan, lack: TestbedError) -> None:
    fields = [lack.what, lack.remedy] if isinstance(lack, MachineLacks) else [str(lack)]
    os.write(plan.report, json.dumps(fields).encode())


def _raise_reported(reading: int) -> None:
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    if said:
        fields = json.loads(said)
        raise MachineLacks(*fields) if len(fields) == 2 else TestbedError(*fields)


def _init(plan: _Plan, keeper: int) -> int:
    _die_with(keeper)
    os.close(keeper)
    try:
        _furnish()
    except (OSError, TestbedError) as error:
        _report(plan, MachineLacks(f"the right to set up a private set of namespaces ({error})", forbidden_by()))
        return MachineLacks.exit_status
    os.environ |= {MARKER: plan.name or "unnamed", cgroups_owner.OWNER: plan.owner}
    os.close(plan.report)  # the command need not wait for more
    work = os.fork()
    if work == 0:
        plan.listener.close()
        _restore(plan.handlers)
        _leave(plan.work)
    _drop_inherited(plan.listener.fileno())
    return _reap(work, plan.listener)


def _furnish() -> None:
    """Private mounts, this PID namespace's /proc, an empty /run that lives in memory, the loopback interface up."""
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    linux.mount("tmpfs", "/run", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    RUNTIME.mkdir()
    (RUNTIME / registry.HOSTS_FILE).write_text("{}")
    linux.raise_descriptor_limit()
    with Netlink() as netlink:
        netlink.do([raise_link(1, "the loopback interface of the arena")])


def _reap(work: int, listener: socket.socket) -> int:
    """Be init: bury every orphan, answer the registry's clients, end with the work."""
    waking, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _pass_on_to(work)
    while True:
        status = _bury(work)
        if status is not None:
            return status
        ready, _, _ = select.select([waking, listener.fileno()], [], [])
        if waking in ready:
            os.read(waking, 4096)
        if listener.fileno() in ready:
            registry.answer(listener, work, RUNTIME)


def _bury(work: int) -> int | None:
    """Reap all that has ended; the status of ``work`` if it is among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 1
        if pid == 0:
            return None
        if pid == work:
            return _status(status)
