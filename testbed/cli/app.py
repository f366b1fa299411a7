"""The commands. Exit status: 0 done and not invalid; 1 the run failed or is invalid; 2 input wrong; 3 machine lacks."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from testbed import places, store
from testbed.cli import tables
from testbed.cli.tables import err
from testbed.errors import TestbedError

app = typer.Typer(
    name="testbed",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Emulate serverless edge computing: a network, a system under test, a workload, a figure, a verdict.",
)

Out = Annotated[Path, typer.Option("--out", help="Folder of the run folders.", envvar="TESTBED_RUNS")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for machines.")]
RUNS = Path("runs")
EXPLORED: dict[str, Any] = {
    "faults": "crash,machine,partition,delay,loss,duplicate,reorder", "every": "2s", "lasting": "150s", "heal_by": 0.7,
}  # fmt: skip


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


def _say(data: Any) -> None:
    print(json.dumps(data, indent=2, default=str))  # noqa: T201 - stdout is where machines read


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What this machine can do, which fallback each feature will use, how to get more."""
    from testbed.substrate.probe import probe

    found = probe().features
    if as_json:
        _say([asdict(feature) for feature in found.values()])
    else:
        tables.features(list(found.values()))


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Topology and experiment files.")], as_json: AsJson = False
) -> int:
    """Check topology and experiment files, and tell all their problems at once."""
    from testbed.cli.files import problems_of

    found = {str(path): problems_of(path) for path in files}
    if as_json:
        _say({name: [asdict(problem) for problem in problems] for name, problems in found.items()})
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
def up(
    topology: Path,
    name: Annotated[str, typer.Option(help="What to call the network in exec, shell and down.")] = "",
    substrate: Annotated[str, typer.Option(help="What carries it.")] = "netns",
) -> int:
    """Bring a network up and leave it up, for any program of yours: see shell, exec and down."""
    from testbed.cli.network import bring_up

    return bring_up(topology, name, substrate)


@app.command()
def down(name: Annotated[str, typer.Argument(help="Its name; not needed while one network is up.")] = "") -> int:
    """Take a network down that `up` left."""
    from testbed.cli.network import take_down

    return take_down(name)


Network = Annotated[str, typer.Option("--network", "-n", help="Which network; not needed while one is up.")]


@app.command()
def shell(host: str, network: Network = "") -> int:
    """Open a shell on a host of a network that is up, or of a run that is going on."""
    from testbed.cli.network import on_host

    return on_host(network, host, [os.environ.get("SHELL", "/bin/sh")])


@app.command(name="exec", context_settings={"allow_interspersed_args": False})
def exec_(
    host: str, argv: Annotated[list[str], typer.Argument(help="The command, after --.")], network: Network = ""
) -> int:
    """Run a command on a host of a network that is up: testbed exec h1 -- ping -c 3 h2."""
    from testbed.cli.network import on_host

    return on_host(network, host, argv[1:] if argv[0] == "--" else argv)


