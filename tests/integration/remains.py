"""What programs leave behind, seen from private namespaces that hold nothing else: processes, files, and the rest."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

KINDS = ("net", "mnt", "pid", "ipc", "uts", "user", "cgroup")
TEMPORARY = ("/tmp", "/run", "/var/tmp", "/dev/shm")  # private and empty in here
GROUPS = Path("/sys/fs/cgroup")


def alone(*argv: str) -> list[str]:
    """The command that runs ``argv`` as the first process of namespaces of its own, which end with it."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    kinds = ["--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *user, *kinds, sys.executable, *argv]


def furnish(*needed: Path) -> None:
    """In a program that :func:`alone` started: fresh folders for temporary files, and no idea of another arena.

    What is ``needed`` stays where it is, also below such a folder, and does not count as temporary.
    """
    within = [path for path in needed if any(path.is_relative_to(folder) for folder in TEMPORARY)]
    opened = [os.open(path, os.O_PATH) for path in within]
    for folder in TEMPORARY:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "none", folder], check=True)
    for path, fd in zip(within, opened, strict=True):
        path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-c", "--bind", f"/proc/{os.getpid()}/fd/{fd}", path], check=True)  # -c: by no name
        os.close(fd)
    for name in ("TESTBED_ARENA", "TESTBED_OWNER"):
        os.environ.pop(name, None)
    os.environ["HOME"] = "/tmp"


def seen(*kept: Path) -> Mapping[str, set[str]]:
    """Everything of each kind that is there now; what lies below ``kept`` does not count. Buries orphans first."""
    bury()
    return {
        "processes": set(processes()),
        "namespaces": set(namespaces()),
        "interfaces": {name for _, name in socket.if_nameindex()},
        "mounts": set(Path("/proc/self/mountinfo").read_text().splitlines()),
        "sockets": {name for name in Path("/proc/net/unix").read_text().split() if name.startswith(("@", "/"))},
        "files": set(files(kept)),
        "control groups": set(groups()),
    }


def bury(awaited: int = 0) -> int | None:
    """Reap all that has ended, as the first process has to; the wait status of ``awaited`` if it is among them."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found = ended[1] if ended[0] == awaited else found
    return found


def processes() -> Iterator[str]:
    """Every process but this one, with its command."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                yield f"{entry.name} {(entry / 'cmdline').read_text().replace(chr(0), ' ')}"


def namespaces() -> Iterator[str]:
    """Every namespace in which a process is or which it holds open."""
    for folder in (*Path("/proc").glob("[0-9]*/ns"), *Path("/proc").glob("[0-9]*/fd")):
        with suppress(OSError):
            for entry in list(folder.iterdir()):
                with suppress(OSError):
                    if (text := str(entry.readlink())).split(":")[0] in KINDS:
                        yield text


def files(kept: Sequence[Path]) -> Iterator[str]:
    """Every file and folder among the temporary ones."""
    for top in TEMPORARY:
        for folder, folders, names in os.walk(top):
            folders[:] = [each for each in folders if Path(folder, each) not in kept]
            yield from (f"{folder}/{name}" for name in (*folders, *names))


def groups() -> Iterator[str]:
    """The control groups that processes of this PID namespace have made, by the name that the product gives them."""
    own = f"-{Path('/proc/self/ns/pid').stat().st_ino}-"
    for folder, names, _ in os.walk(GROUPS):
        yield from (f"{folder}/{name}" for name in names if own in f"-{name}")


def parents() -> dict[int, int]:
    """Every process with its parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                found[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    return found


def family(root: int) -> list[int]:
    """``root`` and all its descendants."""
    known, members = parents(), [root]
    for member in members:
        members += [pid for pid, parent in known.items() if parent == member]
    return members
