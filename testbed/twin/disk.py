"""Files in the twin: names and sizes on a disk whose pace concurrent transfers share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from testbed.roles.api import CallFailed
from testbed.twin.network import TransferFailed

if TYPE_CHECKING:
    from testbed.twin.agent import Agent
    from testbed.twin.world import World

ASK_BYTES = 64  # a request for a file, and the head of its answer


class TwinFiles:
    """One disk of one agent; see :class:`testbed.roles.resources.Files`. Rates in bytes per second."""

    def __init__(self, world: World, agent: Agent, read_rate: float | None, write_rate: float | None) -> None:
        self.agent = agent
        self.reading, self.writing = world.network.disk(read_rate), world.network.disk(write_rate)
        self._world = world
        self._sizes: dict[str, int] = {}
        self._readers: dict[asyncio.Future[None], None] = {}

    def create(self, name: str, size: int) -> None:
        """Make a file of ``size`` bytes at once."""
        self._sizes[name] = size

    def sizes(self) -> Mapping[str, int]:
        """The whole files there are."""
        return dict(self._sizes)

    def remove(self, name: str) -> None:
        """Remove a file; no error if it is not there."""
        self._sizes.pop(name, None)

    async def serve(self, port: int) -> None:
        """Give the files to others on ``port``; raises OSError if it is taken."""
        self._world.depots[self._world.free_address(self.agent, port)] = self

    async def fetch(self, address: str, name: str, patience: float) -> int:
        """Copy a file from the files served at ``address``; raises CallFailed and leaves nothing of it then."""
        source = await self._ask(address, patience)
        size = source._sizes.get(name)
        if size is None:
            raise CallFailed("protocol", f"{address} has no file {name!r}")
        disks = (source.reading, self.writing)
        moving = asyncio.ensure_future(
            self._world.network.transfer(source.agent.node, self.agent.node, size, disks, patience)
        )
        source._readers[moving] = None
        try:
            await moving
        except TransferFailed as failure:
            raise CallFailed("timeout", str(failure)) from failure
        except asyncio.CancelledError:
            if source.agent.alive:
                raise
            raise CallFailed("unreachable", f"{address} went away") from None
        finally:
            moving.cancel()
            source._readers.pop(moving, None)
        self._sizes[name] = size
        return size

    async def _ask(self, address: str, patience: float) -> TwinFiles:
        """Connect and send the request: a round trip for each, as on a new TCP connection."""
        server = self._world.node_at(address)
        if server is None:
            raise CallFailed("unreachable", f"no route to {address}")
        loop = self._world.loop
        connection = self._world.network.connection(self.agent.node, server, lambda: address in self._world.depots)
        opened: asyncio.Future[bool] = loop.create_future()
        heard: asyncio.Future[None] = loop.create_future()
        connection.open(lambda accepted: None if opened.done() else opened.set_result(accepted))
        try:
            async with asyncio.timeout(patience or None):
                if not await opened:
                    raise CallFailed("unreachable", f"nobody listens at {address}")
                connection.send(self.agent.node, ASK_BYTES, lambda: None if heard.done() else heard.set_result(None))
                await heard
        except TimeoutError as error:
            raise CallFailed("unreachable", f"{address} did not answer within {patience:g} s") from error
        finally:
            connection.close()
        depot = self._world.depots.get(address)
        if depot is None:
            raise CallFailed("unreachable", f"{address} went away")
        return depot

    async def load(self, name: str) -> int:
        """Read a whole file into memory; KeyError if it is not there."""
        size = self._sizes[name]
        await self._world.network.read(self.reading, size)
        return size

    async def close(self) -> None:
        """Stop serving and remove all files."""
        self.vanish()

    def vanish(self) -> None:
        """The agent is gone: whoever reads from here hears it."""
        self._world.depots = {at: each for at, each in self._world.depots.items() if each is not self}
        self._sizes.clear()
        for moving in list(self._readers):
            moving.cancel()
