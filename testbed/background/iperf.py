"""The program iperf3: how it is called, and what its JSON says in the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.background.flows import Flow, Outcome
from testbed.background.spec import Iperf3
from testbed.errors import MachineLacks
from testbed.substrate.base import Capabilities

PROGRAM = "iperf3"
_ENDED = ("interrupt - the client has terminated", "the client has terminated", "interrupt - the server has terminated")
_LEAST_BLOCK, _MOST_BLOCK, _BLOCK_S = 1448, 128 << 10, 0.01


def require(flows: Sequence[Flow], offer: Capabilities) -> None:
    """Raise MachineLacks if flows want the program and it is not here."""
    feature = offer.features[PROGRAM] if any(isinstance(flow.what, Iperf3) for flow in flows) else None
    if feature is not None and not feature.available:
        raise MachineLacks(f"{PROGRAM} for the background traffic ({feature.detail})", f"{feature.remedy}.")


def block(what: Iperf3) -> int:
    """Bytes that one TCP connection writes at a time: iperf3's own 128 KiB would come in bursts at a low rate."""
    if what.rate is None:
        return _MOST_BLOCK
    return max(_LEAST_BLOCK, min(_MOST_BLOCK, int(what.rate / what.connections * _BLOCK_S / 8)))


def server(flow: Flow) -> list[str]:
    """The command of the server, which ends after one test."""
    return [PROGRAM, "--server", "--one-off", "--bind", flow.target_ip, "--port", str(flow.port), "--json"]


def client(flow: Flow) -> list[str]:
    """The command of the client, which goes on until it is told to end."""
    what = flow.what
    assert isinstance(what, Iperf3)
    argv = [PROGRAM, "--client", flow.target_ip, "--bind", flow.source_ip, "--port", str(flow.port), "--json"]
    argv += ["--time", "0", "--parallel", str(what.connections)]
    if what.rate is not None:
        argv += ["--bitrate", str(max(1, round(what.rate / what.connections)))]
    if what.protocol == "udp":
        argv += ["--udp", "--length", str(what.size)]
    elif what.rate is not None:
        argv += ["--length", str(block(what))]
    return [*argv, "--reverse"] if what.reverse else argv


def environment(folder: Path) -> dict[str, str]:
    """What it needs to know: it puts what it is about to send into a file, which not everybody may do in /tmp."""
    return {"TMPDIR": str(folder)}


@dataclass(frozen=True, slots=True)
class Report:
    """What one side says: ``end`` is the part of its JSON about the whole test, ``error`` why it ended too early."""

    end: dict[str, Any]
    error: str = ""

    def sum(self, name: str) -> dict[str, Any]:
        """One of the sums; empty if the side has none."""
        found = self.end.get(name)
        return found if isinstance(found, dict) else {}


def read(text: str) -> Report:
    """What a side wrote; it is meant to be told to end."""
    try:
        told = json.loads(text)
    except ValueError:
        return Report({}, (text.strip().splitlines() or ["it wrote nothing"])[-1][:200])
    error = str(told.get("error", ""))
    return Report(told.get("end") or {}, "" if error in _ENDED else error)


def fill(outcome: Outcome, here: Report, there: Report) -> None:
    """Complete ``outcome`` from what the client (``here``) and the server (``there``) say."""
    what = outcome.flow.what
    assert isinstance(what, Iperf3)
    sender, receiver = (there, here) if what.reverse else (here, there)
    outcome.sent_bytes = sender.sum("sum_sent").get("bytes")
    outcome.received_bytes = receiver.sum("sum_received").get("bytes")
    if what.protocol == "tcp":
        outcome.retransmits = sender.sum("sum_sent").get("retransmits")
        return
    if outcome.sent_bytes is not None:
        outcome.sent_packets = round(outcome.sent_bytes / what.size)
    if outcome.received_bytes is not None:
        outcome.received_packets = round(outcome.received_bytes / what.size)
        outcome.lost_packets = receiver.sum("sum_received").get("lost_packets", receiver.sum("sum").get("lost_packets"))
