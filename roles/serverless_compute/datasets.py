"""The datasets that this system adds to a run."""

from __future__ import annotations

from testbed.tables import Column, Table

_T = Column("t", "number", "s", "When it happened.")
_NODE = Column("node", "text", "", "The compute node concerned.")

INVOCATIONS = Table(
    "sc_invocations",
    "The head's record of each accepted invocation, whoever made it. Moments that it did not reach are empty.",
    (
        Column("number", "integer", "", "The head's number of the invocation."),
        Column("registration", "text", "", "What was invoked: `function#number`."),
        _NODE,
        Column("state", "text", "", "completed, failed, timed_out, cancelled."),
        Column("cause", "text", "", "Why it did not complete: a code such as invocation_timeout."),
        Column("start_kind", "text", "", "hot (idle container), warm_image (image in memory already), cold."),
        Column("t_submit", "number", "s", "The head took it."),
        Column("t_admit", "number", "s", "There was room for its image at the head."),
        Column("t_schedulable", "number", "s", "Its image was at the head."),
        Column("t_dispatch", "number", "s", "It was given a slot and a container."),
        Column("t_start", "number", "s", "Its code began."),
        Column("t_end", "number", "s", "It ended."),
    ),
)

TRANSFERS = Table(
    "sc_transfers",
    "Every transfer of an image, as it ended.",
    (
        Column("t", "number", "s", "When it began."),
        Column("image", "text", "", "The image."),
        Column("node", "text", "", "Where it was moved to."),
        Column("stage", "text", "", "fetch (registry to head), copy (head to node), load (disk to memory)."),
        Column("size_bytes", "integer", "bytes", "The image's size; for `load`, what it takes in memory."),
        Column("duration_s", "number", "s", "How long it took."),
        Column("error", "text", "", "Why it failed; empty if it did not."),
    ),
)

CONTAINERS = Table(
    "sc_containers",
    "Containers as nodes start and end them.",
    (
        _T,
        _NODE,
        Column("container", "integer", "", "The head's number of the container."),
        Column("function", "text", "", "The function whose code runs in it; empty at its end."),
        Column("event", "text", "", "start, failed (to start), end."),
    ),
)

NODES = Table(
    "sc_nodes",
    "Compute nodes as the head sees them come and go.",
    (
        _T,
        _NODE,
        Column("event", "text", "", "up, down, refused."),
        Column("detail", "text", "", "Why."),
    ),
)

ALL: tuple[Table, ...] = (INVOCATIONS, TRANSFERS, CONTAINERS, NODES)
