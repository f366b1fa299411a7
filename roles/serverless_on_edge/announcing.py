"""How routers and computers make themselves known to a controller, and stay known."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from roles.serverless_on_edge.options import AgentOptions, endpoint
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed, Environment, Method, Site

CONTROLLER_PORT = 6475
PATIENCE_S = 5.0
CALL_TIMEOUT_S = 5.0
GOODBYE_TIMEOUT_S = 1.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
log = logging.getLogger(__name__)


def controller_of(site: Site, options: AgentOptions) -> str | None:
    """The controller's endpoint: as configured, else the nearest one of the experiment, else None."""
    if options.controller_endpoint is not None:
        text = options.controller_endpoint
        return endpoint(site, text, CONTROLLER_PORT) if text not in ("", "none") else None
    node = site.nearest("controller")
    return site.endpoint(node, CONTROLLER_PORT) if node else None


class Announcer:
    """Announces an agent until the controller has heard it, then again every ``period`` seconds (0: never again).

    ``message`` is asked for each announcement; ``heard`` is told of each that got through.
    """

    def __init__(
        self,
        env: Environment,
        controller: str,
        method: Method[Any, Any],
        message: Callable[[], Any],
        period: float,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self._env, self._controller, self._method, self._message = env, controller, method, message
        self._period, self._heard = period, heard
        self._leaving = False

    async def start(self, needed: bool) -> None:
        """Return when the controller has heard it, or after five seconds of silence.

        In that case the heartbeats go on trying; without heartbeats an announcement that is ``needed`` raises.
        """
        deadline, pause = self._env.now() + PATIENCE_S, FIRST_PAUSE_S
        while (failure := await self._announce()) is not None and self._env.now() + pause < deadline:
            await self._env.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        if failure is not None:
            log.warning("the controller at %s has not heard this agent: %s", self._controller, failure)
            if needed and not self._period:
                raise TestbedError(f"The controller at {self._controller} cannot be reached: {failure}.")
        if self._period:
            self._env.spawn(self._beat())

    async def again(self) -> None:
        """Announce out of turn, since there is something new; if it gets lost, the next heartbeat tells."""
        if self._leaving:
            return
        failure = await self._announce()
        if failure is not None:
            log.warning("the controller at %s has not heard what is new: %s", self._controller, failure)

    async def leave(self, method: Method[Any, Any], goodbye: Any) -> None:
        """Say good-bye, once, and announce nothing any more; if it gets lost, the silence will tell."""
        self._leaving = True
        try:
            await self._env.call(self._controller, method, goodbye, GOODBYE_TIMEOUT_S)
        except CallFailed as failure:
            log.warning("the controller at %s has not heard the good-bye: %s", self._controller, failure)

    async def _beat(self) -> None:
        silent = False
        while True:
            await self._env.sleep(self._period)
            if self._leaving:
                return
            failure = await self._announce()
            if failure is not None and not silent:
                log.warning("the controller at %s is silent: %s", self._controller, failure)
            silent = failure is not None

    async def _announce(self) -> CallFailed | None:
        try:
            await self._env.call(self._controller, self._method, self._message(), CALL_TIMEOUT_S)
        except CallFailed as failure:
            return failure
        self._heard()
        return None
