"""The program that captures packets at one interface of a host, into a pcap file with nanosecond times.

It runs inside the host by itself (``python -I -S capture.py INTERFACE FILE``), with the standard library alone, and
needs nothing but the right to open packet sockets there, which everyone has in an arena. SIGTERM ends it in order. Both
directions are captured. Frames stand in the file as the host's network stack handed them over: with segmentation
offload, one frame may hold many packets of the wire.
"""

# ruff: noqa: PTH123 - importing pathlib would double the start-up

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import time

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # linux/if_packet.h
_SO_TIMESTAMPNS = 35  # linux/socket.h
_MAGIC_NS, _ETHERNET, _LONGEST = 0xA1B23C4D, 1, 262144
_BUFFER_BYTES = 8 << 20
_FLUSH_S = 0.5
_BURST, _LAST_BURSTS = 256, 64


def opened(interface: str) -> socket.socket:
    """A socket that hears all frames of the interface, stamped by the kernel."""
    each = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    each.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    each.setblocking(False)
    each.bind((interface, _ETH_P_ALL))
    return each


def stamp(extras: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Seconds and nanoseconds at which the frame was seen."""
    for level, kind, data in extras:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return int(seconds), int(nanoseconds)
    return divmod(time.time_ns(), 10**9)


def capture(interface: str, path: str) -> int:
    """Capture until SIGTERM; returns how many frames the kernel dropped as this program was too slow."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with opened(interface) as hears, open(path, "wb") as file:
        file.write(struct.pack("=IHHiIII", _MAGIC_NS, 2, 4, 0, 0, _LONGEST, _ETHERNET))
        file.flush()
        with open(path + ".ready", "w"):
            pass
        while not select.select([reading], [], [], 0)[0]:
            if select.select([hears.fileno(), reading], [], [], _FLUSH_S)[0]:
                take(hears, file)
            file.flush()
        for _ in range(_LAST_BURSTS):  # what waits, and not what goes on coming
            take(hears, file)
        return int(struct.unpack("II", hears.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1])


def take(hears: socket.socket, file) -> None:  # type: ignore[no-untyped-def]
    """Write the frames that wait, up to a burst."""
    for _ in range(_BURST):
        try:
            frame, extras, _, _ = hears.recvmsg(_LONGEST, 64)
        except BlockingIOError:
            return
        seconds, nanoseconds = stamp(extras)
        file.write(struct.pack("=IIII", seconds, nanoseconds, len(frame), len(frame)) + frame)


if __name__ == "__main__":
    dropped = capture(sys.argv[1], sys.argv[2])
    with open(sys.argv[2] + ".dropped", "w") as told:
        told.write(str(dropped))
