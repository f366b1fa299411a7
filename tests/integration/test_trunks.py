"""Trunks by themselves: frames of all sizes, strangers, loss on the way, a tunnel that dies, a way too narrow."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from in_arena import each_user, line, passes
from server_lab import WIDE, Lab, lab, stretched

from testbed.errors import ShapeNotInForce, TestbedError
from testbed.substrate.trunk_frames import HEAD, Outbox
from testbed.topology.load import parse
from testbed.topology.model import End
from testbed.topology.shape import Shape

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("sshd"), pytest.mark.feature("ping")]
each_trunk = pytest.mark.parametrize("trunk", ["udp", pytest.param("vxlan", marks=pytest.mark.feature("vxlan"))])

PAIR = "name: pair\nnodes: {h1: {}, h2: {}}\nlinks: [{ends: [h1, h2], mtu: 1500}]\n"
PARTS = {"m1": ["h1"], "m2": ["h2"]}
_BULK = 30_000_000
_SENDER = f"""
import random, socket, sys
data = random.Random(1).randbytes({_BULK})
with socket.create_connection((sys.argv[1], 5000), 20) as out:
    out.sendall(data)
    out.shutdown(socket.SHUT_WR)
    print(out.recv(64).decode())
"""
_RECEIVER = """
import hashlib, socket
listener = socket.create_server(("", 5000))
print("ready", flush=True)
came, _ = listener.accept()
seen = hashlib.sha256()
while data := came.recv(1 << 16):
    seen.update(data)
came.sendall(seen.hexdigest().encode())
"""


def tunnel(made: Lab, machine: str) -> int:
    """The process number of the tunnel of a machine."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and b"trunk_worker" in (path / "cmdline").read_bytes():
            names = (path / "environ").read_bytes()
            if made.network.topology.address(machine).encode() in names:
                return int(path.name)
    raise AssertionError(f"no tunnel on {machine}")


