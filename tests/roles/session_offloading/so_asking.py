"""What the checks do to a tree of locations, and look at; by whatever way requests get there.

The tree is p1 (country) - p2 (city) - p3, p4 (district).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from roles.session_offloading.messages import MANAGER, SESSION
from testbed.roles.web import WebReply, WebRequest, fields

ALL = ("p1", "p2", "p3", "p4")


class Way(Protocol):
    """How requests get to a location."""

    async def send(self, location: str, request: WebRequest) -> WebReply:
        """The answer; nothing is followed."""

    def url(self, location: str) -> str:
        """``http://host:port`` of a location."""


class Checked:
    """What checks do and look at. ``s`` is a session that no other check uses."""

    def __init__(self, way: Way, session: str) -> None:
        self._way, self.s = way, session
        self.url = way.url

    async def call(
        self, location: str, *operations: Any, session: str = "", function: str = "note", verb: str = "POST",
        query: str = "", **headers: str,
    ) -> WebReply:
        """Call a function; ``note`` carries operations of the EdgeDB out."""
        known = {SESSION: session or self.s, **{name.replace("_", "-"): value for name, value in headers.items()}}
        target = f"/function/{function}" + (f"?{query}" if query else "")
        body = json.dumps(operations).encode() if operations else b""
        return await self._way.send(location, WebRequest(verb, target, fields(known), body))

    async def note(self, location: str, *operations: Any, **more: Any) -> Any:
        """What the operations gave; the location must not send elsewhere."""
        reply = await self.call(location, *operations, **more)
        assert reply.status == 200, (location, reply.status, reply.text)
        return json.loads(reply.text)

    async def followed(self, location: str, *operations: Any, **more: Any) -> tuple[list[str], WebReply]:
        """The locations asked, and the last answer."""
        way = [location]
        while (reply := await self.call(way[-1], *operations, **more)).status == 307 and len(way) <= 10:
            found = [name for name in ALL if reply.header("location").startswith(f"{self.url(name)}/")]
            assert len(found) == 1, reply.header("location")
            way += found
        return way, reply

    async def command(
        self, location: str, name: str, body: Any = b"", verb: str = "POST", headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> WebReply:
        """Give a command."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        target = f"/function/{MANAGER}?{urlencode({'command': name, **query})}"
        return await self._way.send(location, WebRequest(verb, target, fields(headers or {}), data))

    async def offload(self, location: str, session: str = "") -> WebReply:
        """Force this very session up."""
        reply = await self.command(location, "force-offload", headers={"X-forced-session": session or self.s})
        assert reply.status == 200, reply.text
        return reply

    async def onload(self, location: str) -> None:
        """Force a session down."""
        reply = await self.command(location, "force-onload")
        assert reply.status == 200, reply.text

    async def status(self, location: str, status: str) -> None:
        """Set the offloading status."""
        assert (await self.command(location, "set-offload-status", status=status)).status == 200

    async def details(self, location: str, session: str = "") -> Any:
        """What a location knows of the session."""
        reply = await self.command(location, "test-function", session=session or self.s, format="json")
        return json.loads(reply.text)

    async def state(self, session: str = "") -> dict[str, str]:
        """For each location that knows the session: where it says that it is, with a star where the data are.

        Waits for what is still to be told.
        """
        for _ in range(200):
            found = {name: await self.details(name, session) for name in ALL}
            if not any(each["leaving"] or each["taking"] for each in found.values()):
                break
            await asyncio.sleep(0.05)
        return {name: each["token"]["currentLocation"] + "*" * each["here"]
                for name, each in found.items() if each["token"]}  # fmt: skip

    async def migrations(self, location: str) -> dict[str, int]:
        """How often others have asked this location for data."""
        return dict(json.loads((await self.command(location, "metrics")).text)["migrations"])

    async def clean(self) -> None:
        """Delete all sessions, and let everybody accept."""
        for name in ALL:
            await self.command(name, "garbage-collector", deletePolicy="forced")
            if name != "p1":
                await self.status(name, "accept")
