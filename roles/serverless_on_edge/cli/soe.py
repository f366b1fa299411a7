"""``testbed soe``: look into running agents of ServerlessOnEdge, change them, call them, make and convert traces.

    testbed exec client1 -- testbed soe tables 10.0.0.2
"""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.errors import TestbedError, UsageError

if TYPE_CHECKING:
    from roles.serverless_on_edge.wire import GrpcWire

commands = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Look into running agents of serverless_on_edge, and change them.",
)

Router = Annotated[str, typer.Argument(metavar="ROUTER", help="Address of its tables; the port is 6474 if left out.")]
Function = Annotated[str, typer.Argument(metavar="FUNCTION", help="The function of the entry.")]
Destination = Annotated[str, typer.Argument(metavar="DESTINATION", help="Where its calls go, with the port.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; left out: stdout.")]


class NoAnswer(TestbedError):
    """An agent cannot be reached."""

    exit_status = 1


def _do(work: Coroutine[Any, Any, int]) -> int:
    import asyncio

    from testbed.roles.api import CallFailed

    try:
        return asyncio.run(work)
    except CallFailed as failure:
        raise NoAnswer(f"No answer: {failure}") from failure


def _endpoint(text: str, port: int) -> str:
    """``host:port`` as gRPC takes it."""
    if text.rpartition(":")[2].isdigit() and (text.count(":") == 1 or "]" in text):
        return text
    return f"[{text.strip('[]')}]:{port}" if ":" in text else f"{text}:{port}"


def _wire(authority: Path | None = None) -> GrpcWire:
    from roles.serverless_on_edge.keys import Keys
    from roles.serverless_on_edge.wire import GrpcWire

    if authority is None:
        return GrpcWire()
    try:
        trusted = authority.read_bytes()
    except OSError as error:
        raise UsageError(f"{authority}: {error.strerror}.") from error
    return GrpcWire(True, lambda: Keys(trusted, b"", b""))


@commands.command()
def tables(router: Router) -> int:
    """Show the forwarding tables of a router or dispatcher."""
    from roles.serverless_on_edge import tools

    return _do(tools.dump_tables(_wire(), _endpoint(router, 6474)))


@commands.command()
def change(
    router: Router, function: Function, destination: Destination,
    weight: Annotated[float, typer.Option(help="Its weight, in seconds.")] = 1.0,
    final: Annotated[bool, typer.Option("--final", help="It leads to a computer.")] = False,
) -> int:  # fmt: skip
    """Add an entry to the tables of a router, or change it."""
    from roles.serverless_on_edge import tools
    from roles.serverless_on_edge.messages import Action, EdgeRouterConf

    entry = EdgeRouterConf(Action.CHANGE, function, destination, weight, final)
    return _do(tools.configure(_wire(), _endpoint(router, 6474), entry))


@commands.command()
def remove(router: Router, function: Function, destination: Destination) -> int:
    """Remove an entry from the tables of a router."""
    from roles.serverless_on_edge import tools
    from roles.serverless_on_edge.messages import Action, EdgeRouterConf

    entry = EdgeRouterConf(Action.REMOVE, function, destination)
    return _do(tools.configure(_wire(), _endpoint(router, 6474), entry))


@commands.command()
def flush(router: Router) -> int:
    """Empty the tables of a router; a controller that watches them fills them again."""
    from roles.serverless_on_edge import tools
    from roles.serverless_on_edge.messages import EdgeRouterConf

    return _do(tools.configure(_wire(), _endpoint(router, 6474), EdgeRouterConf()))


@commands.command()
def utilization(
    computer: Annotated[str, typer.Argument(help="Its address; the port is 20000 if left out.")],
    count: Annotated[int, typer.Option(min=0, help="End after so many seconds; 0: never.")] = 0,
) -> int:
    """Show how busy a computer is, once a second: seconds, processor, share."""
    from roles.serverless_on_edge import tools

    return _do(tools.show_utilization(_wire(), _endpoint(computer, 20000), count))


