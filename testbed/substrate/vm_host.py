"""Running a piece of work in a VM: a User-Mode Linux kernel, an ordinary program, with this machine's files.

    the command       waits, passes SIGTERM on
    └── an arena      only so that nothing is left, whatever is killed; its first process is the next
        └── the host  this module: starts the kernel, carries signals in, output and the status out
            └── linux.uml
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from testbed import linux
from testbed.errors import MachineLacks, TestbedError, UsageError
from testbed.places import PACKAGE
from testbed.substrate import arena, programs
from testbed.substrate.vm_errand import MODULES, Errand, error_text, raise_error
from testbed.substrate.vm_kernel import Machine
from testbed.units import size

MEMORY = "TESTBED_VM_MEMORY"
_MEMORY = 1 << 30  # what is not used is not taken
_LEAST = 256 << 20
_REMEDY = "apt-get install user-mode-linux kmod."


def installed() -> str:
    """What would run the VM; FileNotFoundError names what is missing."""
    kernel, _ = program("linux.uml"), program("modprobe")
    releases = sorted(path.parent.name for path in MODULES.glob("*/modules.dep"))
    if not releases:
        raise FileNotFoundError(f"no modules in {MODULES}")
    return f"{kernel}, modules of {releases[-1]}"


def program(name: str) -> str:
    """The path of a program; FileNotFoundError."""
    path = programs.find(name)
    if path is None:
        raise FileNotFoundError(f"no program {name}")
    return path


def memory() -> int:
    """Bytes of memory of the VM, from TESTBED_VM_MEMORY if that is set; UsageError if it makes no sense."""
    asked = os.environ.get(MEMORY)
    if asked is None:
        return _MEMORY
    try:
        found = size(asked)
    except ValueError as error:
        raise UsageError(f"{MEMORY} is {asked!r}; expected a size such as 2GiB.") from error
    if found < _LEAST:
        raise UsageError(f"{MEMORY} is {asked}; a VM of less than 256MiB cannot hold the program.")
    return found


def run_in_vm(work: Callable[[], int], name: str = "") -> int:
    """Do ``work``, which has to be picklable, in a VM of its own; its exit status.

    Call it from the main thread. Raises MachineLacks without User-Mode Linux, UsageError for work that is bound to this
    process, TestbedError if the VM breaks down, and what ``work`` raises of ours.
    """
    try:
        installed()
    except FileNotFoundError as error:
        raise MachineLacks(f"User-Mode Linux for the VM ({error})", _REMEDY) from error
    errand, size_bytes = Errand.of(work).written(), memory()
    reading, writing = os.pipe()
    boot = partial(_reported, partial(_boot, errand, size_bytes), writing)
    try:
        try:
            status = arena.run_inside(boot, name)
        except MachineLacks:  # no user namespaces, for which this substrate is the remedy
            status = arena.run_beside(boot, signal.SIGUSR1)
    finally:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
    raise_error(said.decode())
    return status


def _reported(body: Callable[[], int], report: int) -> int:
    try:
        return body()
    except TestbedError as error:
        os.write(report, error_text(error).encode())
        return error.exit_status


def _boot(errand: bytes, size_bytes: int) -> int:
    with ExitStack() as stack:
        place = _place(size_bytes, stack)
        disk = os.memfd_create("errand")
        stack.callback(os.close, disk)
        os.write(disk, errand)
        machine = stack.enter_context(Machine([program("linux.uml"), *_options(size_bytes, disk, place)], disk, place))
        return machine.attend()


def _place(size_bytes: int, stack: ExitStack) -> Path:
    """A folder in memory for the VM's memory and its name; in an arena it is gone with that."""
    if not arena.inside():
        folder = Path(tempfile.mkdtemp(prefix="testbed-vm-", dir="/dev/shm"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder
    folder = Path(tempfile.mkdtemp(prefix="vm-", dir=arena.RUNTIME))
    linux.mount("tmpfs", str(folder), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"size={size_bytes + (16 << 20)}")
    stack.callback(linux.unmount, str(folder))
    return folder


def _options(size_bytes: int, disk: int, place: Path) -> list[str]:
    """What the kernel is told: the host's files as its root, and this package as its first process."""
    return [
        f"mem={size_bytes >> 20}M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet", "selinux=0",
        "noreboot", f"ubd0r=/proc/self/fd/{disk}", f"uml_dir={place}", "umid=vm", _quoted("init", sys.executable),
        _quoted("PYTHONPATH", str(PACKAGE.parent)),
    ]  # fmt: skip


def _quoted(name: str, value: str) -> str:
    """An option in the way in which the kernel reads its command line."""
    if '"' in value:
        raise MachineLacks(f"a path without quotation marks for the VM ({value})", "Install the program elsewhere.")
    return f'{name}="{value}"' if " " in value else f"{name}={value}"
