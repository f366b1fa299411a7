"""Opening sockets inside a network namespace that is known by its file descriptor."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(netns: int) -> None:
    """Move the calling thread into the network namespace; a socket belongs to the one in which it was opened."""
    if _libc.setns(netns, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"entering the network namespace behind descriptor {netns}: {os.strerror(number)}")


def inside(netns: int, action: Callable[[], T]) -> T:
    """The result of ``action``, run by a thread of its own inside the namespace; the caller stays where it is."""

    def moved() -> T:
        enter(netns)
        return action()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(moved).result()


def control_socket(netns: int) -> socket.socket:
    """A datagram socket in the namespace, for ioctl calls on its interfaces."""
    return inside(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
