"""Which reader and which writer there is, by the ending of a file and by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from testbed.errors import UsageError
from testbed.topology.exchange import containerlab, dot, graphml, graphml_out, mininet_script, plain_json
from testbed.topology.exchange.settle import settled
from testbed.topology.exchange.sketch import Sketch
from testbed.topology.model import Topology

Reader = Callable[[Path, str], Sketch]

READERS: Mapping[str, Reader] = {
    ".graphml": graphml.read,
    ".clab.yml": containerlab.read,
    ".clab.yaml": containerlab.read,
    ".py": mininet_script.read,
}
"""By ending: files with these are networks of other programs wherever a topology file may stand."""

WRITERS: Mapping[str, Callable[[Topology], str]] = {
    "graphml": graphml_out.write, "dot": dot.write, "json": plain_json.write,
}  # fmt: skip


def is_foreign(path: Path) -> bool:
    """Whether the file is, by its ending, a network of another program."""
    return _by_ending(path) is not None


def read(path: Path, choice: str = "") -> Sketch:
    """The network of another program's file; raises InputError and UsageError.

    Any YAML file counts as one of containerlab here. ``choice`` names one of several topologies, as Mininet's
    ``--topo`` does: ``name,argument,key=value``.
    """
    reader = _by_ending(path) or (containerlab.read if path.suffix in (".yml", ".yaml") else None)
    if reader is None:
        raise UsageError(f"{path} ends like no file that can be imported: {', '.join([*READERS, '.yml', '.yaml'])}.")
    return settled(reader(path, choice))


def write(topology: Topology, form: str) -> str:
    """The topology in one of the formats of :data:`WRITERS`; raises UsageError for another."""
    if form not in WRITERS:
        wrong = f"There is no format {form!r}" if form else "No format is given"
        raise UsageError(f"{wrong}: choose one with --format {', '.join(WRITERS)}.")
    return WRITERS[form](topology)


def _by_ending(path: Path) -> Reader | None:
    return next((reader for ending, reader in READERS.items() if path.name.endswith(ending)), None)
