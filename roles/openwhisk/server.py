"""The server: the interface, the store of actions, and where they run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

from roles.openwhisk.activation import Activations
from roles.openwhisk.api import Api
from roles.openwhisk.auth import PUBLIC, Keys, read_keys
from roles.openwhisk.balancing import Balancer
from roles.openwhisk.boxes import Host
from roles.openwhisk.entities import CODE, MODEL, Action, Code, Limits
from roles.openwhisk.invoking import Invoking, Runner
from roles.openwhisk.names import Full, full_name
from roles.openwhisk.options import MB, NamespaceLimits, ServerOptions
from roles.openwhisk.pool import Pool
from roles.openwhisk.resolving import Resolver
from roles.openwhisk.store import Store
from roles.openwhisk.throttle import Allowance, Throttle
from testbed.roles.api import Environment, Function, Parameters, Role
from testbed.roles.web import WEB


class Server(Role):
    """An OpenWhisk-compatible server. The experiment's functions are actions of the namespace ``guest``."""

    parameters_model: ClassVar[type[Parameters]] = ServerOptions
    takes_code: ClassVar[bool] = True

    async def start(self, env: Environment) -> None:
        """Restore the actions, and serve."""
        options: ServerOptions = self.parameters
        self.env = env
        self.store = Store(env.journal("entities") if options.persist else None, self._given(env))
        self.throttle = Throttle(
            _allowance(options.limits), {name: _allowance(each) for name, each in options.namespaces.items()}
        )
        self.activations = Activations(options.keep_activations, options.keep_bytes)
        self.runner = await self._runner(env)
        self.invoking = Invoking(
            env, options, Resolver(self.store), self.throttle, self.activations, self.runner
        )
        self.api = Api(
            options, keys_of(options.auth), self.store, self.invoking, self.activations, self.throttle, env.wall
        )
        await env.serve(options.port, {WEB: self.api.answer})

    async def _runner(self, env: Environment) -> Runner:
        """Invokers, if any are placed; else a pool of its own."""
        if self.site.places.get("invoker"):
            balancer = Balancer(env, self.site, self.parameters)
            await balancer.start()
            return balancer
        pool = Pool(Host(env, self.site, self.parameters))
        pool.start()
        return pool

    def _given(self, env: Environment) -> dict[Full, Action]:
        """The experiment's functions as actions."""
        wall = env.wall()
        found = (action_of(each, self.parameters.namespace, wall) for each in self.site.functions.values())
        return {action.name: action for action in found}


def action_of(function: Function, namespace: str, wall: float) -> Action:
    """The action that a function of the experiment is; one called ``/NAMESPACE/NAME`` is that."""
    kind = MODEL if function.code is None else CODE
    limits = Limits(round(function.time_limit_s * 1000), math.ceil(function.memory_bytes / MB))
    is_full = function.name.startswith("/")
    name = full_name(function.name, namespace) if is_full else Full(namespace, "", function.name)
    annotations = {"provide-api-key": False, "exec": kind}
    return Action(name, Code(kind), annotations=annotations, limits=limits, updated=round(wall * 1000),
                  function=function.name)  # fmt: skip


def keys_of(given: str | dict[str, str] | None) -> Keys:
    """The keys in a file, in the parameters, or the public ones; raises TestbedError."""
    if given is None:
        return Keys(PUBLIC)
    return Keys(read_keys(Path(given)) if isinstance(given, str) else given)


def _allowance(limits: NamespaceLimits) -> Allowance:
    return Allowance(limits.per_minute, limits.concurrent)
