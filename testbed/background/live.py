"""Background traffic on live hosts: everything is ready before the workload begins, and is ended with it.

What fails is told as an event and stands in the flow's row; it never ends the run, whose verdict weighs it.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from testbed.background import craft, iperf, results, schedule
from testbed.background.flows import Flow, Note, Outcome, described, entries
from testbed.background.spec import Packets
from testbed.background.steps import is_listening, last_words, said, script, written
from testbed.errors import CommandFailed
from testbed.substrate.base import Host, Network, Process, observed

READY_S = 10.0  # for servers, counters and senders to be ready, all together
ASK_S = 0.02
QUIET_S = 0.5  # counts that have not changed for so long will not change any more
LAST_S = 3.0  # for the last packets, and for iperf3 to say good-bye
WATCH_S = 0.1
_PROTOCOLS = {"udp": 17, "tcp": 6, "icmp": 1}


class Generator(NamedTuple):
    """A process of the background: its cost on a host is measured like that of an agent."""

    node: str
    role: str
    pid: int


@dataclass
class _Running:
    """A flow with its processes. ``main`` sends (iperf3: the client), ``other`` is the server."""

    flow: Flow
    host: Host
    folder: Path
    outcome: Outcome
    main: Process | None = None
    other: Process | None = None
    is_over: bool = False
    processes: list[Generator] = field(default_factory=list)


class LiveBackground:
    """Use it as a context manager around the workload; :meth:`prepare`, then :meth:`begin`, and :meth:`end`."""

    def __init__(self, network: Network, flows: Sequence[Flow], seed: int, note: Note) -> None:
        self._network, self._seed, self._note = network, seed, note
        nodes = dict.fromkeys(node for flow in flows for node in (flow.source, flow.target))
        self._hosts = {node: observed(network.host(node)) for node in nodes}
        self._running = [self._made(flow) for flow in flows]
        self._counters: dict[str, Process] = {}
        self._costs: list[Generator] = []
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._conduct, name="background", daemon=True)
        self._t0 = 0.0
        self._has_begun = False
        self._rows: list[Outcome] | None = None

    def _made(self, flow: Flow) -> _Running:
        return _Running(flow, self._hosts[flow.source], Path(f"background-{flow.number}"), Outcome(flow))

    def processes(self) -> list[Generator]:
        """The processes whose cost is that of the background."""
        return [*self._costs, *(each for running in self._running for each in running.processes)]

    # Before.

    def prepare(self) -> None:
        """Build the packets, start counters, senders (which wait) and servers; return when they are ready."""
        packets = [each for each in self._running if isinstance(each.flow.what, Packets)]
        for target in dict.fromkeys(each.flow.target for each in packets):
            self._count(target, [each.flow for each in packets if each.flow.target == target])
        for each in self._running:
            self._attempt(each, self._prepare_packets if each in packets else self._prepare_iperf)
        deadline = time.monotonic() + READY_S
        for each in self._running:
            self._await(each, deadline)

    def _count(self, target: str, flows: Sequence[Flow]) -> None:
        host, folder = self._hosts[target], Path("background-counter")
        listed = [{"name": flow.name, "protocol": _PROTOCOLS[flow.what.protocol], "source": flow.source_ip,
                   "target": flow.target_ip, "port": flow.port, "source_port": flow.source_port} for flow in flows]
        host.put(json.dumps(listed), folder / "flows.json")
        process = script(host, folder, "counter.py")
        self._counters[target] = process
        self._costs.append(Generator(target, "background counter", process.pid))

    def _prepare_packets(self, each: _Running) -> None:
        planned = list(schedule.packets(each.flow, self._seed))
        each.outcome.planned_packets = len(planned)
        each.host.put(craft.plan(each.flow, planned), each.folder / "flow.json")
        each.main = script(each.host, each.folder, "sender.py")
        each.processes.append(Generator(each.flow.source, f"background {each.flow.name}", each.main.pid))

    def _prepare_iperf(self, each: _Running) -> None:
        host = self._hosts[each.flow.target]
        each.other = host.start(
            iperf.server(each.flow), host.folder / f"{each.folder}-server", env=iperf.environment(host.folder)
        )
        each.processes.append(Generator(each.flow.target, f"background {each.flow.name}", each.other.pid))

    def _await(self, each: _Running, deadline: float) -> None:
        """Return when the flow can begin, or has failed."""
        while not each.outcome.error and not self._is_ready(each):
            for host, process in self._helpers(each):
                if process.poll() is not None:
                    self._failed(each, f"ended before it was ready: {last_words(host, process)}")
            if time.monotonic() > deadline:
                self._failed(each, f"was not ready after {READY_S:g} s")
            time.sleep(0.0 if each.outcome.error else ASK_S)

    def _helpers(self, each: _Running) -> Iterator[tuple[Host, Process]]:
        """The processes that a flow needs all the time, and their hosts."""
        if isinstance(each.flow.what, Packets):
            yield self._hosts[each.flow.target], self._counters[each.flow.target]
        if each.main is not None:
            yield each.host, each.main
        if each.other is not None:
            yield self._hosts[each.flow.target], each.other

    def _is_ready(self, each: _Running) -> bool:
        if isinstance(each.flow.what, Packets):
            return said(each.host, each.folder / "ready") is not None and self._counts(each.flow.target) is not None
        return is_listening(self._hosts[each.flow.target], each.flow.port)

    # Meanwhile.

    def begin(self, t0: float) -> None:
        """The workload begins at ``t0`` of the reference clock: start every flow at its time after that."""
        self._t0, self._has_begun = t0, True
        for each in self._running:
            if each.outcome.error:
                self._note("background_failed", each.flow.name, each.outcome.error, None)
            if isinstance(each.flow.what, Packets) and not each.outcome.error:
                self._attempt(each, lambda each: each.host.put(f"{t0!r}\n", each.folder / "go"))
        self._thread.start()

    def _conduct(self) -> None:
        """Start and end the flows, and look after them, in a thread of its own."""
        by_entry = dict(entries([each.flow for each in self._running]))
        todo = sorted([(flows[0].begin, 1, entry) for entry, flows in by_entry.items()]
                      + [(flows[0].end, 0, entry) for entry, flows in by_entry.items()])  # fmt: skip
        try:
            while todo:
                if self._stop.wait(max(0.0, min(WATCH_S, todo[0][0] - self._clock()))):
                    return
                while todo and todo[0][0] <= self._clock():
                    at, is_start, entry = todo.pop(0)
                    self._turn(entry, by_entry[entry], at, bool(is_start))
                self._watch()
        except BaseException as error:  # noqa: BLE001 - raised where the background is ended
            self._error = error

    def _turn(self, entry: str, flows: Sequence[Flow], at: float, is_start: bool) -> None:
        ours = [each for each in self._running if each.flow in flows]
        for each in ours:
            if is_start and each.other is not None and not each.outcome.error:
                self._attempt(each, self._start_client)
            elif not is_start:
                self._over(each)
        if not all(each.outcome.error for each in ours):
            self._note("background" if is_start else "background_end", entry, described(flows), at)

    def _start_client(self, each: _Running) -> None:
        each.main = each.host.start(
            iperf.client(each.flow), each.host.folder / each.folder, env=iperf.environment(each.host.folder)
        )
        each.outcome.began = self._clock()
        each.processes.append(Generator(each.flow.source, f"background {each.flow.name}", each.main.pid))

    def _over(self, each: _Running) -> None:
        """The time of a flow is over; senders know that by themselves."""
        if each.is_over:
            return
        if not each.outcome.error:
            self._check(each)
        if each.other is not None and each.main is not None:
            each.outcome.ended = each.outcome.ended or self._clock()
            each.main.signal(signal.SIGTERM)
        each.is_over = True

    def _watch(self) -> None:
        for each in self._running:
            if not each.is_over and not each.outcome.error:
                self._check(each)

    def _check(self, each: _Running) -> None:
        """Tell of a process of a flow that ended before its time."""
        for host, process in self._helpers(each):
            if process.poll() is None or (process is each.main and said(host, each.folder / "sent.json") is not None):
                continue
            self._failed(each, f"ended too early: {last_words(host, process)}")
            each.outcome.ended = self._clock()
            return

    def _attempt(self, each: _Running, part: Callable[[_Running], object]) -> None:
        try:
            part(each)
        except (CommandFailed, OSError) as error:
            self._failed(each, " ".join(str(error).split()))

    def _failed(self, each: _Running, why: str) -> None:
        each.outcome.error = why
        if self._has_begun:  # else it is told then, since events count their time from the beginning
            self._note("background_failed", each.flow.name, why, None)

    def _clock(self) -> float:
        return self._network.now() - self._t0

    # After.

    def end(self) -> list[Outcome]:
        """End what still runs, and what became of each flow, in their order; raises what the thread raised."""
        if self._rows is None:
            self._halt()
            self._rows = [self._judged(each) for each in self._running]
        if self._error is not None:
            raise self._error
        return self._rows

    def _halt(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for each in self._running:
            self._over(each)
            if each.main is not None and each.other is None:
                each.main.signal(signal.SIGTERM)
        deadline = time.monotonic() + LAST_S
        for process in self._each_process():
            if process.wait(max(0.0, deadline - time.monotonic())) is None:
                process.signal(signal.SIGTERM)
        self._await_last_packets(deadline)
        for process in self._counters.values():
            process.signal(signal.SIGTERM)
        for process in [*self._each_process(), *self._counters.values()]:
            if process.wait(1.0) is None:
                process.signal(signal.SIGKILL)
                process.wait(1.0)

    def _each_process(self) -> Iterator[Process]:
        for each in self._running:
            yield from (process for process in (each.main, each.other) if process is not None)

    def _await_last_packets(self, deadline: float) -> None:
        """Return when the counters have not counted anything for a while, or all is there."""
        before, since = None, time.monotonic()
        while self._counters and time.monotonic() < deadline and time.monotonic() - since < QUIET_S:
            now = [self._counts(target) for target in self._counters]
            if now != before:
                before, since = now, time.monotonic()
            time.sleep(ASK_S)

    def _counts(self, target: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = said(self._hosts[target], Path("background-counter/counts.json"))
        return found

    def _judged(self, each: _Running) -> Outcome:
        if isinstance(each.flow.what, Packets):
            counted = self._counts(each.flow.target) or {}
            wrong = results.of_packets(each.outcome, said(each.host, each.folder / "sent.json"),
                                       counted.get(each.flow.name))  # fmt: skip
        elif each.main is not None and each.other is not None:
            wrong = results.of_iperf(each.outcome, written(each.host, each.main),
                                     written(self._hosts[each.flow.target], each.other))  # fmt: skip
        else:
            wrong = results.NOT_STARTED
        if wrong and not each.outcome.error:
            self._failed(each, wrong)
        return each.outcome

    def __enter__(self) -> LiveBackground:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._rows is None:
            self._halt()
