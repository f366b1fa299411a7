"""A location's own ``redis-server``: started by its agent, bound to its address, started again when it dies."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as Late

from roles.session_offloading.records import StorageFailed
from testbed.errors import TestbedError
from testbed.roles.api import Environment
from testbed.roles.programs import Program, ProgramFailed, folder_of

CONNECTION = (Disconnected, Late, OSError)  # whatever was asked, nobody knows whether it was done
REFUSED = RedisError  # it was not done
REMEDY = "apt-get install redis-tools, and a link redis-server to its redis-check-rdb; or apt-get install redis-server"
PATIENCE_S = 20.0  # with a server that starts, or answers
AGAIN_S = 0.2

# What is written is with the kernel before it is acknowledged: so it survives the server, not the machine. With fsync
# every second, Redis puts a write off while one is under way, and acknowledges it all the same.
_CONFIGURATION = """\
bind {address}
port {port}
requirepass {password}
dir {folder}
daemonize no
logfile ""
save ""
appendonly yes
appendfsync no
auto-aof-rewrite-percentage 300
tcp-backlog 128
"""


class RedisServer:
    """``folder`` is its own; ``keep``: what an earlier life has left in it counts. See :func:`redis_server`."""

    def __init__(self, env: Environment, folder: Path, address: str, port: int, keep: bool) -> None:
        self._env, self._folder, self._address, self._port = env, folder, address, port
        self._up = asyncio.Event()
        self._closing, self._why = False, ""
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._client, self._program = self._begin()

    def _begin(self) -> tuple[Redis, Program]:
        """Another server, with a password of its own, and its client."""
        password = secrets.token_hex(16)
        given = {"address": self._address, "port": self._port, "password": password, "folder": self._folder}
        path = self._folder / "redis.conf"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(_CONFIGURATION.format(**given))
        client: Redis = Redis(
            host=self._address, port=self._port, password=password, protocol=2, socket_timeout=PATIENCE_S,
            socket_connect_timeout=PATIENCE_S, retry=Retry(NoBackoff(), 0), retry_on_error=[],
        )  # fmt: skip
        return client, Program(["redis-server", str(path)], self._folder / "redis.log", REMEDY)

    async def _ping(self) -> str:
        try:
            await self._client.ping()
        except (RedisError, OSError) as error:  # refused, or still reading what it kept
            return str(error) or type(error).__name__
        return ""

    async def start(self) -> None:
        """Wait for the first one; raises TestbedError. An earlier agent's may need a moment to let go of the port."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await self._ready():
                    await self._renew()
        except TimeoutError:
            await self.close()
            raise TestbedError(f"redis-server cannot be used at {self._address}: {self._why}") from None
        self._env.spawn(self._watch())

    async def _ready(self) -> bool:
        try:
            await self._program.ready(self._ping, PATIENCE_S)
        except ProgramFailed as error:
            self._why = str(error)
            return False
        self._up.set()
        return True

    async def _renew(self) -> None:
        await self._program.end()
        await self._client.aclose()
        await self._env.sleep(AGAIN_S)
        self._client, self._program = self._begin()

    async def _watch(self) -> None:
        while True:
            await self._program.gone()
            if self._closing:
                return
            self._up.clear()
            self._why = self._program.how()
            await self._renew()
            while not await self._ready():
                await self._renew()

    @property
    def client(self) -> Any:
        """To ask with; raises StorageFailed while the server is not there."""
        if not self._up.is_set() or not self._program.alive:
            raise StorageFailed(f"its redis-server is being started again: {self._why or self._program.how()}")
        return self._client

    async def fell(self, client: Any) -> None:
        """``client`` lost its connection, or waited in vain: end that server, so that what it was told is settled."""
        if client is self._client:
            await self._program.end()

    async def back(self) -> Any:
        """To ask with, when the server is there again."""
        while not self._up.is_set() or not self._program.alive:
            if not self._program.alive:
                self._up.clear()
            await self._up.wait()
        return self._client

    @property
    def pid(self) -> int:
        """The number of the server's process."""
        return self._program.pid

    async def close(self) -> None:
        """End it."""
        self._closing = True
        self._up.clear()
        await self._client.aclose()
        await self._program.end(patience_s=1.0)


async def redis_server(env: Environment, address: str, port: int, *, keep: bool) -> RedisServer:
    """A server that is ready. Raises TestbedError in the twin, MachineLacks where there is no such program."""
    server = RedisServer(env, folder_of(env, "storage: redis") / "redis", address, port, keep)
    await server.start()
    return server
