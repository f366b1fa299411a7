"""The program that measures links from inside a host: sends numbered UDP packets when told, notes those that arrive.

It is put onto each host as one file and run by a bare interpreter (``python -I -S probe.py``), so it uses the standard
library alone, starts in 15 ms and can be read on the host. Orders come as files ``order-<n>.json`` beside it, answers
go to ``result-<n>.json``; it ends when an order says so, or after ``IDLE_S`` seconds without any.

Packets carry the wall-clock time of sending, and arrivals are stamped by the kernel on the same clock, so that how late
this program is woken up does not count. Both ends must share that clock: all emulated hosts of a machine do.

An order: ``start`` and ``end`` (monotonic seconds), ``expect`` (stream -> packets after which to answer early) and
``send``: a list of ``stream, address, port, count, interval_s, size, until_answered``. With ``until_answered``, packets
of a stream are repeated until the receiver's echo has come: that resolves addresses and shows that the way is open.
A result: ``answered`` (streams whose echo came) and ``received``: stream -> list of [number, sent ns, arrived ns].
"""

# ruff: noqa: PTH105, PTH118, PTH123, T201 - importing pathlib would double the start-up; stderr is this program's log

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time

PORT = 45613
IDLE_S = 60.0
POLL_S = 0.004  # how often orders are looked for
ECHO = 0x80000000
_HEADER = struct.Struct("!IIqI")  # stream, number, sent (ns), 1 to ask for an echo
_SO_TIMESTAMPNS = 35  # linux/socket.h; the socket module lacks it
_TIMESPEC = struct.Struct("qq")
_BUFFER_BYTES = 1 << 21


def opened() -> list[socket.socket]:
    """The sockets on which probes arrive: IPv4, and IPv6 where the host has it."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            each = socket.socket(family, socket.SOCK_DGRAM)
        except OSError:
            continue
        if family == socket.AF_INET6:
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        each.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        each.bind(("", PORT))
        each.setblocking(False)
        found.append(each)
    return found


class Stream:
    """Packets still to be sent to one address."""

    def __init__(self, start: float, stream: int, address: str, port: int, count: int, interval_s: float, size: int,
                 until_answered: bool) -> None:
        self.stream, self.to, self.count = stream, (address, port), count
        self.interval, self.size, self.until_answered = interval_s, size, until_answered
        self.number, self.due = 0, start
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET


class Prober:
    """One event loop: it answers and notes packets always, and sends what the current order asks for."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.sockets = {each.family: each for each in opened()}
        self.sending: list[Stream] = []
        self.received: dict[int, list[tuple[int, int, int]]] = {}
        self.answered: set[int] = set()
        self.order: dict[str, object] | None = None
        self.number = 1
        self.last_order = time.monotonic()

    def run(self) -> None:
        """Serve until told to end."""
        _write(os.path.join(self.folder, "ready"), "1")
        while time.monotonic() - self.last_order < IDLE_S:
            if self.order is None and not self.accept():
                return
            pause = min(self.send_due(), POLL_S)
            for each in select.select(list(self.sockets.values()), [], [], max(0.0, pause))[0]:
                self.receive(each)
            if self.order is not None and self.is_done():
                self.answer()

    def accept(self) -> bool:
        """Take the next order if there is one; whether to go on."""
        try:
            with open(os.path.join(self.folder, f"order-{self.number}.json")) as file:
                order = json.load(file)
        except (FileNotFoundError, ValueError):  # not there yet, or half of it
            return True
        if order.get("leave"):
            return False
        self.order, self.last_order = order, time.monotonic()
        self.sending = [Stream(order["start"], **each) for each in order["send"]]
        return True

    def send_due(self) -> float:
        """Send what is due; the seconds until the next packet is."""
        now = time.monotonic()
        for each in self.sending:
            while each.count and each.due <= now:
                self.send(each)
        self.sending = [each for each in self.sending if each.count]
        return min((each.due for each in self.sending), default=now + 1.0) - now

    def send(self, each: Stream) -> None:
        """Send one packet of a stream; one that the kernel refuses is lost like any other."""
        header = _HEADER.pack(each.stream, each.number, time.time_ns(), int(each.until_answered))
        try:
            self.sockets[each.family].sendto(header.ljust(each.size, b"\0"), each.to)
        except (OSError, KeyError) as error:
            print(f"stream {each.stream} to {each.to[0]}: {error!r}", file=sys.stderr)
        each.number += 1
        each.count -= 1
        each.due += each.interval

    def receive(self, incoming: socket.socket) -> None:
        """Take all packets that wait."""
        while True:
            try:
                data, extras, _, sender = incoming.recvmsg(65536, 64)
            except BlockingIOError:
                return
            except OSError as error:  # a peer's refusal of an earlier packet
                print(f"receiving: {error!r}", file=sys.stderr)
                continue
            if len(data) < _HEADER.size:
                continue
            stream, number, sent, wants_echo = _HEADER.unpack_from(data)
            if stream & ECHO:
                self.answered.add(stream ^ ECHO)
                self.sending = [each for each in self.sending if each.stream != stream ^ ECHO]
            elif wants_echo:
                self.echo(incoming, stream, sender)
            else:
                self.received.setdefault(stream, []).append((number, sent, _arrival(extras)))

    def echo(self, back: socket.socket, stream: int, sender: tuple[str, int]) -> None:
        """Tell the sender that its packets arrive."""
        try:
            back.sendto(_HEADER.pack(stream | ECHO, 0, 0, 0), sender)
        except OSError as error:
            print(f"echo of stream {stream}: {error!r}", file=sys.stderr)

    def is_done(self) -> bool:
        """Whether all is sent and either all expected has come or the time is over."""
        order = self.order or {}
        if time.monotonic() >= order["end"]:  # type: ignore[operator]
            return True
        expected = order["expect"].items()  # type: ignore[attr-defined]
        return not self.sending and all(len(self.received.get(int(name), ())) >= count for name, count in expected)

    def answer(self) -> None:
        """Write the result of the current order, and be ready for the next."""
        result = {"answered": sorted(self.answered), "received": self.received}
        _write(os.path.join(self.folder, f"result-{self.number}.json"), json.dumps(result))
        self.order, self.received, self.sending = None, {}, []
        self.answered = set()
        self.number += 1


def _arrival(extras: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in extras:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return int(seconds) * 10**9 + int(nanoseconds)
    return time.time_ns()


def _write(path: str, text: str) -> None:
    with open(path + ".part", "w") as file:
        file.write(text)
    os.replace(path + ".part", path)


if __name__ == "__main__":
    Prober(sys.argv[1]).run()
