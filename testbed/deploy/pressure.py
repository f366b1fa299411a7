"""Keeps processors busy and memory full for a while; stands alone and is run on a host.

    python3 pressure.py SECONDS PROCESSES SHARE BYTES

Every process of it ends by itself when the time is over, and when the first one dies.
"""

import os
import signal
import sys
import time

SLICE_S = 0.01  # a busy process works and rests in turns of this time together
PAGE = 4096


def main(lasting: float, processes: int, share: float, memory: int) -> None:
    """Press until the time is over."""
    end = time.monotonic() + lasting
    parent = os.getpid()
    children = [pid for _ in range(processes) if (pid := start(end, share, parent))]
    held = bytearray(memory)
    for at in range(0, memory, PAGE):
        held[at] = 1  # touched, so that it takes memory and not only addresses
    time.sleep(max(0.0, end - time.monotonic()))
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def start(end: float, share: float, parent: int) -> int:
    """A busy process; its number."""
    pid = os.fork()
    if pid == 0:
        work(end, share, parent)
        os._exit(0)
    return pid


def work(end: float, share: float, parent: int) -> None:
    """Count in vain."""
    while (now := time.monotonic()) < end and os.getppid() == parent:
        busy = min(end, now + SLICE_S * share)
        while time.monotonic() < busy:
            pass
        if share < 1:
            time.sleep(SLICE_S * (1 - share))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
