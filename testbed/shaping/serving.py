"""The other end of :class:`testbed.shaping.child.Child`: what processes that move packets have in common."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

BUCKET_S = 20e-6  # lateness is counted in buckets of this width, the last one open
BUCKETS = 2500


class Orders:
    """The driver's orders, on ``control``: one JSON object a line, one answer each, by what its verb stands for.

    ``open`` until the driver closes its end; ``buffer_bytes`` hold answers, so that none holds up the packets.
    """

    def __init__(self, control: socket.socket, verbs: Mapping[str, Callable[..., Any]], buffer_bytes: int) -> None:
        control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        self._control, self._verbs, self._unread = control, verbs, b""
        self.open = True

    def fileno(self) -> int:
        """What to wait for orders on."""
        return self._control.fileno()

    def obey(self) -> None:
        """Carry out and answer the orders that are there."""
        data = self._control.recv(1 << 20)
        self.open = bool(data)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            answer = self._verbs[order.pop("do")](**order)
            self._control.sendall(json.dumps(answer).encode() + b"\n")


class Latenesses:
    """How late packets left, counted in buckets of :data:`BUCKET_S`."""

    def __init__(self) -> None:
        self._counts, self._most = [0] * BUCKETS, 0.0

    def note(self, late: float) -> None:
        """One packet, so many seconds late."""
        bucket = int(late / BUCKET_S)
        self._counts[bucket if bucket < BUCKETS else -1] += 1
        if late > self._most:
            self._most = late

    def told(self) -> dict[str, Any]:
        """What was counted since the last call."""
        counted = {bucket: count for bucket, count in enumerate(self._counts) if count}
        answer = {"buckets": counted, "max_s": self._most}
        self._counts, self._most = [0] * BUCKETS, 0.0
        return answer
