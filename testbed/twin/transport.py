"""TCP connections of the twin: set-up, messages in both directions, end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from testbed.twin.link_path import Path
from testbed.twin.tcp import MOST_TIMEOUT, Costs
from testbed.twin.tcp_receiver import Receiver
from testbed.twin.tcp_sender import Sender
from testbed.twin.train import Train

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop

FIRST_RETRY = 1.0  # seconds after which a lost SYN is sent again; then twice as long each time (Linux)


class _Packet:
    """Receives one packet of the handshake."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def arrive(self, train: Train) -> None:
        """It is here."""
        self._then()


def _nothing() -> None:
    """What the last packet of an exchange does."""


class Connection:
    """One TCP connection, full duplex; what is sent arrives in order, whatever happens to packets.

    Nothing is on the wire before :meth:`open`; a connection that nobody opens passes for one that was open before.
    """

    def __init__(
        self, loop: VirtualLoop, ends: tuple[str, str], paths: tuple[Path, Path], costs: Costs,
        listening: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._loop, self._paths, self._costs, self._listening = loop, paths, costs, listening
        self._client = ends[0]
        there, back = paths
        at_server, at_client = Receiver(loop, back, costs), Receiver(loop, there, costs)
        forward, backward = Sender(loop, there, costs, at_server), Sender(loop, back, costs, at_client)
        forward.beside, backward.beside = at_client, at_server
        at_client.beside, at_server.beside = forward, backward
        at_client.far, at_server.far = at_server, at_client
        self._forward, self._backward = forward, backward
        self._receivers = (at_server, at_client)
        self._done: Callable[[bool], None] | None = None
        self._is_open = False

    def open(self, done: Callable[[bool], None]) -> None:
        """Shake hands; ``done(True)`` after a round trip, ``done(False)`` if the server answers that nobody listens.

        Without an answer the packet is sent again after 1, 2, 4 ... seconds until the connection is closed.
        """
        if not self._is_closed:
            self._done = done
            self._knock(FIRST_RETRY)

    def send(self, sender: str, size: int, arrived: Callable[..., object], *args: object) -> None:
        """``size`` bytes from ``sender``; ``arrived(*args)`` when the last is there, in order with earlier messages."""
        if not self._is_closed:
            self.sender(sender).send(size, arrived, args)

    def sender(self, node: str) -> Sender:
        """What sends from ``node``: the short way to :meth:`send` for whoever sends nothing after :meth:`close`."""
        return self._forward if node == self._client else self._backward

    def arrived(self, sender: str) -> int:
        """Bytes from ``sender`` that are at the other end, in order."""
        return self._receivers[sender != self._client].received

    def close(self) -> None:
        """Nothing arrives any more, and no timer does anything; an open one costs the packets of its end."""
        if self._is_open and self._costs.header:
            self._is_open = False
            self._throw(0, partial(self._throw, 1, partial(self._throw, 0, _nothing)))
        self._done = None
        for receiver in self._receivers:
            receiver.is_closed = True
            receiver.messages.clear()
        self._forward.stop()
        self._backward.stop()

    @property
    def _is_closed(self) -> bool:
        return self._receivers[0].is_closed

    def _knock(self, patience: float) -> None:
        if self._done is None:
            return
        began = self._loop.now
        self._throw(0, partial(self._knocked, began))
        self._loop.at(began + patience, self._knock, min(2 * patience, MOST_TIMEOUT))

    def _knocked(self, began: float) -> None:
        """At the server."""
        if not self._is_closed:
            self._throw(1, partial(self._answered, began, self._listening()))

    def _answered(self, began: float, is_open: bool) -> None:
        """At the client."""
        done, self._done = self._done, None
        if done is None:
            return
        if is_open:
            for sender in (self._forward, self._backward):
                sender.measured(self._loop.now - began)
            self._is_open = True
            if self._costs.header:
                self._throw(0, _nothing)
        done(is_open)

    def _throw(self, way: int, then: Callable[[], None]) -> None:
        """Send one packet without payload."""
        header, path = self._costs.header, self._paths[way]
        packet = Train(0, 0, 1, 0, header, header, self._loop.now)
        packet.target = _Packet(then)
        packet.stops = stops = path.stops if header else path.free
        stops[0].take(packet)
