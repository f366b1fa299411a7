"""The flows that the background of an experiment comes to, and what became of each: a row of ``background.csv``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from testbed.background.spec import Iperf3, Packets
from testbed.tables import Row

MOST_FLOWS = 256
MOST_PACKETS = 1_000_000  # that are made from descriptions in one run
MOST_PER_SECOND = 50_000.0  # of them, all flows together
FIRST_PORT = 42_000  # where iperf3 listens; each flow has a port of its own
FIRST_SOURCE_PORT = 43_000

Note = Callable[[str, str, str, float | None], object]
"""Whom to tell of an event: its kind, its subject, its detail, and when it was planned (None: by nobody)."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Traffic from one node to another. Times are seconds after the start of the workload.

    ``number`` tells the flows of a run apart; ``entry`` is the name of the entry in the file, which may mean several.
    """

    number: int
    name: str
    entry: str
    what: Iperf3 | Packets
    source: str
    target: str
    source_ip: str
    target_ip: str
    begin: float
    end: float

    @property
    def port(self) -> int:
        """The destination port."""
        return self.what.port if isinstance(self.what, Packets) else FIRST_PORT + self.number

    @property
    def source_port(self) -> int:
        """The source port of packets; the identifier of echo requests."""
        chosen = self.what.source_port if isinstance(self.what, Packets) else None
        return chosen if chosen is not None else FIRST_SOURCE_PORT + self.number

    @property
    def ways(self) -> tuple[str, str]:
        """The nodes that payload goes from and to: for iperf3 the other way round if that is asked for."""
        is_back = isinstance(self.what, Iperf3) and self.what.reverse
        return (self.target, self.source) if is_back else (self.source, self.target)


def entries(flows: Sequence[Flow]) -> Iterator[tuple[str, tuple[Flow, ...]]]:
    """The flows of each entry of the file, together."""
    for entry, found in groupby(flows, lambda flow: flow.entry):
        yield entry, tuple(found)


def described(flows: Sequence[Flow]) -> str:
    """What the flows of one entry are, for a person."""
    what, first = flows[0].what, flows[0]
    if isinstance(what, Packets):
        pace = f"{what.frequency:g} packets/s" if what.frequency is not None else _rate(what.rate or 0.0)
    else:
        pace = _rate(what.rate) if what.rate is not None else "as much as it gets"
    where = f"{first.source} to {first.target}" if len(flows) == 1 else f"{len(flows)} flows"
    return f"{what.kind} {what.protocol}, {where}, {pace}"


def _rate(rate: float) -> str:
    return f"{rate / 1e6:g} Mbit/s"


@dataclass
class Outcome:
    """What became of a flow; None is not known or not applicable. Bytes are payload (iperf3) or whole frames (packets).

    ``lost_packets`` are what the goal missed, where it knows; else it follows from what was sent and what arrived.
    ``late`` is how late packets were sent: median, 99th percentile, maximum, in seconds.
    """

    flow: Flow
    began: float | None = None
    ended: float | None = None
    planned_packets: int | None = None
    sent_packets: int | None = None
    received_packets: int | None = None
    sent_bytes: int | None = None
    received_bytes: int | None = None
    lost_packets: int | None = None
    retransmits: int | None = None
    late: tuple[float, float, float] | None = None
    error: str = ""

    @property
    def lasted(self) -> float | None:
        """Seconds from its actual start to its actual end."""
        return None if self.began is None or self.ended is None else self.ended - self.began

    @property
    def loss(self) -> float | None:
        """Share of the packets sent that did not arrive."""
        if not self.sent_packets or self.received_packets is None:
            return None
        if self.lost_packets is not None:
            return self.lost_packets / max(1, self.lost_packets + self.received_packets)
        return max(0.0, 1.0 - self.received_packets / self.sent_packets)

    def row(self) -> Row:
        """The row of ``background.csv``."""
        late, what = self.late or (None, None, None), self.flow.what
        lasted, received = self.lasted, self.received_bytes
        return {
            "name": self.flow.name, "from": self.flow.ways[0], "to": self.flow.ways[1], "kind": what.kind,
            "protocol": what.protocol, "t_start_planned": self.flow.begin, "t_start": self.began,
            "t_end_planned": self.flow.end, "t_end": self.ended, "planned_packets": self.planned_packets,
            "sent_packets": self.sent_packets, "received_packets": self.received_packets,
            "sent_bytes": self.sent_bytes, "received_bytes": received,
            "rate_bps": received * 8 / lasted if received is not None and lasted else None,
            "loss": self.loss, "retransmits": self.retransmits,
            "send_delay_p50_s": late[0], "send_delay_p99_s": late[1], "send_delay_max_s": late[2],
            "status": "failed" if self.error else "ok", "error": self.error,
        }  # fmt: skip


def failures(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """What failed, for the verdict."""
    return [f"{row['name']}: {row['error']}" for row in rows if row["error"]]
