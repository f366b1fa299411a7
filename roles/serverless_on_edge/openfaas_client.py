"""What an HTTP computer executes functions with: an OpenFaaS gateway, which is asked for its functions, too."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from roles.serverless_on_edge.executor import Worked, Workers
from testbed.roles.api import CallFailed, Environment, Function
from testbed.roles.web import WEB, WebReply, WebRequest

LIST_TIMEOUT_S = 2.0
LOSSES = 3  # questions in a row without an answer after which a gateway counts as gone
log = logging.getLogger(__name__)


class Offered(BaseModel):
    """One function as ``/system/functions`` tells of it; whatever else it tells is of no use here."""

    name: str


_LIST: TypeAdapter[list[Offered]] = TypeAdapter(list[Offered])


class Gateway(Workers):
    """Has the gateway at ``url`` (``http://host:port/path``) execute functions, ``clients`` at a time."""

    def __init__(self, env: Environment, url: str, clients: int, timeout: float) -> None:
        super().__init__(env, clients)
        self.functions: Mapping[str, Function] = {}
        self._address, _, path = url.removeprefix("http://").partition("/")
        self._path = f"/{path}".rstrip("/")
        self._clients, self._timeout = clients, timeout
        self._slot = asyncio.Semaphore(clients)

    def _slots(self, name: str) -> asyncio.Semaphore:
        return self._slot

    async def _work(self, name: str, given: str) -> Worked:
        began = self._env.now()
        try:
            reply = await self._ask("POST", f"/function/{quote(name, safe='')}", given.encode(), self._timeout)
        except CallFailed as failure:
            return Worked("", f"the gateway at {self._address} does not answer: {failure}", self._since(began))
        if not 200 <= reply.status < 300:
            return Worked("", f"the gateway says {reply.status}: {reply.text.strip()[:200]}", self._since(began))
        return Worked(reply.text, "", self._since(began))

    def _since(self, began: float) -> float:
        return self._env.now() - began

    async def _ask(self, verb: str, path: str, body: bytes, timeout: float) -> WebReply:
        headers = (("host", self._address), ("content-type", "text/plain")) if body else \
            (("host", self._address),)
        return await self._env.call(
            self._address, WEB, WebRequest(verb, self._path + path, headers, body), timeout
        )

    async def prepare(self) -> None:
        """Ask for the functions before anybody calls; a gateway that is not there yet is found later."""
        try:
            await self.look()
        except CallFailed as failure:
            log.warning("the gateway at %s does not tell its functions yet: %s", self._address, failure)

    async def look(self) -> bool:
        """Ask once which functions there are; whether they are others than before. Raises CallFailed."""
        reply = await self._ask("GET", "/system/functions", b"", LIST_TIMEOUT_S)
        if reply.status != 200:
            raise CallFailed("protocol", f"/system/functions gave {reply.status}: {reply.text.strip()[:200]}")
        return self._offer(_names(reply))

    def _offer(self, names: list[str]) -> bool:
        before, self.functions = self.functions, {
            name: Function(name=name, service_s=0.0, concurrency=self._clients) for name in names
        }
        return before.keys() != self.functions.keys()

    async def watch(self, period: float, changed: Callable[[], Awaitable[Any]]) -> None:
        """Ask every ``period`` seconds for ever; ``changed`` is called when there are other functions."""
        losses = 0
        while True:
            await self._env.sleep(period)
            try:
                others, losses = await self.look(), 0
            except CallFailed as failure:
                losses += 1
                if losses == 1:
                    log.warning("the gateway at %s does not tell its functions: %s", self._address, failure)
                others = losses == LOSSES and self._offer([])
            if others:
                await changed()


def _names(reply: WebReply) -> list[str]:
    try:
        return sorted({each.name for each in _LIST.validate_python(json.loads(reply.content)) if each.name})
    except (ValueError, RecursionError, ValidationError) as error:
        text = str(error).splitlines()[0]
        raise CallFailed("protocol", f"/system/functions gave no list of functions: {text}") from None
