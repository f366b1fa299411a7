"""The commands that work with a network by hand: up, down, shell, exec."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import Nat

commands = typer.Typer()


@commands.command()
def up(
    topology: Path,
    name: Annotated[str, typer.Option(help="What to call the network in exec, shell and down.")] = "",
    substrate: Annotated[str, typer.Option(help="What carries it.")] = "netns",
    cli: Annotated[bool, typer.Option("--cli", help="Mininet's own command line; the network ends with it.")] = False,
    nat: Nat = "",
) -> int:
    """Bring a network up and leave it up, for any program of yours: see shell, exec and down."""
    from testbed.cli.network import bring_up, talk

    return (talk if cli else bring_up)(topology, name, substrate, nat)


@commands.command()
def down(name: Annotated[str, typer.Argument(help="Its name; not needed while one network is up.")] = "") -> int:
    """Take a network down that `up` left."""
    from testbed.cli.network import take_down

    return take_down(name)


Network = Annotated[str, typer.Option("--network", "-n", help="Which network; not needed while one is up.")]


@commands.command()
def shell(host: str, network: Network = "") -> int:
    """Open a shell on a host of a network that is up, or of a run that is going on."""
    from testbed.cli.network import on_host

    return on_host(network, host, [os.environ.get("SHELL", "/bin/sh")])


@commands.command(name="exec", context_settings={"allow_interspersed_args": False})
def exec_(
    host: str, argv: Annotated[list[str], typer.Argument(help="The command, after --.")], network: Network = ""
) -> int:
    """Run a command on a host of a network that is up: testbed exec h1 -- ping -c 3 h2."""
    from testbed.cli.network import on_host

    return on_host(network, host, argv[1:] if argv[0] == "--" else argv)
