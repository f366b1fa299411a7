"""Look at the tables of a running router, or change them, as the original's ``forwardingtableclient`` does.

    python -m roles.serverless_on_edge.tableclient --server-endpoint 10.0.1.2:6474 --action dump
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from roles.serverless_on_edge.messages import (
    CONFIGURE,
    GET_NUM_TABLES,
    GET_TABLE,
    OK,
    Action,
    EdgeRouterConf,
    TableId,
    Void,
)
from roles.serverless_on_edge.tables import dump
from roles.serverless_on_edge.wire import GrpcWire
from testbed.roles.api import CallFailed

TIMEOUT_S = 5.0


async def show(wire: GrpcWire, router: str) -> str:
    """All tables of a router as text."""
    count = (await wire.call(router, GET_NUM_TABLES, Void(), TIMEOUT_S)).value
    tables = [await wire.call(router, GET_TABLE, TableId(number), TIMEOUT_S) for number in range(count)]
    return dump([table.entries for table in tables])


async def act(options: argparse.Namespace) -> int:
    """Do what the command line says; its exit status."""
    wire, router = GrpcWire(), options.server_endpoint
    try:
        if options.action == "dump":
            sys.stdout.write(await show(wire, router))
            return 0
        action = Action[options.action.upper()]
        change = EdgeRouterConf(action, options.function, options.destination, options.weight, options.final)
        answer = await wire.call(router, CONFIGURE, change, TIMEOUT_S)
        sys.stdout.write(answer.msg + "\n")
        return 0 if answer.msg == OK else 1
    except CallFailed as failure:
        sys.stderr.write(f"The router at {router} does not answer: {failure}\n")
        return 1
    finally:
        await wire.close()


def parser() -> argparse.ArgumentParser:
    """The command line, with the original's option names."""
    made = argparse.ArgumentParser(prog="tableclient", description="Show or change the forwarding tables of a router.")
    made.add_argument("--server-endpoint", default="localhost:6474", help="where the router is configured")
    made.add_argument("--action", choices=["dump", "flush", "change", "remove"], default="dump")
    made.add_argument("--lambda", dest="function", default="", help="the function of the entry")
    made.add_argument("--destination", default="", help="the destination of the entry")
    made.add_argument("--weight", type=float, default=1.0, help="its weight in seconds")
    made.add_argument("--final", action="store_true", help="whether it leads to a computer")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return asyncio.run(act(parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
