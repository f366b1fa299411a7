"""Small questions to hosts, and the programs that run on them."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from testbed.substrate.base import Host, Process

_BARE = (sys.executable, "-I", "-S")  # starts in some ten milliseconds: no site packages
_HERE = Path(__file__).parent
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


def script(host: Host, folder: Path, name: str) -> Process:
    """Run one of the programs beside this file, which stand alone, on a host, with ``folder`` for its files."""
    host.put((_HERE / name).read_text(encoding="utf-8"), folder / name)
    place = host.folder / folder
    return host.start([*_BARE, str(place / name), str(place)], place)


def said(host: Host, path: Path) -> Any:
    """What a JSON file on a host holds (an empty one: nothing but that it is there), or None if there is none."""
    with suppress(OSError, ValueError):
        return json.loads(host.get(path) or "{}")
    return None


def written(host: Host, process: Process) -> str:
    """All that a process wrote to its standard output."""
    with suppress(OSError):
        return host.get(process.folder / "stdout")
    return ""


def is_listening(host: Host, port: int) -> bool:
    """Whether a program of the host waits for TCP connections to ``port``; asked without connecting."""
    told = host.run(["cat", "/proc/self/net/tcp"]).stdout
    rows = [line.split() for line in told.splitlines()[1:]]
    return any(row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port for row in rows)


def last_words(host: Host, process: Process) -> str:
    """How a process ended and the last line that it wrote."""
    status, said = process.poll(), ""
    for name in ("stderr", "stdout"):
        with suppress(OSError):
            lines = host.get(process.folder / name).strip().splitlines()
            telling = [line.strip() for line in lines if "error" in line.lower()] or lines
            said = telling[-1].replace('"', "").replace("error:", "").strip() if telling else ""
        if said:
            break
    return f"status {status}, {said}" if said else f"status {status}"
