"""What a proxy for clients of OpenWhisk adds: the processor time of an invocation there, beside the router behind it.

    .venv/bin/python benchmarks/wskproxy.py [--seconds 4] [--rounds 5]

wrk (C) invokes over 16 connections at a proxy before a router before a server that answers at once; each of them has a
process of its own. Beside it the same router is called directly over gRPC, as `serverless_on_edge.py hop` does. All
take turns; medians over the rounds are told: compare ratios, since absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openwhisk import answered
from serverless_on_edge import AT_ONCE, Talk, answer_questions, calls, echo, router, running

from roles.openwhisk.auth import PUBLIC, header
from roles.serverless_on_edge.messages import OK, LambdaRequest, LambdaResponse
from roles.serverless_on_edge.wire import GrpcWire

NET = "127.73.100"
COUNT = 3_000
WAYS = {"result": "&result=true", "record": ""}
LUA = f"""
wrk.method = "POST"
wrk.body = '{{"input": "{"A" * 88}"}}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "{header(PUBLIC["guest"])}"
"""


def proxy(talk: Talk, host: str, edge: str) -> None:
    """A proxy that asks for a key."""
    from roles.serverless_on_edge.system import SYSTEM
    from testbed.roles.api import Site
    from testbed.roles.live import LiveEnvironment

    async def serve() -> None:
        kind = SYSTEM.roles["wskproxy"]
        options = {"server-endpoint": edge, "num-threads": 50, "auth": {"guest": PUBLIC["guest"]},
                   "default-namespace": "_"}  # fmt: skip
        role = kind(Site("p", "wskproxy", 1, {"p": host}, {"wskproxy": ("p",)}, {}),
                    kind.parameters_model.model_validate(options))  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            env = LiveEnvironment(role.site, SYSTEM.wire_of(role, Path(folder)), Path(folder), SYSTEM.tables)
            await role.start(env)
            await answer_questions(talk)
            await env.close()

    asyncio.run(serve())


def drive(seconds: float, query: str) -> int:
    """Invoke for so long; how many were answered well."""
    return answered(f"{NET}.3:20000", f"f?blocking=true{query}", LUA, AT_ONCE, seconds)


def measure(questions: dict[str, Callable[[], float]], work: Callable[[], int]) -> dict[str, float]:
    """Processor seconds for each call of those who are asked."""
    before = {name: ask() for name, ask in questions.items()}
    count = work()
    return {name: (ask() - before[name]) / count for name, ask in questions.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    wire = GrpcWire()
    request = wire.encode(LambdaRequest("f", "A" * 100))
    reply = wire.encode(LambdaResponse(OK, dataout=b'{"input":"%s"}' % (b"A" * 88), responder="x", exec_us=1))

    def directly() -> int:
        asyncio.run(calls(f"{NET}.2:6473", COUNT, request))
        return COUNT

    found: dict[str, list[dict[str, float]]] = {"direct": [], **{name: [] for name in WAYS}}
    with (running(echo, f"{NET}.1:10000", reply), running(router, f"{NET}.2", f"{NET}.1:10000") as of_router,
          running(proxy, f"{NET}.3", f"{NET}.2:6473") as of_proxy):  # fmt: skip
        both: Any = {"router": of_router, "proxy": of_proxy}
        directly()
        drive(1, "")
        for _ in range(options.rounds):
            found["direct"].append(measure({"router": of_router}, directly))
            for name, query in WAYS.items():
                found[name].append(measure(both, lambda query=query: drive(options.seconds, query)))  # type: ignore[misc]
    tell(found)


def tell(found: dict[str, list[dict[str, float]]]) -> None:
    """Print medians and ratios."""
    direct = [each["router"] for each in found["direct"]]
    print(f"router, called directly          {1e6 * statistics.median(direct):6.0f} us CPU a call")
    for name in WAYS:
        own = [each["proxy"] for each in found[name]]
        ratio = statistics.median(mine / other for mine, other in zip(own, direct, strict=True))
        behind = statistics.median(each["router"] for each in found[name])
        print(f"proxy, answering with the {name}  {1e6 * statistics.median(own):6.0f} us CPU a call, {ratio:.2f} times "
              f"the router called directly; the router behind it {1e6 * behind:.0f} us")  # fmt: skip


if __name__ == "__main__":
    main()
