"""What a link between two emulation servers costs beside one inside a server, over VXLAN and over the tunnel.

    python benchmarks/trunks.py [--rounds 3] [--seconds 3]

Two servers are namespaces of this machine with an SSH server each (as in the tests), so the way between them costs
nothing, and both share its processors: what is measured is what a trunk adds. Each round opens the same network over
VXLAN and over the tunnel; h1 and h2 are on one server, h3 is on the other. Run it as root on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE / "tests" / "integration"), str(HERE / "tests")]

from in_arena import line, run_as  # noqa: E402
from server_lab import WIDE, lab, stretched  # noqa: E402

PAIR = "name: bench\nnodes: {h1: {}, h2: {}, h3: {}}\nlinks: [[h2, h1], [h1, h3]]\n"
PARTS = {"m1": ["h1", "h2"], "m2": ["h3"]}
PINGS = 400
CASES = ("inside, vxlan up", "vxlan", "inside, udp up", "udp")


class Sample(NamedTuple):
    """One link in one round. ``cores``: of the whole machine while TCP ran; ``tunnel``: of the tunnels' processes."""

    p50_us: float
    p99_us: float
    mbit_s: float
    cores: float
    tunnel: float
    small_per_s: float


def trips(net: Any, goal: str) -> list[float]:
    """Round trips from h1 in microseconds."""
    said = net.host("h1").run(["ping", "-4", "-n", f"-c{PINGS}", "-i0.004", goal], timeout=60).stdout
    return sorted(float(found) * 1e3 for found in re.findall(r"time=([\d.]+) ms", said)[1:])


def tunnels_s() -> float:
    """CPU seconds of all tunnels so far."""
    used = 0.0
    for process in psutil.process_iter():
        try:
            if "testbed.substrate.trunk_worker" in process.cmdline():
                used += sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
    return used


def iperf(net: Any, goal: str, *more: str) -> dict[str, Any]:
    """What iperf3 says at the receiver's end."""
    server = net.host(goal).start(["iperf3", "-s", "-1", "--forceflush"], Path("iperf3"))
    deadline = time.monotonic() + 10
    while "listening" not in net.host(goal).get(server.folder / "stdout"):
        if time.monotonic() > deadline:
            raise TimeoutError("iperf3 does not listen")
        time.sleep(0.02)
    said = net.host("h1").run(["iperf3", "-J", "-4", "-c", goal, *more], timeout=60)
    found: dict[str, Any] = json.loads(said.stdout)["end"]
    server.wait(10)
    return found


def sample(net: Any, goal: str, seconds: float) -> Sample:
    """One link, measured."""
    times = trips(net, goal)
    busy, tunnel, begun = psutil.cpu_times(), tunnels_s(), time.monotonic()
    flow = iperf(net, goal, "-t", f"{seconds:g}")
    wall, after = time.monotonic() - begun, psutil.cpu_times()
    idle = after.idle - busy.idle + after.iowait - busy.iowait
    small = iperf(net, goal, "-u", "-b", "0", "-l", "64", "-t", f"{seconds:g}")["sum"]
    return Sample(
        statistics.median(times), times[int(len(times) * 0.99)], flow["sum_received"]["bits_per_second"] / 1e6,
        (psutil.cpu_count() or 1) - idle / wall, (tunnels_s() - tunnel) / wall,
        small["packets"] * (1 - small["lost_percent"] / 100) / small["seconds"])  # fmt: skip


def measured(rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """All cases, one after the other in each round."""
    found: dict[str, list[Sample]] = {case: [] for case in CASES}
    with lab(mtu=WIDE) as made:
        for _ in range(rounds):
            for kind in ("vxlan", "udp"):
                with stretched(made, line(PAIR), made.inventory(PARTS, tunnel=kind)) as net:
                    found[f"inside, {kind} up"].append(sample(net, "h2", seconds))
                    found[kind].append(sample(net, "h3", seconds))
    return found


def show(found: dict[str, list[Sample]]) -> None:
    """Medians of the rounds, their spread, and ratios to the link inside a server of the same rounds."""
    print("| Link | round trip p50, us | p99, us | TCP, Mbit/s | cores busy | in tunnels | 64-byte packets/s |")
    print("|---|---|---|---|---|---|---|")
    for case, samples in found.items():
        columns = zip(*samples, strict=True)
        cells = [f"{statistics.median(each):.4g} ({min(each):.3g} to {max(each):.3g})" for each in columns]
        print(f"| {case} | {' | '.join(cells)} |")
    for kind in ("vxlan", "udp"):
        pairs = list(zip(found[kind], found[f"inside, {kind} up"], strict=True))
        trip, rate, small = (statistics.median(getattr(cut, name) / getattr(inside, name) for cut, inside in pairs)
                             for name in ("p50_us", "mbit_s", "small_per_s"))  # fmt: skip
        added = statistics.median(cut.p50_us - inside.p50_us for cut, inside in pairs)
        print(f"{kind} / inside: round trip {trip:.2f} ({added:+.0f} us), TCP {rate:.2f}, small packets {small:.2f}")


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=3.0)
    chosen = options.parse_args()

    def work() -> int:
        print(f"load average {psutil.getloadavg()[0]:.2f} at the start")
        show(measured(chosen.rounds, chosen.seconds))
        print(f"load average {psutil.getloadavg()[0]:.2f} at the end", flush=True)
        return 0

    return run_as("root", work)


if __name__ == "__main__":
    sys.exit(main())
