"""The commands. Exit status: 0 done and not invalid; 1 the run failed or is invalid; 2 input wrong; 3 machine lacks."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from testbed import places, store
from testbed.cli import exchange, interactive, modelling, tables
from testbed.cli.options import RUNS, AsJson, Nat, Out, RunName, Sets, say
from testbed.cli.tables import err
from testbed.cli.tools import WithTools
from testbed.errors import TestbedError

app = typer.Typer(
    name="testbed",
    cls=WithTools,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Emulate serverless edge computing: a network, a system under test, a workload, a figure, a verdict.",
)

for _each in (exchange, interactive, modelling):
    app.add_typer(_each.commands)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; its exit status. Errors of ours are told in their own words, without a traceback."""
    places.open_home()
    try:
        return int(app(args=arguments, standalone_mode=False) or 0)
    except TestbedError as error:
        err.print(str(error), style="red", soft_wrap=True, markup=False)
        return error.exit_status
    except typer.Abort:
        return 1
    except KeyboardInterrupt:
        err.print("interrupted")
        return 1
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # typer's own errors about the command line
            error.show()
            return int(error.exit_code)
        raise


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What this machine can do, which fallback each feature will use, how to get more."""
    from testbed.substrate import cgroups_owner
    from testbed.substrate.probe import probe

    removed = cgroups_owner.clear(everywhere=True)
    if removed:
        err.print(f"{removed} control groups of runs that were killed have been removed.")
    found = probe().features
    if as_json:
        say([asdict(feature) for feature in found.values()])
    else:
        tables.features(list(found.values()))


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Topologies, experiments, inventories.")], as_json: AsJson = False
) -> int:
    """Check topologies, experiments and inventories of machines, and tell all their problems at once."""
    from testbed.cli.files import problems_of

    found = {str(path): problems_of(path) for path in files}
    if as_json:
        say({name: [asdict(problem) for problem in problems] for name, problems in found.items()})
    for name, problems in found.items():
        for problem in problems:
            err.print(str(problem), soft_wrap=True, markup=False)
        if not problems and not as_json:
            err.print(f"{name}: ok", markup=False)
    return 2 if any(found.values()) else 0


@app.command()
def graph(
    topology: Path,
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write.")] = Path("topology.svg"),
) -> None:
    """Draw a topology (or the one of an experiment) as SVG."""
    from testbed.cli.files import topology_of
    from testbed.topology.draw import svg

    output.write_text(svg(topology_of(topology)), encoding="utf-8")
    print(output)  # noqa: T201


@app.command()
def run(
    experiment: Path,
    substrate: Annotated[str, typer.Option(help="What carries the network.")] = "netns",
    seed: Annotated[int | None, typer.Option(help="Another seed than the file's.")] = None,
    sets: Sets = None,
    out: Out = RUNS,
    figures: Annotated[bool, typer.Option(help="Draw the figures and write the report at the end.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live view.")] = False,
    nat: Nat = "",
    as_json: AsJson = False,
) -> int:
    """Run an experiment; the last line on stdout is the run's folder."""
    from testbed.cli.running import run_experiment

    assignments = [*(sets or []), *([f"seed={seed}"] if seed is not None else [])]
    folder, status = run_experiment(experiment, substrate, assignments, out, figures, quiet, nat)
    if as_json:
        say(asdict(store.read_record(folder)))
    print(folder)  # noqa: T201 - the promise of the command
    return status


@app.command()
def runs(out: Out = RUNS, as_json: AsJson = False) -> None:
    """List the runs, newest last."""
    records = store.records(out)
    if as_json:
        say([asdict(record) for record in records])
    else:
        tables.runs(records)


@app.command()
def show(run_name: RunName = "last", out: Out = RUNS, as_json: AsJson = False) -> None:
    """Show how a run ended: verdict, reasons, summary."""
    folder = store.find(run_name, out)
    record = store.read_record(folder)
    if as_json:
        say(asdict(record))
        return
    err.print(f"{record.run_id}: {record.experiment} on {record.substrate}, {record.system}, seed {record.seed}")
    tables.ending(record)
    err.print(str(folder), markup=False)


@app.command()
def recover(run_name: RunName = "last", out: Out = RUNS) -> None:
    """Complete the folder of a run whose command was killed: all rows, a verdict (invalid), a summary."""
    from testbed.recover import recover as complete

    folder = store.find(run_name, out)
    for change in complete(folder):
        err.print(f"Since then, {change}.", style="yellow", markup=False, soft_wrap=True)
    tables.ending(store.read_record(folder))
    print(folder)  # noqa: T201


@app.command()
def figure(
    run_name: RunName = "last",
    names: Annotated[list[str] | None, typer.Argument(help="Figures; default: all that fit.")] = None,
    out: Out = RUNS,
) -> None:
    """Draw the figures of a run again, from its CSV files alone."""
    import analysis

    folder = store.find(run_name, out)
    for path in (
        [each for name in names for each in analysis.draw(folder, name)] if names else analysis.draw_all(folder)
    ):
        print(path)  # noqa: T201


@app.command()
def curve(
    sweeps: Annotated[list[Path], typer.Argument(help="Folders of sweeps; several are drawn over each other.")],
    metric: Annotated[str, typer.Option(help="Column of summary.csv.")] = "response_time_p50_s",
    distribution: Annotated[
        str, typer.Option(help="Instead: how this column of invocations.csv is distributed, all seeds together.")
    ] = "",
    over: Annotated[str, typer.Option(help="The swept path on the x axis; default: the first.")] = "",
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write, without its ending.")] = Path(
        "curve"
    ),
    log: Annotated[bool, typer.Option("--log", help="Both axes logarithmic.")] = False,
) -> None:
    """Draw a metric over what sweeps vary; the same sweep in emulation and in the twin makes one picture."""
    from testbed.cli.running import draw_curve, draw_distribution

    if distribution:
        drawn = draw_distribution(sweeps, distribution, output)
    else:
        drawn = draw_curve(sweeps, metric, over, output, log)
    for path in drawn:
        print(path)  # noqa: T201


@app.command()
def report(run_name: RunName = "last", out: Out = RUNS) -> None:
    """Write the run's report, one HTML file that needs no network."""
    from analysis.report import report as write

    print(write(store.find(run_name, out)))  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
