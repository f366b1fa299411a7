"""The first process inside the VM: furnishes it, has the errand done, and switches the machine off.

The root of the file system is the host's, through hostfs, with the rights of the user who started the VM. What hostfs
cannot do well (sockets, locks, shared memory) lies in memory: ``/run`` and ``/dev/shm``, which ``TMPDIR`` names.
"""

from __future__ import annotations

import ctypes
import os
import platform
import select
import signal
import struct
import subprocess
import sys
import termios
import tty
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

from testbed import linux
from testbed.netlink import Netlink
from testbed.substrate.requests import raise_link
from testbed.substrate.vm_errand import CONTROL, ERR, MARKER, MODULES, OUT, Errand, told

DRIVERS = (
    "veth", "bridge", "8021q", "vxlan", "dummy", "ifb", "tun", "openvswitch",
    "sch_netem", "sch_tbf", "sch_htb", "sch_ingress", "cls_u32",
)  # fmt: skip
SCRATCH = Path("/dev/shm")  # not below /run, which arenas cover
_DRIVERS = Path("/run/drivers/lib")
_POWER_OFF = 0x4321FEDC
_SIGNALS = {b"int": signal.SIGINT, b"term": signal.SIGTERM}


def main() -> None:
    """Be the first process."""
    furnish()
    load_drivers()
    errand = Errand.read()
    control = _line(CONTROL)
    status, error = _Warden(errand, control).attend()
    os.write(control, told(status, error))
    termios.tcdrain(control)


def furnish() -> None:
    """The file systems that a running Linux has, in memory or the kernel's own, and the loopback interface."""
    plain = linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("proc", "/proc", "proc", plain | linux.MS_NOEXEC)
    linux.mount("sysfs", "/sys", "sysfs", plain | linux.MS_NOEXEC)
    with suppress(OSError):  # without it, hosts have no limits
        linux.mount("cgroup2", "/sys/fs/cgroup", "cgroup2", plain)
    for folder, kind, data in (("pts", "devpts", "ptmxmode=666"), ("shm", "tmpfs", "mode=1777")):
        Path("/dev", folder).mkdir(exist_ok=True)
        linux.mount(kind, f"/dev/{folder}", kind, linux.MS_NOSUID, data)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        Path("/dev", name).symlink_to(f"/proc/self/{target}")
    linux.mount("tmpfs", "/run", "tmpfs", plain, "mode=755")
    with Netlink() as netlink:
        netlink.do([raise_link(1, "the loopback interface of the VM")])


def load_drivers() -> None:
    """Load what networks are made of; what cannot be loaded is missing in the probe, which says so."""
    _DRIVERS.mkdir(parents=True)
    (_DRIVERS / "modules").symlink_to(MODULES)
    if Path("/lib/modules").is_dir():  # where the kernel looks when it needs one more
        linux.mount(str(MODULES), "/lib/modules", flags=linux.MS_BIND)
    os.environ["PATH"] = "/usr/sbin:/sbin:/usr/bin:/bin"
    subprocess.run(["modprobe", "-d", str(_DRIVERS.parent), "-a", *DRIVERS])
    if Path("/dev/net/tun").exists():
        Path("/dev/net/tun").chmod(0o666)  # as everywhere else


def _line(path: str) -> int:
    """A serial line that carries bytes as they are."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)
    return fd


class _Warden:
    """Starts the work, lets its words out and the host's in, buries orphans."""

    def __init__(self, errand: Errand, control: int) -> None:
        self._control = control
        self._lines = b""
        self._reports, report = os.pipe()
        self._pipes: dict[int, int] = {}  # what the work writes to -> the line to the host
        ends = [self._outlet(_line(path), size) for path, size in zip((OUT, ERR), errand.terminals, strict=True)]
        ours = {MARKER: platform.release(), "TMPDIR": str(SCRATCH), "PYTHONPATH": os.environ["PYTHONPATH"]}
        self._work = subprocess.Popen(
            [sys.executable, "-m", "testbed.substrate.vm_work", str(report)],
            stdin=subprocess.DEVNULL, stdout=ends[0], stderr=ends[1], pass_fds=[report], start_new_session=True,
            env={**errand.environment, **ours},
        )  # fmt: skip
        for fd in (report, *ends):
            os.close(fd)

    def _outlet(self, line: int, size: tuple[int, int] | None) -> int:
        """Where the work writes to: a terminal if the host has one there, else a pipe that this process empties."""
        if size is not None:
            ioctl(line, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
            return line
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reading, False)
        self._pipes[reading] = line
        return writing

    def attend(self) -> tuple[int, str]:
        """Return when the work has ended: its status, and the error that it reported."""
        waking, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        status = self._bury()
        while status is None:
            ready, _, _ = select.select([waking, self._control, *self._pipes], [], [])
            for fd in ready:
                if fd in self._pipes:
                    self._empty(fd)
            if self._control in ready:
                self._obey()
            if waking in ready:
                os.read(waking, 4096)
                status = self._bury()
        for reading, line in list(self._pipes.items()):
            self._empty(reading)
            termios.tcdrain(line)
        return status, self._report()

    def _report(self) -> str:
        os.set_blocking(self._reports, False)
        with suppress(BlockingIOError):  # what the work left running holds the other end, too
            return os.read(self._reports, 1 << 20).decode()
        return ""

    def _empty(self, reading: int) -> None:
        with suppress(BlockingIOError):
            while piece := os.read(reading, 1 << 16):
                _write_all(self._pipes[reading], piece)
            del self._pipes[reading]

    def _obey(self) -> None:
        self._lines += os.read(self._control, 4096)
        *words, self._lines = self._lines.split(b"\n")
        for word in words:
            with suppress(ProcessLookupError):
                os.killpg(self._work.pid, _SIGNALS[word]) if word == b"int" else os.kill(self._work.pid, _SIGNALS[word])

    def _bury(self) -> int | None:
        """Reap all that has ended; the status of the work if it is among them."""
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG) if self._work.returncode is None else (0, 0)
            if pid == 0:
                return None
            if pid == self._work.pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _switch_off() -> None:
    os.sync()
    ctypes.CDLL(None).reboot(_POWER_OFF)


if __name__ == "__main__":
    try:
        main()
    finally:
        sys.stderr.flush()
        _switch_off()
