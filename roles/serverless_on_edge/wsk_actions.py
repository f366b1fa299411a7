"""An OpenWhisk server as its computer at the edge sees it: which actions it has, and how one is invoked."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from roles.openwhisk.client import all_actions, error_text, invocation, listing, parsed
from roles.openwhisk.names import is_name
from roles.serverless_on_edge.announcing import PATIENCE_S
from roles.serverless_on_edge.wsk_answers import Answered, answered, answered_strictly
from roles.serverless_on_edge.wsk_computer_options import WskComputerOptions
from testbed.roles.api import CallFailed, Environment, Site
from testbed.roles.web import WEB, WebRequest

LIST_TIMEOUT_S = 2.0
LOSSES = 3  # questions in a row without an answer after which a server counts as gone
FIRST_PAUSE_S = 0.25
log = logging.getLogger(__name__)


class Offered(BaseModel):
    """An action as a list tells of it; ``namespace`` has its package, too."""

    namespace: str
    name: str

    @property
    def is_legal(self) -> bool:
        """Whether it can be called: what cannot be a name is left alone."""
        return is_name(self.name) and all(is_name(part) for part in self.namespace.split("/"))


class OfferedStrictly(Offered):
    """The same, with all that the original wants to be there."""

    version: str
    updated: float


class Actions:
    """Asks a server which actions it has, and invokes them. ``names`` are those it has, as functions are called."""

    def __init__(self, env: Environment, site: Site, options: WskComputerOptions) -> None:
        scheme, self._address = options.root(site)
        self._env, self._options = env, options
        self.root = f"{scheme}://{self._address}"
        self.names: tuple[str, ...] = ()
        self._authorization, self._namespace = options.authorization(), options.namespace()
        kind = OfferedStrictly if options.strict_original else Offered
        self._list: TypeAdapter[list[Any]] = TypeAdapter(list[kind])  # type: ignore[valid-type]
        self._hurry = asyncio.Event()

    @property
    def slowest_s(self) -> float:
        """Seconds until it is known, at the latest, that a server is gone, or is back, or has other actions."""
        period, longest = self._options.look_period, max(self._options.look_period, self._options.back_off)
        gone = period + LOSSES * LIST_TIMEOUT_S + FIRST_PAUSE_S * (2 ** (LOSSES - 1) - 1)
        return float(max(gone, longest + LIST_TIMEOUT_S))

    # Which actions there are.

    async def prepare(self) -> None:
        """Ask before anybody calls, for five seconds if nobody is there; a server that comes later is found later."""
        deadline, pause = self._env.now() + PATIENCE_S, FIRST_PAUSE_S
        while (failure := await self._failure()) is not None:
            if failure.kind == "protocol" or self._env.now() + pause >= deadline:
                log.warning("OpenWhisk at %s does not tell its actions yet: %s", self.root, failure)
                return
            await self._env.sleep(pause)
            pause *= 2

    async def _failure(self) -> CallFailed | None:
        try:
            await self.look()
        except CallFailed as failure:
            return failure
        return None

    async def look(self) -> bool:
        """Ask once which actions there are; whether they are others than before. Raises CallFailed."""
        found = await (self._few() if self._options.strict_original else self._all())
        try:
            names = {f"/{each.namespace}/{each.name}" for each in self._list.validate_python(found) if each.is_legal}
        except ValidationError as error:
            text = str(error).splitlines()[0]
            raise CallFailed("protocol", f"{self.root} gave no list of actions: {text}") from None
        return self._offer(tuple(sorted(names)))

    async def _all(self) -> list[dict[str, Any]]:
        return await all_actions(self._env, self._address, self._authorization, self._namespace, LIST_TIMEOUT_S)

    async def _few(self) -> Any:
        """What the original gets: 200 at most."""
        request = listing(self._authorization, self._namespace, limit=0)
        reply = await self._env.call(self._address, WEB, request, LIST_TIMEOUT_S)
        if reply.status != 200:
            raise CallFailed("protocol", f"{self.root} lists no actions: {reply.status} {error_text(reply)[:200]}")
        return parsed(reply)

    def _offer(self, names: tuple[str, ...]) -> bool:
        before, self.names = self.names, names
        return before != names

    async def watch(self, changed: Callable[[], Awaitable[Any]]) -> None:
        """Ask for ever; ``changed`` is called when there are other actions.

        A server that does not answer is asked soon, then ever more rarely; after the third time it has no actions.
        """
        losses = 0
        while True:
            await self._rest(losses)
            try:
                others, losses = await self.look(), self._back(losses)
            except CallFailed as failure:
                losses += 1
                if losses == 1:
                    log.warning("OpenWhisk at %s does not tell its actions: %s", self.root, failure)
                others = losses == LOSSES and not self._options.strict_original and self._offer(())
            if others:
                await changed()

    def _back(self, losses: int) -> int:
        if losses:
            log.info("OpenWhisk at %s tells its actions again", self.root)
        return 0

    async def _rest(self, losses: int) -> None:
        """Wait until it is time to ask, or until a call has found nobody where all seemed well."""
        if losses == 0 or self._options.strict_original:
            self._hurry.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.look_period):
                    await self._hurry.wait()
            return
        longest = min(self._options.back_off, FIRST_PAUSE_S * 2 ** min(losses - 1, 20))
        await self._env.sleep(longest * self._env.rng("back-off").uniform(0.5, 1.0))

    # Invoking one.

    async def invoke(self, name: str, given: str) -> Answered:
        """Invoke an action with the JSON object ``given``; never raises for what it or the server does."""
        try:
            request = self._invocation(name, given)
        except ValueError as error:
            return Answered(str(error))
        try:
            reply = await self._env.call(self._address, WEB, request, self._options.call_timeout)
        except CallFailed as failure:
            if failure.kind == "unreachable" and not self._options.strict_original:
                self._hurry.set()
            return Answered(f"OpenWhisk at {self.root} does not answer: {failure}")
        return (answered_strictly if self._options.strict_original else answered)(reply, self.root)

    def _invocation(self, name: str, given: str) -> WebRequest:
        strict = self._options.strict_original
        parts = [part for part in name.split("/") if part]
        namespace = parts.pop(0) if len(parts) > 1 else self._namespace
        if not parts or len(parts) > 2 or (strict and len(parts) > 1):
            forms = "/NAMESPACE/NAME" if strict else "/NAMESPACE/NAME or /NAMESPACE/PACKAGE/NAME"
            raise ValueError(f"{name!r} is no action: {forms}")
        body = _strictly(given) if strict else arguments(given)
        query = "blocking=true&result=true" if strict else "blocking=true"
        package = parts[0] if len(parts) == 2 else ""
        return invocation(self._authorization, parts[-1], body, namespace=namespace, package=package, query=query)


def _strictly(given: str) -> bytes:
    try:
        json.loads(given)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the input of an action is to be JSON: {error}") from None
    return given.encode()


def arguments(given: str) -> bytes:
    """An object as it is, nothing as none, and anything else as the ``payload`` of one."""
    if not given:
        return b"{}"
    try:
        if isinstance(json.loads(given), dict):
            return given.encode()
    except (ValueError, RecursionError):
        pass
    return json.dumps({"payload": given}).encode()