@commands.command()
def call(
    server: Annotated[str, typer.Argument(help="A router or computer; the port is 6473 if left out.")],
    function: Annotated[str, typer.Argument(help="The function to call.")],
    text: Annotated[str | None, typer.Option("--input", help="What to send.")] = None,
    size: Annotated[int, typer.Option(min=0, help="Else: JSON of so many bytes.")] = 100,
    count: Annotated[int, typer.Option(min=1, help="How many calls, one after the other.")] = 1,
    dry: Annotated[bool, typer.Option("--dry", help="Ask what a call would take.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print what the function answers, and nothing else.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each answer.")] = 10.0,
    authority: Annotated[Path | None, typer.Option(help="Over TLS, trusting this PEM file.")] = None,
) -> int:
    """Call a function; a line for each good answer, as the original: t latency load1 responder name hops."""
    from roles.serverless_on_edge import tools
    from roles.serverless_on_edge.client import padded_input
    from roles.serverless_on_edge.messages import LambdaRequest

    request = LambdaRequest(function, padded_input(size) if text is None else text, dry=dry)
    return _do(tools.call(_wire(authority), _endpoint(server, 6473), request, count, timeout, show))


@commands.command()
def trace(
    rate: Annotated[float, typer.Option(help="Calls a second of each client.")] = 1.0,
    num_clients: Annotated[int, typer.Option(min=1, help="How many clients.")] = 5,
    duration: Annotated[float, typer.Option(help="Length in seconds.")] = 10.0,
    starting_time: Annotated[float, typer.Option(help="When it begins, in seconds.")] = 0.0,
    min_size: Annotated[int, typer.Option(min=0, help="Smallest input, in bytes.")] = 100,
    max_size: Annotated[int, typer.Option(min=0, help="Largest input.")] = 500,
    seed: Annotated[int, typer.Option(help="Another seed, another trace.")] = 0,
    functions: Annotated[str, typer.Option(help="What is called, by commas.")] = "clambda0",
    endpoints: Annotated[str, typer.Option(help="Who is called, by commas.")] = "localhost:6473",
    output: Output = None,
) -> int:
    """Make a trace of Poisson calls in the original's format: time, function, endpoint, size."""
    from roles.serverless_on_edge import traces

    if rate <= 0 or duration <= 0 or max_size < min_size:
        raise UsageError("A trace needs a rate and a duration above zero, and a max-size of min-size at least.")
    load = traces.Load(rate, num_clients, duration, starting_time, (min_size, max_size))
    lines = traces.generated(load, functions.split(","), endpoints.split(","), seed)
    return _written("".join(f"{line}\n" for line in lines), output)


@commands.command()
def convert(
    original: Annotated[Path, typer.Argument(help="A trace in the original's format.")],
    client: Annotated[list[str] | None, typer.Option(metavar="ENDPOINT=NODE", help="Who calls an endpoint.")] = None,
    output: Output = None,
) -> int:
    """Make of an original trace one that `arrivals: {model: trace, file: …}` of an experiment replays."""
    from roles.serverless_on_edge import traces

    pairs = [each.rpartition("=") for each in client or []]
    if not all(endpoint and node for endpoint, _, node in pairs):
        raise UsageError("--client needs ENDPOINT=NODE, such as 10.0.0.2:6473=c1.")
    rows = traces.read(original)
    return _written(traces.as_csv(rows, {endpoint: node for endpoint, _, node in pairs}), output)


@commands.command()
def outputs(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: `original` in the run.")] = None,
) -> int:
    """Write a run's results as the original's programs do: files without a header, columns between blanks."""
    from roles.serverless_on_edge import outputs as written

    for path in written.write(run, output or run / "original"):
        print(path)  # noqa: T201
    return 0


def _written(text: str, output: Path | None) -> int:
    if output is None:
        print(text, end="")  # noqa: T201
    else:
        output.write_text(text, encoding="utf-8")
        print(output)  # noqa: T201
    return 0