def eventually(question: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def bulk_arrives(net: Any) -> bool:
    """Whether many megabytes of TCP come out as they went in."""
    import random

    receiver = net.host("h2").start([sys.executable, "-c", _RECEIVER], Path("receiver"))
    eventually(lambda: "ready" in net.host("h2").get(receiver.folder / "stdout"))
    said = net.host("h1").run([sys.executable, "-c", _SENDER, net.topology.address("h2")], timeout=60).stdout
    return bool(said.strip() == hashlib.sha256(random.Random(1).randbytes(_BULK)).hexdigest())


@each_trunk
def test_large_buffers_and_whole_packets_cross_a_trunk_unharmed(trunk: str) -> None:
    def work() -> None:
        with lab(mtu=WIDE) as made, stretched(made, line(PAIR), made.inventory(PARTS, tunnel=trunk)) as net:
            for size in (0, 1, 1471, 1472, 20_000):
                argv = ["ping", "-n", "-c2", "-i0.01", "-W5", "-s", str(size), "h2"]
                assert net.host("h1").run(argv, check=False).status == 0, size
            assert bulk_arrives(net)

    passes(work)


@each_user
def test_a_tunnel_carries_packets_that_are_larger_than_the_way_takes(user: str) -> None:
    def work() -> None:
        with lab(mtu=1280) as made, stretched(made, line(PAIR), made.inventory(PARTS, tunnel="udp")) as net:
            argv = ["ping", "-4", "-n", "-M", "do", "-c3", "-i0.01", "-W5", "-s", "1472", "h2"]
            assert net.host("h1").run(argv, check=False).status == 0
            assert bulk_arrives(net)

    passes(work, user)


@pytest.mark.feature("vxlan")
def test_vxlan_over_a_way_that_is_too_narrow_is_refused_and_auto_takes_the_tunnel() -> None:
    def work() -> None:
        with lab() as made:
            wanted = r"h1-h2 carries packets of 1500 bytes; VXLAN .* leaves only 1450\."
            inventory = made.inventory(PARTS, tunnel="vxlan")
            with pytest.raises(TestbedError, match=wanted), stretched(made, line(PAIR), inventory):
                pass
            with stretched(made, line(PAIR), made.inventory(PARTS)) as net:
                assert net.notes["trunks"].startswith("udp for 1 links, since VXLAN would leave")
            fitting = line(PAIR.replace("1500", "1450"))
            with stretched(made, fitting, made.inventory(PARTS)) as net:
                assert net.notes["trunks"] == "vxlan for 1 links"
                argv = ["ping", "-4", "-n", "-M", "do", "-c2", "-W5", "-s", "1422", "h2"]
                assert net.host("h1").run(argv, check=False).status == 0

    passes(work)


def test_a_tunnel_takes_nothing_from_strangers_and_nothing_without_the_secret() -> None:
    def work() -> None:
        with lab(3) as made, stretched(made, line(PAIR), made.inventory(PARTS, tunnel="udp")) as net:
            said = made.network.host("m2").run(["ss", "-Hunl"]).stdout
            address = made.network.topology.address("m2")
            (port,) = {int(found) for found in re.findall(rf"{re.escape(address)}:(\d+)", said)}
            outbox = Outbox(b"not the secret..", 1400)
            outbox.add(1, 5, bytes(10) + bytes.fromhex("ff" * 6 + "02" + "00" * 5 + "0800") + bytes(50))
            (forged,) = outbox.datagrams()
            script = (f"import socket; s = socket.socket(type=socket.SOCK_DGRAM); "
                      f"[s.sendto(each, ({address!r}, {port})) for each in [bytes.fromhex({forged.hex()!r}), b'x', "
                      f"bytes({HEAD.size}), bytes(1400)] * 20]")  # fmt: skip
            for stranger in ("m1", "m3", "driver"):  # of m1 the address is known, the port and the secret are not its
                made.network.host(stranger).run([sys.executable, "-c", script])
            assert net.host("h1").run(["ping", "-n", "-c1", "-W5", "h2"], check=False).status == 0
            counted = net.counters()
            assert net.refused == {"m1": 0, "m2": 3 * 80}
            (status,) = json.loads(net.host("h2").run(["ip", "-j", "-s", "link", "show", "eth0"]).stdout)
            assert status["stats64"]["rx"]["packets"] <= counted[End("h1-h2", "h1")].packets

    passes(work)


def test_what_is_lost_between_the_machines_is_told_apart_from_what_was_asked_for() -> None:
    def work() -> None:
        topology = parse(PAIR.replace("mtu: 1500", "delay: 1ms"), "pair.yaml")
        with lab(delay="1ms") as made, stretched(made, topology, made.inventory(PARTS, tunnel="udp")) as net:
            assert net.host("h1").run(["ping", "-n", "-c1", "-W5", "h2"], check=False).status == 0
            made.network.shape(End("m2-lan", "lan"), Shape.model_validate({"delay": "1ms", "loss": "30%"}))
            net.host("h1").run(["ping", "-n", "-c100", "-i0.01", "-W1", "h2"], check=False)
            made.network.shape(End("m2-lan", "lan"), Shape.model_validate({"delay": "1ms"}))
            assert net.host("h1").run(["ping", "-n", "-c3", "-i0.05", "-W2", "h2"], check=False).status == 0
            counted = net.counters()
            assert 10 <= counted[End("h1-h2", "h1")].dropped_relay <= 60
            assert counted[End("h1-h2", "h2")].dropped_relay == 0
            assert counted[End("h1-h2", "h1")].dropped_loss == 0
            late = net.lateness()
            assert late is not None
            assert late.packets > 100
            assert 0 < late.p50_s <= late.p99_s <= late.max_s

    passes(work)


def test_a_tunnel_that_dies_is_told_of_by_its_machine() -> None:
    def work() -> None:
        with lab() as made, stretched(made, line(PAIR), made.inventory(PARTS, tunnel="udp")) as net:
            net.check()
            os.kill(tunnel(made, "m2"), signal.SIGKILL)
            deadline = time.monotonic() + 20
            with pytest.raises(ShapeNotInForce, match=r"'m2': The tunnel process \d+, which carries links to other"):
                while time.monotonic() < deadline:
                    net.check()

    passes(work)
