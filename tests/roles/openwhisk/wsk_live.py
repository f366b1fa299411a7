"""A server on a loopback address over real HTTP with real workers, and short ways to ask it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from roles.openwhisk.auth import PUBLIC, header
from roles.openwhisk.options import PORT
from roles.openwhisk.system import SYSTEM
from testbed.roles.api import Function, Site
from testbed.roles.http import HttpClient
from testbed.roles.live import LiveEnvironment
from testbed.roles.workers import Workers

GUEST = PUBLIC["guest"]


class Asked:
    """An answer: its status, its body as JSON (or text), its headers."""

    def __init__(self, status: int, body: bytes, headers: Any) -> None:
        self.status, self.headers = status, headers
        try:
            self.data: Any = json.loads(body)
        except ValueError:
            self.data = body.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"{self.status} {self.data}"


class Live:
    """A running server."""

    def __init__(self, folder: Path, host: str, functions: dict[str, Function], options: dict[str, Any]) -> None:
        self.folder, self.host, self.functions, self.options = folder, host, functions, options
        self.client = HttpClient()
        self.env: LiveEnvironment
        self.role: Any

    @property
    def address(self) -> str:
        return f"{self.host}:{PORT}"

    async def start(self) -> None:
        site = Site("h", "server", 1, {"h": self.host}, {"server": ("h",)}, self.functions)
        kind = SYSTEM.roles["server"]
        self.role = kind(site, kind.parameters_model.model_validate(self.options))
        workers = Workers(self.folder, "h", 1)
        self.env = LiveEnvironment(site, SYSTEM.wire(), self.folder, SYSTEM.tables, functions=workers)
        await self.role.start(self.env)

    async def stop(self) -> None:
        await self.env.close()
        if self.env.failed.done() and not self.env.failed.cancelled():
            self.env.failed.result()

    async def ask(
        self, verb: str, path: str, body: Any = None, *, key: str | None = GUEST, raw: bytes | None = None,
        headers: dict[str, str] | None = None, timeout: float = 90.0,
    ) -> Asked:  # fmt: skip
        """Ask below /api/v1 (or for a whole path); ``body`` is sent as JSON."""
        sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        given = ({"authorization": header(key)} if key is not None else {}) | (
            {"content-type": "application/json"} if sent else {}) | (headers or {})
        target = path if path.startswith("/api") else f"/api/v1/namespaces/{path}"
        reply = await self.client.request(verb, self.address, target, sent, given, timeout=timeout)
        return Asked(reply.status, reply.body, dict(reply.headers))

    async def put(self, name: str, code: str, kind: str = "python:3", **more: Any) -> Asked:
        """Make or change an action."""
        body = {"exec": {"kind": kind, "code": code}, **more}
        return await self.ask("PUT", f"_/actions/{name}?overwrite=true", body)

    async def invoke(self, name: str, query: str = "blocking=true", **args: Any) -> Asked:
        """Invoke an action."""
        return await self.ask("POST", f"_/actions/{name}?{query}", args)


@asynccontextmanager
async def live(
    folder: Path, host: str, functions: dict[str, Function] | None = None, **options: Any
) -> AsyncIterator[Live]:
    """A server that is closed at the end."""
    server = Live(folder, host, functions or {}, options)
    await server.start()
    try:
        yield server
    finally:
        await server.client.close()
        await server.stop()


def run(story: Any) -> Any:
    """Run a story."""
    return asyncio.run(story)


def clean_environment() -> dict[str, str]:
    """This process's environment without the proxies that clients would obey."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("proxy")}
