"""Build and remove a network with Mininet; run by instantiate.py with the interpreter that has Debian's mininet.

    mininet_network.py HOSTS PER_SWITCH SHAPED

Prints the seconds to build, the seconds to remove, and the memory for each host in kB (of the machine, of processes):
Mininet's own work alone.
"""

from __future__ import annotations

import sys
import time

from memory import Memory
from mininet.link import Link, TCLink  # type: ignore[import-untyped,unused-ignore]
from mininet.log import setLogLevel  # type: ignore[import-untyped,unused-ignore]
from mininet.net import Mininet  # type: ignore[import-untyped,unused-ignore]
from mininet.nodelib import LinuxBridge  # type: ignore[import-untyped,unused-ignore]
from mininet.topo import Topo  # type: ignore[import-untyped,unused-ignore]


def network(hosts: int, per_switch: int) -> Topo:
    """The network of a case in Mininet."""
    topo = Topo()
    switches = [topo.addSwitch(f"s{number}") for number in range(1, -(-hosts // per_switch) + 1)]
    if len(switches) > 1:
        top = topo.addSwitch("s0")
        for switch in switches:
            topo.addLink(switch, top)
    for number in range(hosts):
        topo.addLink(topo.addHost(f"h{number + 1}"), switches[number // per_switch])
    return topo


def main() -> None:
    hosts, per_switch, shaped = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"
    setLogLevel("error")
    topo = network(hosts, per_switch)
    if shaped:
        for _, _, options in topo.links(withInfo=True):
            options["bw"] = 10
    memory, begun = Memory(), time.perf_counter()
    net = Mininet(topo, switch=LinuxBridge, controller=None, link=TCLink if shaped else Link)
    net.start()
    built = time.perf_counter()
    figures = [each / hosts for each in memory.taken()]
    ending = time.perf_counter()
    net.stop()
    print(built - begun, time.perf_counter() - ending, *figures)


main()
