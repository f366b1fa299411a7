"""What benchmarks/twin_speed.py runs beside the twin: SimPy, simfaas, and a bare heap; without anything of ours."""

from __future__ import annotations

import heapq
import json
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

Times = tuple[float, float, float]  # arrival, begin, end


def figures(rows: list[Times], cpu_s: float) -> dict[str, float]:
    """How many, the CPU time since ``cpu_s``, and the mean wait, by which all can be seen to run the same model."""
    wait = sum(begun - arrived for arrived, begun, _ in rows) / len(rows)
    return {"cpu_s": time.process_time() - cpu_s, "count": len(rows), "wait": wait}


def with_simpy(count: int) -> dict[str, float]:
    """Eight servers, one queue: a process for each invocation, a resource, and the same three times kept."""
    import simpy

    env, rng, rows = simpy.Environment(), random.Random(1), list[Times]()
    servers = simpy.Resource(env, 8)

    def invocation(arrived: float, service: float) -> Iterator[Any]:
        with servers.request() as turn:
            yield turn
            begun = env.now
            yield env.timeout(service)
        rows.append((arrived, begun, env.now))

    def source() -> Iterator[Any]:
        for _ in range(count):
            yield env.timeout(rng.expovariate(6.4))
            env.process(invocation(env.now, rng.expovariate(1.0)))

    env.process(source())
    cpu_s = time.process_time()
    env.run()
    return figures(rows, cpu_s)


def with_heap(count: int) -> dict[str, float]:
    """The same with nothing but a heap of callbacks: no processes, no resources; the floor in pure Python."""
    cpu_s = time.process_time()
    rng, rows, events = random.Random(1), list[Times](), list[tuple[float, int, Any, Any]]()
    queue, free, number, now = deque[tuple[float, float]](), 8, 0, 0.0

    def at(when: float, action: Callable[..., None], *args: Any) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (when, number, action, args))

    def arrive(left: int) -> None:
        nonlocal free
        service = rng.expovariate(1.0)
        if left > 1:
            at(now + rng.expovariate(6.4), arrive, left - 1)
        if free:
            free -= 1
            at(now + service, end, now, now)
        else:
            queue.append((now, service))

    def end(arrived: float, begun: float) -> None:
        nonlocal free
        rows.append((arrived, begun, now))
        if queue:
            arrived, service = queue.popleft()
            at(now + service, end, arrived, now)
        else:
            free += 1

    at(rng.expovariate(6.4), arrive, count)
    while events:
        now, _, action, args = heapq.heappop(events)
        action(*args)
    return figures(rows, cpu_s)


def with_simfaas(count: int, rate: float, service_s: float, cold_s: float, keep_alive_s: float) -> dict[str, float]:
    """One function on instances without limit: no nodes, no network, no gateway."""
    import numpy
    from simfaas.ServerlessSimulator import ServerlessSimulator

    numpy.random.seed(1)
    simulator = ServerlessSimulator(
        arrival_rate=rate, warm_service_rate=1 / service_s, cold_service_rate=1 / (cold_s + service_s),
        expiration_threshold=keep_alive_s, max_time=count / rate, maximum_concurrency=5000,
    )  # fmt: skip
    begun = time.process_time()
    simulator.generate_trace()
    used = time.process_time() - begun
    return {"cpu_s": used, "count": simulator.total_req_count, "warm": simulator.server_count}


def main() -> None:
    """Run one of the models; print its figures as JSON."""
    what, count, *rest = sys.argv[1:]
    models = {"simpy": with_simpy, "heap": with_heap, "simfaas": with_simfaas}
    print(json.dumps(models[what](int(count), **json.loads("".join(rest) or "{}"))))  # type: ignore[operator]


if __name__ == "__main__":
    main()
