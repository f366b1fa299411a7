"""What the options of several commands are called, and how results for machines are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Out = Annotated[Path, typer.Option("--out", help="Folder of the run folders.", envvar="TESTBED_RUNS")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for machines.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="path=value: change a value of the file.")]
RunName = Annotated[str, typer.Argument(help="A run's name, the beginning of one, its folder, or `last`.")]
RUNS = Path("runs")


def say(data: Any) -> None:
    """Print ``data`` as JSON on stdout, where machines read."""
    print(json.dumps(data, indent=2, default=str))  # noqa: T201 - stdout is where machines read
