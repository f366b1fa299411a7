"""A tree of locations in emulation: agents in namespaces, asked from a machine of the network over real HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from testbed.places import home, open_home

open_home()

import emulated_fleet  # noqa: E402
from so_asking import ALL, Checked  # noqa: E402
from so_bad import BAD  # noqa: E402
from so_checks import CHECKS  # noqa: E402

from roles.session_offloading.messages import PORT  # noqa: E402
from testbed.roles.http import HttpClient  # noqa: E402
from testbed.roles.web import WebReply, WebRequest, fields  # noqa: E402

HERE = Path(__file__).parent
EXPERIMENT = HERE / "so_emulated.yaml"


class Emulated(emulated_fleet.Emulated):
    """What is up, and short ways to ask it."""

    def ask(self, argv: Sequence[str], timeout: float = 240.0) -> tuple[int, str]:
        """Run a program on the client's machine; its status, and all that it said."""
        paths = os.pathsep.join(map(str, (home(), HERE, HERE.parents[1])))
        done = self.network.host("c1").run(["env", f"PYTHONPATH={paths}", *argv], check=False, timeout=timeout)
        return done.status, done.stdout + done.stderr

    @property
    def addresses(self) -> dict[str, str]:
        """``host:port`` of each location."""
        return {name: f"{self.experiment.topology.address(name)}:{PORT}" for name in ALL}

    def check(self, *names: str) -> tuple[int, str]:
        """Run checks by name, or all."""
        return self.ask([sys.executable, __file__, json.dumps(self.addresses), *names])


def emulated(*sets: str, path: Path = EXPERIMENT) -> AbstractContextManager[Emulated]:
    """The tree, up and ready; to be called in an arena. ``sets`` change the experiment."""
    return emulated_fleet.emulated(Emulated, path, sets)


class Http:
    """The way of checks over real HTTP."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses, self._client = addresses, HttpClient()

    async def send(self, location: str, request: WebRequest) -> WebReply:
        """The answer; nothing is followed."""
        reply = await self._client.request(
            request.verb, self._addresses[location], request.target, request.body, request.headers, timeout=60.0
        )
        return WebReply(reply.status, fields(reply.headers), reply.body)

    def url(self, location: str) -> str:
        """``http://host:port`` of a location."""
        return f"http://{self._addresses[location]}"

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


async def checks(addresses: dict[str, str], names: Sequence[str]) -> int:
    """Run checks one after the other, on a tree that is cleaned each time; how many failed."""
    way, failed = Http(addresses), 0
    try:
        for name in names or CHECKS:
            checked = Checked(way, f"s-{name[6:12]}")
            await checked.clean()
            try:
                await (CHECKS | BAD)[name](checked)
            except Exception:  # noqa: BLE001 - told, and counted
                failed += 1
                print(f"FAILED {name}\n{traceback.format_exc()}")
    finally:
        await way.close()
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(checks(json.loads(sys.argv[1]), sys.argv[2:])))
