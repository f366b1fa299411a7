"""Operations of the deputy on the paths from its machine to others: one class for each destination at one interface.

    interface ── htb 7e57: ──┬── class 7e57:1 (to one machine)  ── netem ── tbf ── fifo
                             ├── class 7e57:2 (to another one)  ── ...
                             └── all other traffic passes untouched

htb only sorts packets by their destination; what is left out of netem and tbf depends on the shape. An interface on
which somebody else has put a queueing discipline is never touched, and what is put there is taken away with the deputy,
however it ends: the guard has word of it before it is there.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.errors import ShapeNotInForce
from testbed.substrate import programs
from testbed.substrate.deputy import Desk, Operation
from testbed.substrate.parts_wire import shape_from_wire
from testbed.topology.shape import Shape

ROOT = "7e57:"
_DIRECT = ["rate", "40gbit", "burst", "4mb", "cburst", "4mb", "quantum", "200000"]  # htb demands a rate: no brake
_ETHERNET_BYTES, _MTU = 14, 1500
_BUCKET_S = 0.0005  # as in shaping/tc.py: what timers of small machines miss must be in the bucket
_HELD_PACKETS = "1000000"  # under way in netem; the queue limit is its child's
_TRIAL = "ffff"


class Interface:
    """One interface of this machine, shaped through the program ``tc``."""

    def __init__(self, name: str, prefix: Sequence[str]) -> None:
        self.name = name
        self.argv = [*prefix, _program("tc")]

    def tc(self, *words: str, check: bool = True) -> str:
        """What ``tc`` says; ShapeNotInForce with its complaint."""
        done = subprocess.run(
            [*self.argv, *words], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30
        )
        if check and done.returncode:
            said = " / ".join(done.stderr.strip().splitlines()) or "nothing"
            raise ShapeNotInForce(f"the interface {self.name} cannot be shaped: {' '.join(words)}: {said}")
        return done.stdout

    def refuse_strangers(self) -> None:
        """Raise ShapeNotInForce if the interface has a discipline that the kernel did not put there by itself."""
        for each in json.loads(self.tc("-j", "qdisc", "show", "dev", self.name)):
            if each.get("handle") != "0:":
                what = f"the {each['kind']} {each['handle']} of somebody else"
                raise ShapeNotInForce(f"the interface {self.name} is left alone, since it has {what}. Take that off it "
                                      f"(tc qdisc del dev {self.name} root), or use `links: real`.")  # fmt: skip

    def add_class(self, minor: str) -> None:
        """A class that lets everything through."""
        self.tc("class", "add", "dev", self.name, "parent", ROOT, "classid", f"{ROOT}{minor}", "htb", *_DIRECT)

    def try_netem(self) -> bool:
        """Whether this kernel has netem."""
        self.add_class(_TRIAL)
        try:
            self.tc("qdisc", "add", "dev", self.name, "parent", f"{ROOT}{_TRIAL}", "netem", "delay", "1ms")
        except ShapeNotInForce:
            return False
        finally:
            self.tc("class", "del", "dev", self.name, "classid", f"{ROOT}{_TRIAL}", check=False)
        return True


def _program(name: str) -> str:
    found = programs.find(name)
    if found is None:
        raise ShapeNotInForce(f"there is no program {name} (Debian: iproute2)")
    return found


def open_paths(desk: Desk, *, interface: str, sudo: bool, addresses: list[str]) -> Mapping[str, object]:
    """Get ready for one class for each of these destinations; tells whether the kernel has ``netem``."""
    if os.geteuid() != 0 and not sudo:
        raise ShapeNotInForce("links can be shaped by root only: log in as root, or allow `sudo: true`")
    made = Interface(interface, ["sudo", "-n"] if os.geteuid() != 0 else [])
    made.refuse_strangers()
    desk.leave_word([*made.argv, "qdisc", "del", "dev", interface, "root", "handle", ROOT])
    made.tc("qdisc", "add", "dev", interface, "root", "handle", ROOT, "htb")
    has_netem = made.try_netem()
    for number, address in enumerate(addresses, 1):
        made.add_class(f"{number:x}")
        match = ["u32", "match", "ip", "dst", f"{address}/32", "flowid", f"{ROOT}{number:x}"]
        made.tc("filter", "add", "dev", interface, "parent", ROOT, "protocol", "ip", "prio", "1", *match)
    desk.kept["path"] = made
    return {"netem": has_netem}


def shape_path(desk: Desk, *, number: int, shape: dict[str, Any] | None) -> Mapping[str, object]:
    """Put a shape in force on what goes to the destination ``number`` (from 1 on); None lets nothing through."""
    interface: Interface = desk.kept["path"]
    with desk.turn():
        parent = ["dev", interface.name, "parent", f"{ROOT}{number:x}"]
        interface.tc("qdisc", "del", *parent, check=False)  # a class that never had one says so
        wanted = [[*parent, "blackhole"]]
        if shape is not None:
            wanted = disciplines(interface.name, number, shape_from_wire(shape))
        for words in wanted:
            interface.tc("qdisc", "add", *words)
    return {}


def disciplines(interface: str, number: int, shape: Shape) -> list[list[str]]:
    """What ``tc qdisc add`` is told for one destination, outermost first."""
    handles = [f"{0x1000 + 4 * number + each:x}:" for each in range(3)]
    parent, found = f"{ROOT}{number:x}", []
    if shape.touches_packets:
        found.append(["dev", interface, "parent", parent, "handle", handles[0], "netem", *_netem(shape)])
        parent = f"{handles[0]}1"
    if shape.rate is not None:
        found.append(["dev", interface, "parent", parent, "handle", handles[1], "tbf", *_bucket(shape, shape.rate)])
        found.append(["dev", interface, "parent", f"{handles[1]}1", "handle", handles[2], *_fifo(shape)])
    return found


def _netem(shape: Shape) -> list[str]:
    words = ["limit", _HELD_PACKETS, "delay", _microseconds(shape.delay)]
    if shape.jitter:
        words += [_microseconds(shape.jitter)]
        words += ["distribution", shape.distribution] if shape.distribution != "uniform" else []
    for name, share in (("loss", shape.loss), ("duplicate", shape.duplicate), ("corrupt", shape.corrupt)):
        words += [name, f"{share * 100:.6f}%"] if share else []
    return words + (["reorder", f"{shape.reorder * 100:.6f}%"] if shape.reorder else [])


def _bucket(shape: Shape, rate: float) -> list[str]:
    burst = max(_MTU + _ETHERNET_BYTES + round(rate / 8 * _BUCKET_S), shape.burst)
    return ["rate", f"{round(rate)}bit", "burst", f"{burst}b", "limit", f"{_queue_bytes(shape)}b"]


def _fifo(shape: Shape) -> list[str]:
    if shape.queue.packets is not None:
        return ["pfifo", "limit", str(shape.queue.packets)]
    return ["bfifo", "limit", f"{shape.queue.size_bytes}b"]


def _queue_bytes(shape: Shape) -> int:
    packets = shape.queue.packets
    return packets * (_MTU + _ETHERNET_BYTES) if packets is not None else shape.queue.size_bytes or 1


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.3f}us"


OPERATIONS: Mapping[str, Operation] = {"open": open_paths, "shape": shape_path}
