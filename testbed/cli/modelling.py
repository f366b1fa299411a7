"""The commands around the twin: explore, calibrate, validate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from testbed import store
from testbed.cli.options import RUNS, AsJson, Out, RunName, Sets, say

commands = typer.Typer()

EXPLORED: dict[str, Any] = {
    "faults": "crash,machine,partition,delay,loss,duplicate,reorder", "every": "2s", "lasting": "150s", "heal_by": 0.7,
}  # fmt: skip


@commands.command()
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
    sets: Sets = None,
    shrink: Annotated[bool, typer.Option(help="Look for the fewest faults that still violate an invariant.")] = True,
    out: Out = RUNS,
    as_json: AsJson = False,
) -> int:
    """Look for faults of a system: its twin under many seeds and random faults. Exit status 1 if one is found."""
    from testbed.cli.exploring import Wish, explore_seeds, replay

    wish = Wish(experiment, sets or [], faults, every, lasting, heal_by, out)
    return explore_seeds(wish, first, runs, shrink, as_json) if seed is None else replay(wish, seed, only)


@commands.command()
def calibrate(
    run_name: RunName = "last",
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("calibration.json"),
    out: Out = RUNS,
) -> None:
    """Make a calibration of an emulated run: how long functions and agents take here, for the twin."""
    from testbed.cli.validation import calibrate_twin

    calibrate_twin(store.find(run_name, out), output)
    print(output)  # noqa: T201


@commands.command()
def validate(
    experiment: Path,
    over: Annotated[str, typer.Option(help="PATH=V1,V2,...: other load points than the file's.")] = "",
    calibrate_at: Annotated[str, typer.Option(help="The one of them at which the twin is calibrated.")] = "",
    substrate: Annotated[str, typer.Option(help="What carries the emulation.")] = "netns",
    repeat: Annotated[int, typer.Option(min=1, help="Runs at each point, each with another seed.")] = 1,
    sets: Sets = None,
    out: Out = RUNS,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live view.")] = False,
    as_json: AsJson = False,
) -> int:
    """Run emulation and twin over load points, and tell how far they are apart; last on stdout is the folder."""
    from testbed.cli.validation import assignments, validate_twin

    asked = [*(sets or []), *assignments(over, calibrate_at)]
    folder, status = validate_twin(experiment, substrate, asked, out, repeat, quiet)
    if as_json:
        say(json.loads((folder / "validation.json").read_text(encoding="utf-8")))
    print(folder)  # noqa: T201 - the promise of the command
    return status
