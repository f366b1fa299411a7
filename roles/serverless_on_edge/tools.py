"""What the commands ask of running agents."""

from __future__ import annotations

import sys
import time

from roles.serverless_on_edge.messages import (
    CONFIGURE,
    GET_NUM_TABLES,
    GET_TABLE,
    OK,
    RUN_LAMBDA,
    STREAM_UTIL,
    EdgeRouterConf,
    LambdaRequest,
    TableId,
    Void,
)
from roles.serverless_on_edge.tables import dump
from roles.serverless_on_edge.wire import GrpcWire

TIMEOUT_S = 5.0


async def dump_tables(wire: GrpcWire, router: str) -> int:
    """Print all tables of a router."""
    try:
        count = (await wire.call(router, GET_NUM_TABLES, Void(), TIMEOUT_S)).value
        tables = [await wire.call(router, GET_TABLE, TableId(number), TIMEOUT_S) for number in range(count)]
        sys.stdout.write(dump([table.entries for table in tables]))
        return 0
    finally:
        await wire.close()


async def configure(wire: GrpcWire, router: str, change: EdgeRouterConf) -> int:
    """Change the tables of a router, and print what it says."""
    try:
        answer = await wire.call(router, CONFIGURE, change, TIMEOUT_S)
        sys.stdout.write(answer.msg + "\n")
        return 0 if answer.msg == OK else 1
    finally:
        await wire.close()


async def show_utilization(wire: GrpcWire, computer: str, count: int) -> int:
    """Print ``count`` messages of a computer's utilisation (0: all that come): t, processor, share."""
    began, seen = time.monotonic(), 0
    try:
        async for message in wire.stream(computer, STREAM_UTIL, Void()):
            for processor, load in message.values.items():
                sys.stdout.write(f"{time.monotonic() - began:.3f} {processor} {load:g}\n")
            sys.stdout.flush()
            seen += 1
            if seen == count:
                break
        return 0
    finally:
        await wire.close()


async def call(
    wire: GrpcWire, server: str, request: LambdaRequest, count: int, timeout: float, show: bool
) -> int:
    """Call ``count`` times and print a line for each good answer, or with ``show`` its output; 1 if one was bad."""
    began, status = time.monotonic(), 0
    try:
        for _ in range(count):
            sent = time.monotonic()
            answer = await wire.call(server, RUN_LAMBDA, request, timeout)
            now = time.monotonic()
            if answer.retcode != OK:
                sys.stderr.write(f"{answer.retcode}\n")
                status = 1
                continue
            took = answer.ptime / 1000 if request.dry else now - sent
            line = f"{now - began:.6f} {took:.6f} {answer.load1} {answer.responder} {request.name} {answer.hops}"
            sys.stdout.write(f"{answer.output if show else line}\n")
        return status
    finally:
        await wire.close()
