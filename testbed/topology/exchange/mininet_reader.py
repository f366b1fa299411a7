"""A program by itself: builds the topology of a Mininet script and prints it as JSON; ``mininet_script.py`` runs it.

    python mininet_reader.py SCRIPT CHOICE

The script is Python and could do anything, so it runs in this process of its own, with limits on processor time, memory
and files, and whatever starts a program, opens a connection or writes a file is refused: a guard against scripts that
build a real network while they are read, not against malice.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

PROCESSOR_S, MEMORY_BYTES, FILE_BYTES = 20, 2 << 30, 64 << 20
_REFUSED = {
    "subprocess.Popen": "starts a program", "os.system": "starts a program", "os.exec": "starts a program",
    "os.posix_spawn": "starts a program", "os.fork": "starts a process", "os.forkpty": "starts a process",
    "socket.connect": "opens a connection", "socket.bind": "opens a port", "os.remove": "removes a file",
    "os.rename": "renames a file", "os.rmdir": "removes a folder", "os.mkdir": "makes a folder",
    "os.kill": "ends a process", "shutil.rmtree": "removes files", "os.chmod": "changes a file",
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Refused(BaseException):
    """The script does what reading a topology does not need; not an Exception, so that the script does not catch it."""


class Faulty(Exception):
    """What is wrong: found, expected, and a hint."""


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _REFUSED:
        raise Refused(_REFUSED[event])
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING and arguments[0] != os.devnull:
        raise Refused("writes a file")


def _limit() -> None:
    for what, limit in ((resource.RLIMIT_CPU, PROCESSOR_S), (resource.RLIMIT_AS, MEMORY_BYTES),
                        (resource.RLIMIT_FSIZE, FILE_BYTES), (resource.RLIMIT_CORE, 0)):
        _, most = resource.getrlimit(what)
        resource.setrlimit(what, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _line(script: str) -> int:
    """The line of the script that is at work, the innermost one."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != script:
        frame = frame.f_back
    return frame.f_lineno if frame is not None else 0


def _remember_lines(script: str) -> None:
    """Lets Mininet's graph note where each node and link comes from, and in which order."""
    from mininet.topo import MultiGraph

    add_node, add_edge = MultiGraph.add_node, MultiGraph.add_edge

    def node(self: Any, name: str, attr_dict: dict[str, Any] | None = None, **attributes: Any) -> Any:
        return add_node(self, name, {**(attr_dict or {}), "_line": _line(script)}, **attributes)

    def edge(self: Any, a: str, b: str, key: Any = None, attr_dict: dict[str, Any] | None = None, **more: Any) -> Any:
        self.__dict__.setdefault("ordered", []).append(
            {"node1": a, "node2": b, **(attr_dict or {}), **more, "_line": _line(script)}
        )
        return add_edge(self, a, b, key, attr_dict, **more)

    MultiGraph.add_node, MultiGraph.add_edge = node, edge


def _build(script: str, choice: str) -> Any:
    from mininet.topo import Topo
    from mininet.util import buildTopo, splitArgs

    module = ModuleType("topology_script")
    module.__file__ = script
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(Path(script).parent))
    exec(compile(Path(script).read_bytes(), script, "exec"), module.__dict__)  # noqa: S102 - what this process is for
    topos = getattr(module, "topos", None)
    if not isinstance(topos, dict):
        made = {name: value for name, value in vars(module).items() if isinstance(value, type)
                and issubclass(value, Topo) and value.__module__ == module.__name__}
        topos = {name: value for name, value in made.items()
                 if not any(other is not value and issubclass(other, value) for other in made.values())}
    if not topos:
        raise Faulty("no topology", "topos = {'name': ...} or a class derived from mininet.topo.Topo", "")
    name = splitArgs(choice)[0]
    if not choice and len(topos) > 1:
        hint = f"Choose one: testbed import --topo {next(iter(topos))}."
        raise Faulty(f"several topologies ({', '.join(map(str, topos))})", "one", hint)
    if choice and name not in topos:
        raise Faulty(f"no topology {name!r}", f"one of {', '.join(map(str, topos))}", "")
    topo = buildTopo(topos, choice) if choice else next(iter(topos.values()))()
    if not isinstance(topo, Topo):
        raise Faulty(f"a {type(topo).__name__}", "a topology derived from mininet.topo.Topo", "")
    return topo


def _said(value: object) -> object:
    """An option as JSON can hold it; a class by its name."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): _said(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_said(each) for each in value]
    return getattr(value, "__name__", type(value).__name__)


def _told(topo: Any) -> dict[str, object]:
    nodes = [{"name": str(name), "options": _said(options)} for name, options in topo.g.node.items()]
    return {"nodes": nodes, "links": [_said(each) for each in getattr(topo.g, "ordered", ())]}


def _fault(error: BaseException, script: str) -> dict[str, object]:
    frames = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == script]
    line = (error.lineno if isinstance(error, SyntaxError) and error.filename == script else None) or 0
    line = line or (frames[-1] if frames else 0) or 0
    if isinstance(error, Faulty):
        found, expected, hint = error.args
    elif isinstance(error, Refused):
        found, expected = f"a script that {error} while it is read", "one that only defines its topology"
        hint = "Put what it does beside that below if __name__ == '__main__'."
    else:
        found = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
        expected, hint = "a script that builds its topology", ""
    return {"line": line, "found": found, "expected": expected, "hint": hint}


def main(script: str, choice: str) -> None:
    out = os.fdopen(os.dup(1), "w")  # what the script prints goes elsewhere
    os.dup2(2, 1)
    _limit()
    try:
        import mininet.net  # noqa: F401 - before the guard, with all that scripts import

        _remember_lines(script)
        sys.addaudithook(_guard)
        told = _told(_build(script, choice))
    except BaseException as error:  # noqa: BLE001 - whatever the script raises is told
        told = {"fault": _fault(error, script)}
    with out:
        json.dump(told, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
