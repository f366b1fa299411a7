"""Sends prepared packets at their times; stands alone and is run on a host.

    python3 sender.py FOLDER

FOLDER/flow.json holds packets and times (see ``craft.py``). It waits for FOLDER/go, in which stands the moment of this
machine's monotonic clock that the times count from. FOLDER/sent.json says what was sent, once it is over or SIGTERM
comes. A packet that the kernel does not take at once is counted and left out, as the next ones are due.
"""

import base64
import json
import os
import signal
import socket
import sys
import time
from array import array
from pathlib import Path
from typing import Any

ASK_S = 0.01
BUFFER = 8 << 20
SO_SNDBUFFORCE = 32
RAW_WITH_HEADER = 3  # IP_HDRINCL


class Ended(Exception):
    """Somebody wants this program to end."""


def end(*_: object) -> None:
    """Handle SIGTERM."""
    raise Ended


def opened() -> socket.socket:
    """A socket for whole IP packets that never blocks, with room for many."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.setsockopt(socket.IPPROTO_IP, RAW_WITH_HEADER, 1)
    try:
        raw.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
    except OSError:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    raw.setblocking(False)
    return raw


def told_when(folder: Path, parent: int) -> float:
    """The moment that the times count from, as soon as it is known."""
    go, said = folder / "go", ""
    while not said.endswith("\n"):  # a file that somebody is writing is there before its text is
        if os.getppid() != parent:
            raise Ended
        time.sleep(ASK_S)
        said = go.read_text() if go.exists() else ""
    return float(said)


class Sender:
    """Sends one flow and keeps its books."""

    def __init__(self, flow: dict[str, Any]) -> None:
        self.packets = [base64.b64decode(each) for each in flow["packets"]]
        self.frames, self.times, self.which = flow["frames"], array("d"), array("H")
        self.times.frombytes(base64.b64decode(flow["times"]))
        self.which.frombytes(base64.b64decode(flow["which"]))
        self.goal, self.begin, self.end = (flow["target"], 0), flow["begin"], flow["end"]
        self.late = array("d")
        self.bytes = self.refused = 0
        self.began: float | None = None
        self.ended: float | None = None
        self.error = ""

    def send(self, raw: socket.socket, t0: float) -> None:
        """Send all that is due, until the end."""
        wait(t0 + self.begin)
        self.began = time.monotonic() - t0
        clock, put, goal, late, packets = time.monotonic, raw.sendto, self.goal, self.late, self.packets
        for due, which in zip(self.times, self.which, strict=True):
            now = clock() - t0
            if now < due:
                time.sleep(due - now)
                now = clock() - t0
            late.append(max(0.0, now - due))
            try:
                put(packets[which], goal)
                self.bytes += self.frames[which]
            except OSError as error:  # no room, no route, an interface that is down: the traffic goes on
                self.refused += 1
                self.error = error.strerror or str(error)
        wait(t0 + self.end)

    def told(self) -> dict[str, Any]:
        """What was done."""
        ordered = sorted(self.late)
        last = len(ordered) - 1
        late = [ordered[int(share * last)] for share in (0.5, 0.99, 1)] if ordered else None
        return {"began": self.began, "ended": self.ended, "sent": len(ordered) - self.refused, "bytes": self.bytes,
                "refused": self.refused, "error": self.error, "late": late}


def wait(until: float) -> None:
    """Sleep until a moment of the monotonic clock."""
    left = until - time.monotonic()
    if left > 0:
        time.sleep(left)


def main(folder: Path) -> None:
    """Send the flow of ``folder``."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, end)
    sender = Sender(json.loads((folder / "flow.json").read_text()))
    t0 = time.monotonic()
    try:
        with opened() as raw:
            (folder / "ready").write_text("")
            t0 = told_when(folder, parent)
            sender.send(raw, t0)
    except Ended:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sender.ended = time.monotonic() - t0
    half = folder / "sent.part"
    half.write_text(json.dumps(sender.told()))
    half.replace(folder / "sent.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
