"""A run's folder as a real run leaves it, made from the schema and a seed: for tests of what reads run folders."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed.collect import schema
from testbed.store import Run, RunRecord
from testbed.tables import Row

VALID: dict[str, Any] = {"level": "valid", "reasons": [], "figures": {"send_delay_p99_s": 0.0021, "issued_share": 1.0}}
SUSPECT: dict[str, Any] = {
    "level": "suspect", "figures": {"send_delay_p99_s": 0.021, "steal_share": 0.08},
    "reasons": [{"level": "suspect", "check": "generator", "what": "the generator was late: p99 21 ms, at most 10 ms",
                 "figures": {"send_delay_p99_s": 0.021}}],
}
INVALID: dict[str, Any] = {
    "level": "invalid", "figures": {"issued_share": 0.91},
    "reasons": [{"level": "invalid", "check": "issued", "what": "only 91 % of the schedule was sent, at least 99 %",
                 "figures": {"issued_share": 0.91}},
                {"level": "suspect", "check": "steal", "what": "8 % of the CPU was stolen", "figures": {}}],
}
EXPERIMENT = """\
name: edge-demo
topology:
  nodes: {c1: {}, c2: {}, r1: {}, w1: {}, w2: {}}
  defaults: {link: {delay: %(delay)s}}
system: demo
sweep:
  topology.defaults.link.delay: [5ms, 10ms, 20ms]
