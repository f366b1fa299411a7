"""Shaping by the kernel's own queueing disciplines on the nodes' interfaces: token buckets, or netem."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from errno import ENOENT
from typing import Literal

from testbed.errors import MachineLacks, ShapeNotInForce
from testbed.netlink import KernelRefused, Netlink, Request
from testbed.seeds import stream
from testbed.shaping import offload, tc
from testbed.shaping.base import Counters, Lateness, Mechanism, Port, Wire
from testbed.shaping.choose import expresses
from testbed.topology.model import End
from testbed.topology.shape import Shape

_UNSHAPED = Shape.model_validate({})


class KernelShaper:
    """The mechanisms ``tbf`` and ``netem``.

    The kernel does not tell why it dropped a packet: all drops are ``dropped_queue``, those at a cut link excepted.
    """

    def __init__(self, wires: Sequence[Wire], seed: int, mechanism: Literal["tbf", "netem"]) -> None:
        self.mechanism: Mechanism = mechanism
        self._seed = seed
        self._wires = {wire.link: wire for wire in wires}
        self._asked = {End(wire.link, node): shape for wire in wires
                       for node, shape in zip(wire.nodes, wire.shapes, strict=True)}  # fmt: skip
        self._in_force: dict[End, Shape | None] = dict.fromkeys(self._asked, _UNSHAPED)  # None: cut
        self._dropped_queue: dict[End, int] = defaultdict(int)  # by qdiscs that are gone
        self._dropped_down: dict[End, int] = defaultdict(int)
        todo: dict[int, list[Request]] = defaultdict(list)
        for end, shape in self._asked.items():
            todo[self._port(end).netns] += self._messages(end, shape)
        for netns, messages in todo.items():
            self._do(netns, messages)
        self._in_force.update(self._asked)

    def shape(self, end: End, shape: Shape) -> None:
        """Put ``shape`` in force on what leaves ``end``; ShapeNotInForce if this mechanism cannot do it."""
        if not expresses(self.mechanism, shape):
            raise self._cannot(end)
        self._asked[end] = shape
        if self._in_force[end] is not None:  # else it comes into force when the link is mended
            self._change(end, shape)

    def connect(self, link: str, up: bool) -> None:
        """Cut or mend both directions of ``link``; a cut drops what waits, and addresses, routes and carrier stay."""
        for node in self._wires[link].nodes:
            end = End(link, node)
            if up == (self._in_force[end] is None):
                self._change(end, self._asked[end] if up else None)

    def counters(self) -> dict[End, Counters]:
        """What each end has let pass and dropped, as the kernel counts it."""
        ends: dict[int, list[End]] = defaultdict(list)
        for end in self._asked:
            ends[self._port(end).netns].append(end)
        found = {}
        for netns, here in ends.items():
            with Netlink(netns) as netlink:
                counted, drops = netlink.statistics(), tc.drops(netlink)
            found.update({end: self._counted(end, counted, drops) for end in here})
        return found

    def lateness(self) -> Lateness | None:
        """None: packets do not leave the kernel."""
        return None

    def check(self) -> None:
        """Nothing runs that could end."""

    def close(self) -> None:
        """Nothing to end: the qdiscs go with their interfaces."""

    def _port(self, end: End) -> Port:
        wire = self._wires[end.link]
        return wire.outer[wire.side(end.node)]

    def _change(self, end: End, after: Shape | None) -> None:
        before, port = self._in_force[end], self._port(end)
        if before is None or after is None or after.is_plain:
            with Netlink(port.netns) as netlink:  # the qdisc is about to go, with its count
                dropped = tc.drops(netlink).get(port.index, 0)
            (self._dropped_down if before is None else self._dropped_queue)[end] += dropped
        self._do(port.netns, self._messages(end, after))
        self._in_force[end] = after

    def _messages(self, end: End, after: Shape | None) -> Sequence[Request]:
        """What brings an end from what is in force there to ``after``."""
        before, port, mtu = self._in_force[end], self._port(end), self._wires[end.link].mtu
        if after is None:
            return (tc.swallow(port.index),)
        if after.is_plain:
            return () if before is not None and before.is_plain else (tc.remove(port.index),)
        if not expresses(self.mechanism, after):
            raise self._cannot(end)
        offload.switch(port, offload.allowed(after))
        if self.mechanism == "tbf":
            return tc.token_bucket(port.index, after, mtu)
        had_rate = before is not None and before.rate is not None
        seed = stream(self._seed, "link", end.link, end.node).getrandbits(64)
        return (*((tc.remove_rate(port.index),) if had_rate and after.rate is None else ()),
                *tc.netem(port.index, after, mtu, seed))  # fmt: skip

    def _cannot(self, end: End) -> ShapeNotInForce:
        return ShapeNotInForce(
            f"The link {end.link} is shaped by {self.mechanism}, which knows a rate and a queue only; what leaves "
            f"{end.node} is to get more. Name the shape in the timeline, so that a fitting mechanism is chosen."
        )

    def _do(self, netns: int, messages: Sequence[Request]) -> None:
        if not messages:
            return
        try:
            with Netlink(netns) as netlink:
                netlink.do(messages)
        except KernelRefused as refused:
            if refused.number == ENOENT:
                lacking = f"the kernel module sch_{self.mechanism}"
                raise MachineLacks(lacking, "The relay shapes links without it.") from refused
            raise ShapeNotInForce(f"A shape by {self.mechanism} is not in force. {refused}") from refused

    def _counted(self, end: End, counted: Mapping[int, tuple[int, ...]], drops: Mapping[int, int]) -> Counters:
        index, is_down = self._port(end).index, self._in_force[end] is None
        _, packets, _, size = counted[index][:4]
        now = drops.get(index, 0)
        return Counters(packets, size, dropped_queue=self._dropped_queue[end] + (0 if is_down else now),
                        dropped_down=self._dropped_down[end] + (now if is_down else 0))  # fmt: skip
