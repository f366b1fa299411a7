"""The commands that trade networks and workloads with other programs: import, export, schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import Sets

Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; default: stdout.")]
commands = typer.Typer()


@commands.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="GraphML (.graphml), containerlab (.yml) or Mininet script (.py).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The topology file to write.")] = Path("topology.yaml"),
    topo: Annotated[str, typer.Option(help="Of a Mininet script with several: NAME or NAME,ARG,KEY=VALUE.")] = "",
) -> None:
    """Make a topology file of another program's network, and tell what could not be carried over."""
    from testbed import places, store
    from testbed.cli.tables import err, notes
    from testbed.topology.exchange import formats
    from testbed.topology.exchange.written import topology_yaml
    from testbed.topology.load import from_sketch

    sketch = formats.read(places.find(file), topo)
    made = from_sketch(sketch)  # the file passes `testbed check`, or the problems are told with lines of the source
    store.write_atomically(output, topology_yaml(sketch))
    notes(made)
    count = f"{len(made.nodes)} nodes and {len(made.links)} links"
    err.print(f"{made.name}: {count}. Next: testbed graph {output}", markup=False, soft_wrap=True)
    print(output)  # noqa: T201


@commands.command()
def export(
    topology: Annotated[Path, typer.Argument(help="A topology, or an experiment for its topology.")],
    form: Annotated[str, typer.Option("--format", help="graphml, dot or json; default: by the output's ending.")] = "",
    output: Output = None,
) -> None:
    """Write a network for other programs: all of it as GraphML or JSON, or a picture's source as DOT."""
    from testbed.cli.files import topology_of
    from testbed.topology.exchange import formats

    ending = output.suffix.removeprefix(".") if output is not None else ""
    text = formats.write(topology_of(topology), form or {"gv": "dot"}.get(ending, ending))
    _give(text, output)


@commands.command()
def schedule(
    experiment: Path,
    seed: Annotated[int | None, typer.Option(help="Another seed than the file's.")] = None,
    sets: Sets = None,
    output: Output = None,
) -> None:
    """Write what an experiment will send as a trace (CSV), which `arrivals: {model: trace}` replays."""
    from testbed.cli.files import trace_of

    text = trace_of(experiment, [*(sets or []), *([f"seed={seed}"] if seed is not None else [])])
    _give(text, output)


def _give(text: str, output: Path | None) -> None:
    from testbed import store

    if output is None:
        print(text, end="")  # noqa: T201 - stdout is where programs read
    else:
        store.write_atomically(output, text)
        print(output)  # noqa: T201
