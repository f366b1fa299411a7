"""What the options of several commands are called, and how results for machines are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from testbed.substrate.base import Substrate
    from testbed.topology.model import Topology

Out = Annotated[Path, typer.Option("--out", help="Folder of the run folders.", envvar="TESTBED_RUNS")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for machines.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="path=value: change a value of the file.")]
RunName = Annotated[str, typer.Argument(help="A run's name, the beginning of one, its folder, or `last`.")]
Nat = Annotated[str, typer.Option("--nat", metavar="NODE", help="Give NODE a way to the outside; needs root.")]
RUNS = Path("runs")


def carrier(substrate: str, nat: str, topology: Topology) -> Substrate:
    """The substrate of this name; with the node ``nat``, its networks reach the outside through that node."""
    from testbed.substrate.find import named

    found = named(substrate)
    if not nat:
        return found
    from testbed.errors import UsageError
    from testbed.substrate.away import Abroad
    from testbed.substrate.nat import WithOutside, check_door

    if isinstance(found, Abroad):
        raise UsageError(f"--nat is for networks on this machine; leave it out with the substrate {substrate}.")
    check_door(topology, nat)
    return WithOutside(found, nat)


def say(data: Any) -> None:
    """Print ``data`` as JSON on stdout, where machines read."""
    print(json.dumps(data, indent=2, default=str))  # noqa: T201 - stdout is where machines read
