"""What is short for a packet that nothing hinders gives exactly what the whole model gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Talk, alive, chain

from testbed.shaping.base import Counters
from testbed.topology.model import End
from testbed.twin.link import Lane
from testbed.twin.options import TwinOptions
from testbed.twin.tcp_sender import Sender
from testbed.twin.train import Train

Message = tuple[float, int, str]
Seen = tuple[list[list[tuple[float, str]]], dict[End, Counters]]


def take_wholly(self: Lane, train: Train, take: Callable[[Lane, Train], None] = Lane.take) -> None:
    """A link without its short way."""
    self._is_plain = False
    take(self, train)


def send_wholly(self: Sender, size: int, arrived: Callable[..., object], args: tuple[Any, ...]) -> None:
    """A sender that always asks its window."""
    start, now = self._end, self._loop.now
    self._end = start + (size if size > 0 else 1)
    self._messages.append((self._end, arrived, args))
    if self._next == start and not self._lost:
        if not self._flight and self._window > self._costs.window:
            self._restart(now - self._last_sent)
        self._push(now, now)


def settle_wholly(self: Sender, train: Train, ack: int, now: float) -> None:
    """A sender that looks through all that is under way."""
    self._flight.append(train)
    self._una = ack
    self._forget(ack, now, now)


def told(links: list[str], talks: list[list[Message]], cuts: list[tuple[float, bool]], efficiency: float) -> Seen:
    """What arrived over some connections, at which times, and what was counted on the links."""
    loop, network = alive(chain(*links), TwinOptions(tcp_efficiency=efficiency))
    heard = [Talk(loop, network) for _ in talks]
    for talk, messages in zip(heard, talks, strict=True):
        talk.open()
        for number, (when, size, sender) in enumerate(messages):
            talk.at(when, size, f"{sender}{number}", sender)
    for when, up in cuts:
        loop.at(when, network.connect, "l1", up)
    loop.at(3.0, network.connect, "l1", True)
    loop.run_until(400.0)
    return [talk.seen for talk in heard], dict(network.counters())


moments = st.one_of(st.floats(0, 2), st.sampled_from([0.0, 0.02, 0.04, 0.06, 1.0, 1.04]))
messages = st.lists(st.tuples(moments, st.sampled_from([0, 10, 100, 1448, 5000, 60_000]), st.sampled_from("ab")))
shapes = st.sampled_from([
    "", "delay: 10ms", "rate: 1Mbit", "rate: 10Mbit, delay: 5ms", "rate: 5Mbit, burst: 3KiB",
    "rate: 2Mbit, queue: 3p, delay: 1ms", "loss: 5%, delay: 2ms", "jitter: 1ms, delay: 3ms",
])  # fmt: skip


@settings(deadline=None)
@given(st.lists(shapes, min_size=1, max_size=3), st.lists(messages, min_size=1, max_size=3),
       st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=2), st.sampled_from([0.956, 1.0]))  # fmt: skip
def test_the_short_ways_change_no_time_and_no_count(
    links: list[str], talks: list[list[Message]], cuts: list[tuple[float, bool]], efficiency: float
) -> None:
    express = told(links, talks, cuts, efficiency)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lane, "take", take_wholly)
        patch.setattr(Sender, "send", send_wholly)
        patch.setattr(Sender, "_settle", settle_wholly)
        wholly = told(links, talks, cuts, efficiency)
    assert express == wholly
