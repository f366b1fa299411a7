"""Mininet's topology scripts: ``topos = {...}``, or a class derived from ``mininet.topo.Topo``.

The script is run by ``mininet_reader.py``, in a process of its own. Delay, jitter, loss, rate and queue of ``TCLink``
are carried over with Mininet's units, whatever kind of link the network is started with.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed import units
from testbed.document import in_order
from testbed.errors import InputError, Problem
from testbed.topology.exchange import mininet_reader, source
from testbed.topology.exchange.names import Names
from testbed.topology.exchange.settle import listed
from testbed.topology.exchange.sketch import Note, Sketch, SketchLink, SketchNode, Texts

DEADLINE_S = 120.0
_TIME = re.compile(r"\s*([0-9.]+(?:e[+-]?\d+)?)\s*(s|secs?|ms|msecs?|us|usecs?|)\s*\Z", re.IGNORECASE)
_NODE_QUIET = {"isSwitch", "_line"}
_LINK_QUIET = {"node1", "node2", "port1", "port2", "_line", "params1", "params2"}


def read(path: Path, choice: str = "") -> Sketch:
    """The network that a script builds; ``choice`` as Mininet's ``--topo``. Raises InputError."""
    source.raw(path, "a Mininet script")
    built = _built(path, choice)
    if "fault" in built:
        fault = built["fault"]
        raise InputError([Problem(str(path), fault["line"], "", fault["found"],
                                  fault["expected"], fault["hint"])])
    return _Reading(path).sketch(built, choice)


def _built(path: Path, choice: str) -> Any:
    argv = [sys.executable, "-B", "-P", mininet_reader.__file__, str(path.resolve()), choice]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=DEADLINE_S,
                                  start_new_session=True, check=False)
            status = f"exit status {done.returncode}"
        except subprocess.TimeoutExpired:
            status = f"no end within {DEADLINE_S:g} s"
        out.seek(0)
        text = out.read()
        if text.endswith(b"}"):
            return json.loads(text)
        err.seek(0)
        said = err.read(1 << 20).decode(errors="replace").strip().splitlines()
    limit = f"{mininet_reader.PROCESSOR_S} s of processor time and {mininet_reader.MEMORY_BYTES >> 30} GiB of memory"
    found = f"a script that did not build its topology ({status}{f'; it said last: {said[-1]}' if said else ''})"
    raise InputError([Problem(str(path), 0, "", found, f"one that does, within {limit}")])


class _Reading:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[Note] = []
        self.problems: list[Problem] = []
        self.left: dict[str, tuple[int, list[str]]] = {}

    def sketch(self, built: Any, choice: str) -> Sketch:
        names = Names()
        nodes = {each["name"]: self._node(each["name"], each["options"], names) for each in built["nodes"]}
        links = [self._link(options, nodes) for options in built["links"]]
        if self.problems:
            raise InputError(in_order(self.problems))
        notes = [*self.notes, *(Note(line, f"The option {key} is not carried over ({listed(places)}).")
                                for key, (line, places) in self.left.items())]
        name = choice.split(",")[0] or self.path.stem
        return Sketch(name, str(self.path), list(nodes.values()), links, notes)

    def _leave(self, key: str, line: int, where: str) -> None:
        places = self.left.setdefault(key, (line, []))[1]
        places += [where] if where not in places else []

    def _node(self, name: str, options: Mapping[str, Any], names: Names) -> SketchNode:
        line, called = options.get("_line", 0), names.take(name)
        if called != name:
            self.notes.append(Note(line, f"The node {name} is called {called}."))
        kind = str(options.get("cls", ""))
        routes = "router" in kind.lower()
        for key, value in options.items():
            if value is not None and key not in _NODE_QUIET and not (routes and key == "cls"):
                self._leave(key, line, called)
        if routes:
            self.notes.append(Note(line, f"The node {called} becomes a router, since its class is {kind}."))
        return SketchNode(called, "switch" if options.get("isSwitch") else "router" if routes else "host", line)

    def _link(self, options: Mapping[str, Any], nodes: Mapping[str, SketchNode]) -> SketchLink:
        ends = (nodes[str(options["node1"])].name, nodes[str(options["node2"])].name)
        line, where = options["_line"], "-".join(ends)
        both = {key: value for key, value in options.items() if key not in _LINK_QUIET}
        there, back = (self._shape({**both, **(options.get(key) or {})}, line, where) for key in ("params1", "params2"))
        return SketchLink(ends, line, (there, back))

    def _shape(self, options: Mapping[str, Any], line: int, where: str) -> Texts:
        shape = dict(self._texts(options, line, where))
        for key, value in options.items():
            if value is not None and key not in _OPTIONS:
                self._leave(key, line, where)
        if "jitter" in shape and units.delay(shape["jitter"]) > units.delay(shape.get("delay", "0")):
            self.notes.append(Note(line, f"The jitter of {where} is cut to its delay; packets need some time."))
            shape |= {"jitter": shape["delay"]} if "delay" in shape else {}
            shape = shape if "delay" in shape else {key: each for key, each in shape.items() if key != "jitter"}
        return shape

    def _texts(self, options: Mapping[str, Any], line: int, where: str) -> Iterator[tuple[str, str]]:
        for key, (ours, convert) in _OPTIONS.items():
            value = options.get(key)
            if value is None or value == 0:
                continue
            try:
                yield ours, convert(value)
            except (ValueError, TypeError):
                self.problems.append(Problem(str(self.path), line, "", f"{key}={value!r} on the link {where}",
                                             _EXPECTED[ours]))


def _time(value: object) -> str:
    """A time as ``tc`` reads it: a number without a unit is microseconds."""
    match = _TIME.match(str(value))
    if match is None:
        raise ValueError(value)
    unit = {"s": "s", "m": "ms", "u": "us", "": "us"}[match[2].lower()[:1]]
    return f"{float(match[1]):.12g}{unit}"


def _rate(value: Any) -> str:
    if not 0 < float(value) < 1e9:
        raise ValueError(value)
    return units.write(float(value) * 1e6, units.RATES)


def _loss(value: Any) -> str:
    if not 0 < float(value) <= 100:
        raise ValueError(value)
    return f"{float(value):.12g}%"


def _queue(value: Any) -> str:
    if int(value) < 1:
        raise ValueError(value)
    return f"{int(value)}p"


_OPTIONS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "delay": ("delay", _time), "jitter": ("jitter", _time), "loss": ("loss", _loss), "bw": ("rate", _rate),
    "max_queue_size": ("queue", _queue),
}  # fmt: skip
_EXPECTED = {
    "delay": "a time such as '5ms'", "jitter": "a time such as '1ms'", "loss": "per cent, above 0 and at most 100",
    "rate": "Mbit/s above 0", "queue": "a number of packets",
}  # fmt: skip
