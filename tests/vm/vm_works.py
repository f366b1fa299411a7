"""Works that go into the VM: it unpickles them by their names here."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from testbed.errors import MachineLacks
from testbed.substrate.probe import probe
from testbed.substrate.vm_host import run_in_vm


def look_around() -> int:
    """Say what is here, write a file beside it, and end with a status of one's own."""
    names = ("netem", "tbf", "openvswitch", "bridge", "netns")
    found = [name for name in names if probe().features[name].available]
    print(platform.release(), os.getcwd(), os.environ["GIVEN"], *found, flush=True)  # noqa: PTH109
    print("a word on stderr", os.isatty(1), file=sys.stderr)
    Path("from-the-vm.txt").write_text("written inside\n")
    return 7


def lack() -> NoReturn:
    """Raise an error of ours."""
    raise MachineLacks("a thing", "Get one.")


def wait() -> int:
    """Say so, and stay for as long as one is let, with a child and a file in memory."""
    if os.fork() == 0:
        time.sleep(600)
    Path(os.environ["TMPDIR"], "scratch").write_text("x" * 100_000)
    print("inside", flush=True)
    time.sleep(600)
    return 0


def break_down() -> int:
    """Have the kernel panic."""
    Path("/proc/sysrq-trigger").write_text("c")
    time.sleep(600)
    return 0


def main(name: str) -> int:
    """Carry the work of this name into a VM."""
    work: Callable[[], int] = {"look": look_around, "lack": lack, "wait": wait, "break": break_down}[name]
    return run_in_vm(work, f"vm-works-{os.getpid()}")
