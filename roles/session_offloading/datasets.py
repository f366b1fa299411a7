"""The datasets that this system adds to a run."""

from __future__ import annotations

from testbed.tables import Column, Table

_T = Column("t", "number", "s", "When it was known.")

REQUESTS = Table(
    "so_requests",
    "Each invocation as its client saw it, redirect by redirect.",
    (
        _T,
        Column("invocation_id", "integer", "", "The invocation."),
        Column("session", "text", "", "Its session."),
        Column("location", "text", "", "The location that answered in the end."),
        Column("redirects", "integer", "count", "Redirects (307) on the way."),
        Column("hop_s", "text", "", "Seconds that each answer took, the redirects' first, separated by blanks."),
        Column("status", "text", "", "As in invocations.csv."),
    ),
)

MOVES = Table(
    "so_moves",
    "Each session that arrived at a location.",
    (
        _T,
        Column("session", "text", "", "The session."),
        Column("owner", "text", "", "The location where it was created."),
        Column("source", "text", "", "The location that it came from."),
        Column("target", "text", "", "The location that it came to."),
        Column("size_bytes", "integer", "bytes", "Its data: keys and values."),
        Column("duration_s", "number", "s", "From asking for the data to having put them down."),
    ),
)

DECISIONS = Table(
    "so_decisions",
    "What the oracle saw and did at a location.",
    (
        _T,
        Column("location", "text", "", "The location."),
        Column("sessions", "integer", "count", "Sessions that were there."),
        Column("size_bytes", "integer", "bytes", "Their data."),
        Column("busy", "number", "share", "Share of the time in which the replicas of its functions were busy."),
        Column("waiting", "integer", "count", "Invocations that waited."),
        Column("response_s", "number", "s", "Mean time of the invocations served since the last look."),
        Column("offload_s", "number", "s", "Time that forced offloads took, on average."),
        Column("onload_s", "number", "s", "Time that forced onloads took, on average."),
        Column("did", "text", "", "What the oracle did: offload, onload, accept, reject; nothing, or why it failed."),
    ),
)

ALL = (REQUESTS, MOVES, DECISIONS)