@app.command()
def run(
    experiment: Path,
    substrate: Annotated[str, typer.Option(help="What carries the network.")] = "netns",
    seed: Annotated[int | None, typer.Option(help="Another seed than the file's.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="path=value: change a value of the file.")] = None,
    out: Out = RUNS,
    figures: Annotated[bool, typer.Option(help="Draw the figures and write the report at the end.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live view.")] = False,
    as_json: AsJson = False,
) -> int:
    """Run an experiment; the last line on stdout is the run's folder."""
    from testbed.cli.running import run_experiment

    assignments = [*(sets or []), *([f"seed={seed}"] if seed is not None else [])]
    folder, status = run_experiment(experiment, substrate, assignments, out, figures, quiet)
    if as_json:
        _say(asdict(store.read_record(folder)))
    print(folder)  # noqa: T201 - the promise of the command
    return status


@app.command()
def explore(
    experiment: Path,
    runs: Annotated[int, typer.Option(min=1, help="How many seeds are tried.")] = 100,
    first: Annotated[int, typer.Option(min=0, help="The first of them; the others follow it.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Tell the run with this seed again, and try no others.")] = None,
    only: Annotated[str | None, typer.Option(help="With --seed: only the faults with these numbers, or none.")] = None,
    faults: Annotated[str, typer.Option(help="Kinds of faults.")] = EXPLORED["faults"],
    every: Annotated[str, typer.Option(help="Mean time between two faults of a storm.")] = EXPLORED["every"],
    lasting: Annotated[str, typer.Option(help="A run's length, or its workload's.")] = EXPLORED["lasting"],
    heal_by: Annotated[float, typer.Option(help="Share of the run after which all is healed.")] = EXPLORED["heal_by"],
    sets: Annotated[list[str] | None, typer.Option("--set", help="path=value: change a value of the file.")] = None,
    shrink: Annotated[bool, typer.Option(help="Look for the fewest faults that still violate an invariant.")] = True,
    out: Out = RUNS,
    as_json: AsJson = False,
) -> int:
    """Look for faults of a system: its twin under many seeds and random faults. Exit status 1 if one is found."""
    from testbed.cli.exploring import Wish, explore_seeds, replay

    wish = Wish(experiment, sets or [], faults, every, lasting, heal_by, out)
    return explore_seeds(wish, first, runs, shrink, as_json) if seed is None else replay(wish, seed, only)


@app.command()
def runs(out: Out = RUNS, as_json: AsJson = False) -> None:
    """List the runs, newest last."""
    records = store.records(out)
    if as_json:
        _say([asdict(record) for record in records])
    else:
        tables.runs(records)


RunName = Annotated[str, typer.Argument(help="A run's name, the beginning of one, its folder, or `last`.")]


@app.command()
def show(run_name: RunName = "last", out: Out = RUNS, as_json: AsJson = False) -> None:
    """Show how a run ended: verdict, reasons, summary."""
    folder = store.find(run_name, out)
    record = store.read_record(folder)
    if as_json:
        _say(asdict(record))
        return
    err.print(f"{record.run_id}: {record.experiment} on {record.substrate}, {record.system}, seed {record.seed}")
    tables.ending(record)
    err.print(str(folder), markup=False)


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
    over: Annotated[str, typer.Option(help="The swept path on the x axis; default: the first.")] = "",
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write, without its ending.")] = Path(
        "curve"
    ),
) -> None:
    """Draw a metric over what sweeps vary; the same sweep in emulation and in the twin makes one picture."""
    from testbed.cli.running import draw_curve

    for path in draw_curve(sweeps, metric, over, output):
        print(path)  # noqa: T201


@app.command()
def report(run_name: RunName = "last", out: Out = RUNS) -> None:
    """Write the run's report, one HTML file that needs no network."""
    from analysis.report import report as write

    print(write(store.find(run_name, out)))  # noqa: T201


@app.command()
def calibrate(
    run_name: RunName = "last",
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("calibration.json"),
    out: Out = RUNS,
) -> None:
    """Make a calibration of an emulated run: how long functions and agents take here, for the twin."""
    from testbed.cli.validation import calibrate_twin

    calibrate_twin(store.find(run_name, out), output)
    print(output)  # noqa: T201


@app.command()
def validate(
    experiment: Path,
    over: Annotated[str, typer.Option(help="PATH=V1,V2,...: other load points than the file's.")] = "",
    calibrate_at: Annotated[str, typer.Option(help="The one of them at which the twin is calibrated.")] = "",
    substrate: Annotated[str, typer.Option(help="What carries the emulation.")] = "netns",
    repeat: Annotated[int, typer.Option(min=1, help="Runs at each point, each with another seed.")] = 1,
    sets: Annotated[list[str] | None, typer.Option("--set", help="path=value: change a value of the file.")] = None,
    out: Out = RUNS,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live view.")] = False,
    as_json: AsJson = False,
) -> int:
    """Run emulation and twin over load points, and tell how far they are apart; last on stdout is the folder."""
    from testbed.cli.validation import assignments, validate_twin

    asked = [*(sets or []), *assignments(over, calibrate_at)]
    folder, status = validate_twin(experiment, substrate, asked, out, repeat, quiet)
    if as_json:
        _say(json.loads((folder / "validation.json").read_text(encoding="utf-8")))
    print(folder)  # noqa: T201 - the promise of the command
    return status


if __name__ == "__main__":
    sys.exit(main())