"""


def record(run_id: str = "edge-demo-1", verdict: dict[str, Any] | None = VALID, **more: Any) -> RunRecord:
    """A record with every part filled in."""
    return RunRecord(**{
        "run_id": run_id, "experiment": "edge-demo", "system": "demo", "substrate": "netns", "seed": 7, "state": "done",
        "started": "2026-01-05T10:00:00+0000", "ended": "2026-01-05T10:01:12+0000", "duration_s": 72.4,
        "versions": {"testbed": "0.1.0", "python": "3.11.2", "kernel": "6.1.0"},
        "features": {"netem": "missing: the kernel has no sch_netem", "tbf": "present"},
        "mechanisms": {"c1-r1 from c1": "relay", "r1-w1 from r1": "relay + tbf"},
        "topology_digest": "0123456789abcdef",
        "calibration": [
            {"link": "c1-r1", "from": "c1", "to": "r1", "asked_delay_s": 0.005, "measured_p50_s": 0.00512,
             "asked_rate": None, "measured_rate": None, "asked_loss": 0.01, "samples": 40, "note": ""},
            {"link": "r1-w1", "from": "r1", "to": "w1", "asked_delay_s": 0.01, "measured_p50_s": 0.0102,
             "asked_rate": 1e7, "measured_rate": 9.7e6, "asked_loss": 0.0, "samples": 40, "note": "one lost"}],
        "verdict": verdict,
        "summary": {"scheduled": 900}, **more,
    })


def make(out: Path, *, run_id: str = "edge-demo-1", verdict: dict[str, Any] | None = VALID, rows: int = 900,
         delay: str = "5ms", seed: int = 7, **more: Any) -> Path:
    """Write a run of 60 s with a warm-up, two functions, two clients and two workers; gives its folder."""
    run = Run.begin(out, record(run_id, verdict, **more))
    rng = random.Random(seed)
    invocations = list(_invocations(rng, rows, float(delay.removesuffix("ms")) / 1e3))
    run.rows(schema.INVOCATIONS, invocations)
    run.rows(schema.EVENTS, EVENTS if rows else [])
    run.rows(schema.LINKS, _links(rng) if rows else [])
    run.rows(schema.NODES, _nodes(rng) if rows else [])
    run.rows(schema.FLOWS, [])
    run.rows(schema.SUMMARY, _summary(invocations) if rows else [])
    (run.folder / "experiment.yaml").write_text(EXPERIMENT % {"delay": delay}, encoding="utf-8")
    (run.folder / "topology.yaml").write_text("nodes: {c1: {}}\n# <script>alert(1)</script>\n", encoding="utf-8")
    return run.folder


EVENTS: list[Row] = [
    {"t_planned": 30.0, "t_actual": 30.002, "kind": "shape", "subject": "r1-w1", "detail": "delay 10ms -> 60ms"},
    {"t_planned": 45.0, "t_actual": 45.001, "kind": "kill", "subject": "w2 worker", "detail": "SIGKILL"},
    {"t_actual": 45.3, "kind": "agent_exit", "subject": "w2 worker", "detail": "ended by signal 9"},
]


def _invocations(rng: random.Random, count: int, delay: float) -> Iterator[Row]:
    times = sorted(rng.uniform(0, 60) for _ in range(count))
    for number, t in enumerate(times):
        node, function = rng.choice(("w1", "w2")), rng.choice(("resize", "word-count"))
        yield {"run_id": "edge-demo-1", "verdict": "valid", "substrate": "netns", "system": "demo", "seed": 7,
               "phase": "warmup" if t < 5 else "measure", "invocation_id": number, "session": f"s{number % 9}",
               "client": rng.choice(("c1", "c2")), "function": function, "t_scheduled": t,
               **_outcome(rng, t, node, function, delay)}


def _outcome(rng: random.Random, t: float, node: str, function: str, delay: float) -> dict[str, Any]:
    late = abs(rng.gauss(0.0004, 0.0003))
    sent = {"t_sent": t + late, "send_delay_s": late, "in_flight": rng.randrange(4), "request_bytes": 1000}
    if t > 45 and node == "w2":
        status = rng.choice(("error", "timeout", "rejected"))
        wait = {"timeout": 2.0}.get(status, 0.02)
        return {**sent, "status": status, "error": "connection refused", "t_done": t + wait, "response_time_s": wait,
                "service_latency_s": wait - late, "retries": 1}
    if rng.random() < 0.004:
        return {"status": "unsent", "error": "the client had ended"}
    network = 4 * delay + rng.expovariate(800) + (0.1 if t > 30 and node == "w1" else 0)
    cold = rng.random() < 0.03
    init, queue = (0.15 if cold else 0.0), rng.expovariate(200)
    execution = rng.lognormvariate(-4.2 if function == "resize" else -3.4, 0.35)
    latency = network + init + queue + execution
    return {**sent, "status": "ok", "t_done": t + late + latency, "response_time_s": late + latency,
            "service_latency_s": latency, "network_s": network, "init_s": init, "queue_s": queue, "exec_s": execution,
            "node": node, "hops": 2, "cold": cold, "load": rng.random(), "retries": 0, "response_bytes": 120}


def _links(rng: random.Random) -> Iterator[Row]:
    ends = [(link, node) for link in ("c1-r1", "c2-r1", "r1-w1", "r1-w2") for node in link.split("-")]
    sizes, queued = dict.fromkeys(ends, 0), dict.fromkeys(ends, 0)
    for step in range(121):
        for link, node in ends:
            sizes[link, node] += rng.randrange(4000, 90000)
            queued[link, node] += rng.randrange(3) if link == "r1-w1" and 60 < step < 80 else 0
            yield {"t": step / 2, "link": link, "node": node, "packets": sizes[link, node] // 900,
                   "size_bytes": sizes[link, node], "dropped_queue": queued[link, node],
                   "dropped_loss": step // 9 if link == "c1-r1" else 0, "dropped_down": 0}


def _nodes(rng: random.Random) -> Iterator[Row]:
    agents = [("c1", "client"), ("c2", "client"), ("r1", "router"), ("w1", "worker"), ("w2", "worker")]
    used = dict.fromkeys(agents, 0.3)
    for step in range(121):
        for agent in agents:
            if agent[0] == "w2" and step > 90:
                continue
            used[agent] += rng.uniform(0.01, 0.12)
            yield {"t": step / 2, "node": agent[0], "role": agent[1], "cpu_s": used[agent],
                   "memory_bytes": 30_000_000 + step * 40_000 + len(agent[1]) * 10**6, "processes": 1}


def _summary(rows: list[Row]) -> Iterator[Row]:
    for function in ("*", "resize", "word-count"):
        fitting = [row for row in rows if function in ("*", row["function"]) and row["phase"] == "measure"]
        waits = sorted(float(str(row["response_time_s"])) for row in fitting if row["status"] == "ok")
        yield {"function": function, "scheduled": len(fitting), "ok": len(waits), "failed": len(fitting) - len(waits),
               "throughput": len(waits) / 55, "cold_share": 0.03, "response_time_mean_s": sum(waits) / len(waits),
               "response_time_p50_s": waits[len(waits) // 2], "response_time_p90_s": waits[len(waits) * 9 // 10],
               "service_latency_p50_s": waits[len(waits) // 2]}
