"""The framework's datasets: this file drives the CSV headers, the types on reading and the documentation.

Moments (``t`` and ``t_…``) are seconds after the start of the workload on the run's one reference clock, also in the
tables of the system under test; durations end in ``_s``, sizes in ``_bytes``. An empty cell means not applicable or
not known.
"""

from __future__ import annotations

from testbed.tables import Column, Table

INVOCATIONS = Table(
    "invocations",
    "One row for every scheduled invocation, also those that failed, timed out, were refused or were never sent.",
    (
        Column("run_id", "text", "", "The run's name: the name of its folder."),
        Column("verdict", "text", "", "valid, suspect or invalid: whether the run can be trusted."),
        Column("substrate", "text", "", "What carried the network: netns, mininet, machines, twin."),
        Column("system", "text", "", "The system under test."),
        Column("seed", "integer", "", "The run's seed."),
        Column("phase", "text", "", "warmup, measure or cooldown; figures show measure only."),
        Column("invocation_id", "integer", "", "Counts from 0 in order of the schedule."),
        Column("session", "text", "", "The session that the invocation belongs to."),
        Column("client", "text", "", "The node that invoked."),
        Column("user", "text", "", "In a closed loop, the user, who waits for each answer; empty in an open loop."),
        Column("function", "text", "", "The function invoked."),
        Column("t_scheduled", "number", "s", "When the workload asked for it."),
        Column("t_sent", "number", "s", "When the client began to send it."),
        Column("t_done", "number", "s", "When the client had the answer, or gave up."),
        Column("send_delay_s", "number", "s", "t_sent - t_scheduled, the lateness of the generator; open loop only."),
        Column("in_flight", "integer", "count", "Invocations of this client under way when it was sent."),
        Column("status", "text", "", "ok, error, rejected, timeout, dropped (in-flight limit), unsent or lost."),
        Column("error", "text", "", "What went wrong, in the words of whoever noticed."),
        Column("response_time_s", "number", "s", "t_done - t_scheduled: what a user waits."),
        Column("service_latency_s", "number", "s", "t_done - t_sent."),
        Column("network_s", "number", "s", "service_latency_s less the times on the executing node."),
        Column("init_s", "number", "s", "Time to start a worker or container (cold start)."),
        Column("queue_s", "number", "s", "Time waiting for a worker on the executing node."),
        Column("exec_s", "number", "s", "Time on the executing node, without init and queue where those are known."),
        Column("node", "text", "", "The node that executed it."),
        Column("hops", "integer", "count", "Agents that the request passed, the executing one included."),
        Column("cold", "truth", "", "Whether it met a cold start."),
        Column("load", "number", "share", "Utilisation of the executing node, as it told."),
        Column("retries", "integer", "count", "Attempts after the first."),
        Column("request_bytes", "integer", "bytes", "Size of the payload."),
        Column("response_bytes", "integer", "bytes", "Size of the output."),
    ),
)

RUN_COLUMNS = ("run_id", "verdict", "substrate", "system", "seed")
"""The columns of INVOCATIONS that are the same in every row of a run."""

SCHEDULE_COLUMNS = (
    "invocation_id", "phase", "session", "client", "user", "function", "t_scheduled", "request_bytes",
)
"""The columns of INVOCATIONS that a client's ``schedule.csv`` gives; it has ``user`` and ``payload`` besides."""

OUTCOME_COLUMNS = (
    "invocation_id", "t_sent", "t_done", "in_flight", "status", "error", "init_s", "queue_s", "exec_s", "node", "hops",
    "cold", "load", "retries", "response_bytes",
)
"""The columns of INVOCATIONS that a client's ``outcomes.csv`` may give; the first five always."""

EVENTS = Table(
    "events",
    "What was done to the system and what happened to it while the workload ran.",
    (
        Column("t_planned", "number", "s", "When the timeline asked for it; empty for what nobody planned."),
        Column("t_actual", "number", "s", "When it was in force or was noticed."),
        Column("kind", "text", "", "As in the timeline; cut and mend for a flap; agent_ready, agent_exit, route_change,"
               " out_of_memory; background, background_end, background_failed."),
        Column("subject", "text", "", "The link, node, agent or flow concerned."),
        Column("detail", "text", "", "What exactly, for a person."),
    ),
)

NODES = Table(
    "nodes",
    "CPU and memory of the agents of each host, sampled at a set period.",
    (
        Column("t", "number", "s", "When the sample was taken."),
        Column("node", "text", "", "The host."),
        Column("role", "text", "", "The agent's role."),
        Column("cpu_s", "number", "s", "CPU time used since the agent's start, its children included."),
        Column("memory_bytes", "integer", "bytes", "Resident memory, its children included."),
        Column("processes", "integer", "count", "Processes of the agent."),
        Column("throttled_s", "number", "s",
               "Time in which the host had used up its `cpu`, all its programs together; empty without such a limit."),
    ),
)

LINKS = Table(
    "links",
    "Counters of each end of each link, sampled at a set period; they count what leaves `node` over `link`.",
    (
        Column("t", "number", "s", "When the sample was taken."),
        Column("link", "text", "", "The link."),
        Column("node", "text", "", "The node whose outgoing direction this is."),
        Column("packets", "integer", "count", "Packets since the network came up."),
        Column("size_bytes", "integer", "bytes", "Bytes since the network came up."),
        Column("dropped_queue", "integer", "count", "Dropped by a full queue."),
        Column("dropped_loss", "integer", "count", "Dropped because the topology asks for loss."),
        Column("dropped_down", "integer", "count", "Met a link that was down."),
        Column("dropped_relay", "integer", "count", "Lost because the relay did not keep up; nobody asked for that."),
    ),
)

