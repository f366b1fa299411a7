"""An invoker: a pool of containers of its own, which runs what a server sends.

It trusts whoever reaches it, as the original's trust their message bus: users are to reach the server alone.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from typing import Any, ClassVar

from roles.openwhisk.activation import Done
from roles.openwhisk.balancing import UNKNOWN, told_of
from roles.openwhisk.boxes import Host, Job
from roles.openwhisk.entities import Action, restored
from roles.openwhisk.errors import Refused
from roles.openwhisk.options import InvokerOptions
from roles.openwhisk.pool import Pool
from testbed.roles.api import Environment, Parameters, Role
from testbed.roles.web import WEB, WebReply, WebRequest, told

MOST_KNOWN = 1000  # actions that it remembers


class InvokerRole(Role):
    """Runs actions for servers."""

    parameters_model: ClassVar[type[Parameters]] = InvokerOptions
    takes_code: ClassVar[bool] = True

    async def start(self, env: Environment) -> None:
        """Serve."""
        self.pool = Pool(Host(env, self.site, self.parameters))
        self.pool.start()
        self._actions: OrderedDict[str, Action] = OrderedDict()
        await env.serve(self.parameters.port, {WEB: self.answer})

    async def answer(self, request: WebRequest) -> WebReply:
        """The answer to a server."""
        if (request.verb, request.path) == ("GET", "/health"):
            return told(200, {"capacity_mb": self.pool.capacity_mb, "used_mb": self.pool.used_mb})
        if (request.verb, request.path) != ("POST", "/run"):
            return told(404, {"error": "An invoker has /health and /run."})
        try:
            given = json.loads(request.body)
            action = self._action(given)
            if action is None:
                return told(UNKNOWN, {"error": f"The action {given['key']} is not known here; send it along."})
            return await self._run(given, action)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return told(400, {"error": f"This is no job: {type(error).__name__}: {error}"})
        except Refused as refused:
            return told(refused.status, {"error": str(refused)})

    def _action(self, given: dict[str, Any]) -> Action | None:
        """The action of a job: sent along, or known from before."""
        if "action" in given:
            action = restored(given["action"])
            if not isinstance(action, Action):
                raise ValueError("not an action")
            self._actions[given["key"]] = action
            if len(self._actions) > MOST_KNOWN:
                self._actions.popitem(last=False)
            return action
        return self._actions.get(given["key"])

    async def _run(self, given: dict[str, Any], action: Action) -> WebReply:
        ended: asyncio.Future[Done] = asyncio.get_running_loop().create_future()

        def ends(done: Done) -> None:
            if not ended.done():
                ended.set_result(done)

        self.pool.submit(Job(given["id"], action, given["args"], given["arrived"], ends, given["most"]))
        return told(200, told_of(await ended))
