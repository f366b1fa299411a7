"""The dataset that this system adds to a run."""

from __future__ import annotations

from testbed.tables import Column, Table

ACTIVATIONS = Table(
    "wsk_activations",
    "Each activation as the server recorded it, those of sequences' parts among them.",
    (
        Column("t", "number", "s", "When it ended."),
        Column("activation_id", "text", "", "Its id."),
        Column("namespace", "text", "", "Who invoked it."),
        Column("action", "text", "", "The action, with namespace and package."),
        Column("status", "text", "", "success, application error, action developer error, whisk internal error."),
        Column("wait_s", "number", "s", "From its arrival to a container that is ready."),
        Column("init_s", "number", "s", "Loading the action into the container; empty for a warm start."),
        Column("duration_s", "number", "s", "In the container, loading included."),
        Column("cold", "truth", "", "Whether the action had to be loaded."),
        Column("cause", "text", "", "The activation of the sequence that it is a part of."),
        Column("invoker", "text", "", "The invoker that ran it, where there are any."),
    ),
)

ALL = (ACTIVATIONS,)
