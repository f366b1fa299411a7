"""The driver's side of the probe: starts it on hosts, hands out orders, gathers results; through Host alone."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from testbed.errors import TestbedError
from testbed.fidelity import probe
from testbed.substrate.away import Away, clock_of, python_of
from testbed.substrate.base import Host, Network, Process, observed

START_WITHIN_S = 30.0
AHEAD_S, FAR_AHEAD_S = 0.03, 0.5  # from handing out orders to the first packet: on this machine, and on others
_ASK_S = 0.004
_SIDE_BY_SIDE = 16

Arrival = tuple[int, int, int]  # number, sent (ns), arrived (ns)


@dataclass(frozen=True, slots=True)
class Train:
    """Packets from one node to an address of another; ``stream`` names them in the results."""

    stream: int
    start: str
    goal: str
    address: str
    count: int
    interval_s: float
    size: int
    until_answered: bool = False


@dataclass(slots=True)
class Results:
    """What came of the trains: by stream, who was answered and what arrived."""

    answered: set[int] = field(default_factory=set)
    received: dict[int, list[Arrival]] = field(default_factory=dict)


class Prober:
    """Probes on these nodes, from entering the context to leaving it."""

    def __init__(self, network: Network, nodes: Sequence[str], python: str = sys.executable) -> None:
        self._network, self._python = network, python
        self._hosts: dict[str, Host] = {name: network.host(name) for name in nodes}
        self._folders = {name: host.folder / "calibration" for name, host in self._hosts.items()}
        self._processes: dict[str, Process] = {}
        self._clocks = {name: clock_of(host) for name, host in self._hosts.items()}
        self._is_far = any(isinstance(host, Away) for host in self._hosts.values())
        self._orders = dict.fromkeys(nodes, 0)
        self._streams = 0  # of all orders so far: a late packet of an earlier one must not pass for one of the current
        self._pool = ThreadPoolExecutor(_SIDE_BY_SIDE, "prober")

    def __enter__(self) -> Prober:
        source = Path(probe.__file__).read_text(encoding="utf-8")
        try:
            list(self._pool.map(lambda name: self._start(name, source), self._hosts))
            self._wait({name: folder / "ready" for name, folder in self._folders.items()}, START_WITHIN_S)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._close()

    def send(self, trains: Sequence[Train], last_s: float) -> Results:
        """Send all trains at once and wait until they have arrived, at most until ``last_s`` after the start."""
        start = time.monotonic() + (FAR_AHEAD_S if self._is_far else AHEAD_S)
        involved = {node for train in trains for node in (train.start, train.goal)}
        awaited = {}
        for node in involved:
            self._orders[node] += 1
            own = start - self._clocks[node].monotonic_s
            self._put(node, _order(node, trains, self._streams, own, own + last_s))
            awaited[node] = self._folders[node] / f"result-{self._orders[node]}.json"
        sender, results = {train.stream: train.start for train in trains}, Results()
        for node, text in self._wait(awaited, last_s + START_WITHIN_S).items():
            told = json.loads(text)
            results.answered.update(each - self._streams for each in told["answered"])
            for stream, found in ((int(name) - self._streams, found) for name, found in told["received"].items()):
                if stream in sender:
                    sent_s, arrived_s = self._clocks[sender[stream]].wall_s, self._clocks[node].wall_s
                    results.received[stream] = _on_one_clock(found, round(sent_s * 1e9), round(arrived_s * 1e9))
        self._streams += max(sender, default=0) + 1
        return results

    def clock_error_s(self, start: str, goal: str) -> float:
        """How far off a one-way time from one node to another may be, where their clocks are two."""
        return self._clocks[start].error_s + self._clocks[goal].error_s

    def _start(self, name: str, source: str) -> None:
        host, folder = self._hosts[name], self._folders[name]
        host.put(source, folder / "probe.py")
        argv = [python_of(host, self._python), "-I", "-S", str(folder / "probe.py"), str(folder)]
        self._processes[name] = observed(host).start(argv, folder)

    def _put(self, node: str, order: Mapping[str, object]) -> None:
        self._hosts[node].put(json.dumps(order), self._folders[node] / f"order-{self._orders[node]}.json")

    def _wait(self, files: Mapping[str, Path], within_s: float) -> dict[str, str]:
        """The texts of these files, one a node, once they are there."""
        deadline = time.monotonic() + within_s
        found: dict[str, str] = {}
        while len(found) < len(files):
            for node in files.keys() - found.keys():
                try:
                    found[node] = self._hosts[node].get(files[node])
                except OSError:
                    self._check(node)
            if len(found) < len(files) and time.monotonic() > deadline:
                missing = sorted(files.keys() - found.keys())
                raise TestbedError(f"The measurement of the links before the workload came to a halt: {within_s:g} s "
                                   f"have passed without {files[missing[0]].name} from {', '.join(missing[:5])}.")
            time.sleep(_ASK_S if len(found) < len(files) else 0)
        return found

    def _check(self, node: str) -> None:
        status = self._processes[node].poll()
        if status is not None:
            said = self._hosts[node].get(self._folders[node] / "stderr").strip().splitlines()[-3:]
            raise TestbedError(f"The program that measures the links ended on {node} with exit status {status}; "
                               f"it said last: {' / '.join(said) or 'nothing'}.")

    def _close(self) -> None:
        for process in self._processes.values():
            process.signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(5.0)
        self._pool.shutdown()


def _on_one_clock(found: Sequence[Sequence[int]], sent_ns: int, arrived_ns: int) -> list[Arrival]:
    """Arrivals with both times on the driver's wall clock, from what the two machines' clocks lack to it."""
    return [(number, sent + sent_ns, arrived + arrived_ns) for number, sent, arrived in found]


def _order(node: str, trains: Sequence[Train], first: int, start: float, end: float) -> dict[str, object]:
    """What ``node`` is to do; on the wire, streams are numbered from ``first``."""
    send = []
    for train in trains:
        if train.start == node:
            each = asdict(train) | {"port": probe.PORT, "stream": first + train.stream}
            del each["start"], each["goal"]
            send.append(each)
    expect = {first + train.stream: train.count for train in trains if train.goal == node and not train.until_answered}
    return {"start": start, "end": end, "expect": expect, "send": send}
