"""What senders, counters and both sides of iperf3 say in the end, put into the outcome of a flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.background import iperf
from testbed.background.flows import Outcome

NOT_STARTED = "had not started when the workload ended"


def of_packets(outcome: Outcome, sent: Mapping[str, Any] | None, counted: Mapping[str, Any] | None) -> str:
    """From ``sent.json`` and this flow's part of ``counts.json``; gives what is wrong, or an empty text."""
    if counted is not None:
        outcome.received_packets, outcome.received_bytes = counted["packets"], counted["bytes"]
    if sent is None:
        return "did not say what it sent"
    if sent["began"] is None:
        return NOT_STARTED
    outcome.began, outcome.ended = sent["began"], sent["ended"]
    outcome.sent_packets, outcome.sent_bytes = sent["sent"], sent["bytes"]
    outcome.late = tuple(sent["late"]) if sent["late"] else None
    if sent["refused"]:
        return f"{sent['refused']} packets were refused by the kernel ({sent['error']})"
    return "" if counted is not None else "nobody counted what arrived"


def of_iperf(outcome: Outcome, client: str, server: str) -> str:
    """From the JSON of both sides; gives what is wrong, or an empty text."""
    here, there = iperf.read(client), iperf.read(server)
    iperf.fill(outcome, here, there)
    if here.error or there.error or outcome.sent_bytes:
        return here.error or there.error
    return "sent nothing: it had no connection to the other side before its end"
