"""The datasets that this system adds to a run."""

from __future__ import annotations

from testbed.tables import Column, Table

_T = Column("t", "number", "s", "When it happened.")
_NODE = Column("node", "text", "", "The node that wrote the row.")
_FUNCTION = Column("function", "text", "", "The function concerned.")
_DESTINATION = Column("destination", "text", "", "The endpoint that calls go to.")

TABLES = Table(
    "soe_tables",
    "What happened to the forwarding tables of routers and dispatchers; weights at most once a second.",
    (
        _T,
        _NODE,
        Column("table", "integer", "", "0: all destinations; 1: the final ones."),
        Column("action", "text", "", "change, remove, flush (as configured), evict (a failed call), weight (learned)."),
        _FUNCTION,
        _DESTINATION,
        Column("weight", "number", "s", "The weight from now on."),
        Column("final", "truth", "", "Whether the destination is a computer."),
    ),
)

UTILIZATION = Table(
    "soe_utilization",
    "Utilisation of each processor of each computer, once a second.",
    (
        _T,
        _NODE,
        Column("processor", "text", "", "The processor; `functions` stands for the workers of real functions."),
        Column("load", "number", "share", "Share of its cores that was busy over the last second."),
    ),
)

EXECUTIONS = Table(
    "soe_executions",
    "What computers executed, whoever called; times of simulated functions are those of the model.",
    (
        _T,
        _NODE,
        _FUNCTION,
        Column("queue_s", "number", "s", "Waiting for a worker and for memory."),
        Column("init_s", "number", "s", "Starting a worker; 0 if one was warm, and for simulated functions."),
        Column("exec_s", "number", "s", "Executing."),
        Column("error", "text", "", "What went wrong; empty if nothing did."),
    ),
)

MEMBERS = Table(
    "soe_members",
    "Whom the controller knows.",
    (
        _T,
        _NODE,
        Column("kind", "text", "", "computer or router."),
        Column("endpoint", "text", "", "Where it takes calls."),
        Column("action", "text", "", "announced, changed, removed, expired (silent), forgotten (unreachable)."),
    ),
)

ESTIMATES = Table(
    "soe_estimates",
    "What a dispatcher predicted for the calls that ended well, and what they took (with `output` set).",
    (
        _T,
        _NODE,
        _FUNCTION,
        _DESTINATION,
        Column("size", "integer", "count", "Characters of input."),
        Column("load1", "integer", "", "Load of the computer in percent, as it told."),
        Column("network_estimate_s", "number", "s", "Predicted for the network; empty where only the total is."),
        Column("network_s", "number", "s", "Total less the time on the computer."),
        Column("ptime_estimate_s", "number", "s", "Predicted for the computer, or the total where that is predicted."),
        Column("ptime_s", "number", "s", "Time on the computer."),
    ),
)

CHAINS = Table(
    "soe_chains",
    "What clients have run of chains and DAGs.",
    (
        _T,
        _NODE,
        Column("invocation_id", "integer", "", "The invocation, as in invocations.csv."),
        Column("chain", "text", "", "Its name in the experiment."),
        Column("model", "text", "", "pure-faas, state-prop or state-local."),
        Column("functions", "text", "", "The functions, joined by `-`."),
        Column("states", "integer", "count", "States that some function used."),
        Column("state_bytes", "integer", "B", "Size of these states together."),
        Column("latency_s", "number", "s", "From sending to the last answer."),
        Column("hops", "integer", "count", "Agents that the calls have passed, all together."),
        Column("late", "integer", "count", "Callbacks so far that came to this client for nobody."),
        Column("error", "text", "", "What went wrong; empty if nothing did."),
    ),
)

PROXIED = Table(
    "soe_proxied",
    "The calls that proxies for clients of OpenWhisk made.",
    (
        _T,
        _NODE,
        Column("activation_id", "text", "", "The id that the client was told; empty with `strict-original`."),
        _FUNCTION,
        Column("responder", "text", "", "Who executed it, as the answer tells."),
        Column("hops", "integer", "count", "Agents that the call has passed, the proxy among them."),
        Column("queue_s", "number", "s", "Waiting in the proxy for its turn."),
        Column("latency_s", "number", "s", "From the call to its answer."),
        Column("error", "text", "", "What went wrong; empty if nothing did."),
    ),
)

ALL: tuple[Table, ...] = (TABLES, UTILIZATION, EXECUTIONS, MEMBERS, ESTIMATES, CHAINS, PROXIED)
