"""The worker's end of its channel to the agent, and what a function asks on it. Standard library only."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import Any

MAX_MESSAGE_BYTES = 64_000_000


class AskFailed(Exception):
    """What ``ctx.ask`` raises where there is no answer; its text says why."""


class Channel:
    """JSON objects over a stream socket, each behind its length in four bytes (big-endian)."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, data: bytes) -> None:
        """Send one encoded object."""
        self._socket.sendall(len(data).to_bytes(4, "big") + data)

    def receive(self) -> Any:
        """The next object; ends the process when the agent has closed its end."""
        return json.loads(self._exactly(int.from_bytes(self._exactly(4), "big")))

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self._socket.recv(min(count, 1 << 20))
            if not part:
                os._exit(0)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Asking:
    """Puts the texts of one call to the agent, one at a time, until the call is over; for any thread."""

    def __init__(self, channel: Channel) -> None:
        self._channel: Channel | None = channel
        self._turn = threading.Lock()
        self._open = False

    def __call__(self, text: str) -> str:
        """The agent's answer; raises AskFailed."""
        with self._turn:
            if self._channel is None:
                raise AskFailed("the call in which this was asked is over")
            self._open = True
            self._channel.send(json.dumps({"ask": text}).encode())
            reply = self._channel.receive()
            self._open = False
        if "refused" in reply:
            raise AskFailed(reply["refused"])
        answer: str = reply["answer"]
        return answer

    def over(self) -> bool:
        """The call is over; whether a question was left without its answer, so that the channel is of no use."""
        with self._turn:
            self._channel = None
            return self._open