MACHINE = Table(
    "machine",
    "What the watcher saw of the machine that carries the emulation: the evidence behind the fidelity verdict.",
    (
        Column("t", "number", "s", "When the sample was taken."),
        Column("span_s", "number", "s", "Time since the sample before, which the other columns are about."),
        Column("busy", "number", "share", "Share of the time of all processors that was used."),
        Column("steal", "number", "share", "Share that the hypervisor gave to others while work was waiting here."),
        Column("pressure", "number", "share", "Share of the time in which some task waited for a processor."),
        Column("throttled_s", "number", "s", "Time in which a control group's limit held tasks back."),
        Column("own_cpu_s", "number", "s", "CPU time of the emulation itself: driver and relays, no agents."),
        Column("own_busiest", "number", "share", "Its busiest process: share of one processor that it used."),
        Column("relay_packets", "integer", "count", "Packets that the relays delivered late or in time."),
        Column("relay_late_p50_s", "number", "s", "How late these left, median; empty where the kernel shapes."),
        Column("relay_late_p99_s", "number", "s", "How late, 99th percentile."),
        Column("relay_late_max_s", "number", "s", "How late, worst."),
    ),
)

FLOWS = Table(
    "flows",
    "Flows seen in the packet captures, one row for each capture, direction and five-tuple.",
    (
        Column("link", "text", "", "The link."),
        Column("node", "text", "", "The node at whose end was captured."),
        Column("protocol", "text", "", "tcp, udp, icmp, icmp6, arp, an IP protocol's number or an Ethernet type."),
        Column("source", "text", "", "Source address."),
        Column("source_port", "integer", "", "Source port."),
        Column("destination", "text", "", "Destination address."),
        Column("destination_port", "integer", "", "Destination port."),
        Column("t_first", "number", "s", "First packet."),
        Column("t_last", "number", "s", "Last packet."),
        Column("packets", "integer", "count", "Packets."),
        Column("size_bytes", "integer", "bytes", "Bytes on the wire, Ethernet headers included."),
    ),
)

BACKGROUND = Table(
    "background",
    "One row for each flow of the traffic beside the workload. Bytes are payload (iperf3) or whole frames (packets).",
    (
        Column("name", "text", "", "The entry of the file; with `:from>to` where that means several flows."),
        Column("from", "text", "", "The node that payload goes from."),
        Column("to", "text", "", "The node that it goes to."),
        Column("kind", "text", "", "iperf3 or packets."),
        Column("protocol", "text", "", "tcp, udp or icmp."),
        Column("t_start_planned", "number", "s", "When it was meant to begin."),
        Column("t_start", "number", "s", "When it began."),
        Column("t_end_planned", "number", "s", "When it was meant to end."),
        Column("t_end", "number", "s", "When it ended."),
        Column("planned_packets", "integer", "count", "Packets that were to be sent; of kind packets only."),
        Column("sent_packets", "integer", "count", "Packets that were sent; empty for tcp of iperf3."),
        Column("received_packets", "integer", "count", "Packets that were counted at the goal."),
        Column("sent_bytes", "integer", "bytes", "Bytes that were sent."),
        Column("received_bytes", "integer", "bytes", "Bytes that arrived."),
        Column("rate_bps", "number", "bit/s", "Bits that arrived per second from its start to its end."),
        Column("loss", "number", "share", "Share of the packets sent that did not arrive."),
        Column("retransmits", "integer", "count", "Segments that TCP sent again; of iperf3 only."),
        Column("send_delay_p50_s", "number", "s", "How late packets were sent, median; of kind packets only."),
        Column("send_delay_p99_s", "number", "s", "How late, 99th percentile."),
        Column("send_delay_max_s", "number", "s", "How late, worst."),
        Column("status", "text", "", "ok or failed."),
        Column("error", "text", "", "What went wrong."),
    ),
)

SUMMARY = Table(
    "summary",
    "One row for each function, and one for all (`*`), over the phase `measure`.",
    (
        Column("function", "text", "", "The function, or * for all."),
        Column("scheduled", "integer", "count", "Invocations scheduled."),
        Column("ok", "integer", "count", "Invocations answered well."),
        Column("failed", "integer", "count", "All others."),
        Column("throughput", "number", "1/s", "Good answers per second of the phase."),
        Column("cold_share", "number", "share", "Share of good answers that met a cold start."),
        Column("response_time_mean_s", "number", "s", "Mean of response_time_s of good answers."),
        Column("response_time_p50_s", "number", "s", "Median."),
        Column("response_time_p90_s", "number", "s", "90th percentile."),
        Column("response_time_p95_s", "number", "s", "95th percentile."),
        Column("response_time_p99_s", "number", "s", "99th percentile; empty with fewer than 1,000 rows."),
        Column("service_latency_p50_s", "number", "s", "Median of service_latency_s."),
        Column("service_latency_p90_s", "number", "s", "90th percentile of service_latency_s."),
    ),
)

TABLES: tuple[Table, ...] = (INVOCATIONS, EVENTS, NODES, LINKS, MACHINE, FLOWS, BACKGROUND, SUMMARY)
