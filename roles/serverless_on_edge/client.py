"""The client: one call to the primary endpoint, and now and then to the others (uncoordinated mode); also of chains."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, ClassVar

from roles.serverless_on_edge import keys
from roles.serverless_on_edge.chain_client import Answer, Chains
from roles.serverless_on_edge.client_options import ClientOptions
from roles.serverless_on_edge.messages import OK, RUN_LAMBDA, LambdaRequest, LambdaResponse
from roles.serverless_on_edge.tables import NO_DESTINATIONS
from roles.serverless_on_edge.wsk_client import WskCalls, node_of
from testbed.roles.api import CallFailed, Client, Environment, Invocation, Outcome, Parameters, Site, Status
from testbed.roles.web_wire import WebWire


def padded_input(size: int) -> str:
    """The original's payload: a JSON object that is ``size`` characters long, 12 at least."""
    bare = json.dumps({"input": ""}, separators=(",", ":"))
    return json.dumps({"input": "A" * (size - len(bare))}, separators=(",", ":"))


class EdgeClient(Client):
    """Calls functions, chains and DAGs. With several endpoints, whoever answers first becomes primary."""

    parameters_model: ClassVar[type[Parameters]] = ClientOptions

    def __init__(self, site: Site, parameters: ClientOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters
        self._endpoints = parameters.endpoints(site)
        self.primary = self._endpoints[0]
        self._nodes = {address: node for node, address in site.addresses.items()}
        self._turn = asyncio.Semaphore(1)
        self.chains = Chains(site, parameters, self._answer)
        self._wsk = WskCalls(site, parameters) if parameters.client_conf.type == "wsk" else None

    async def start(self, env: Environment) -> None:
        """Serve what callbacks and states need."""
        await self.chains.start(env)

    def web(self, folder: Path | None) -> WebWire:
        """How it speaks HTTP. In the twin, where there is no ``folder``, that is never sealed."""
        if folder is None or not self.options.client_conf.https:
            return WebWire()
        return WebWire(client_context=keys.for_servers(self.options.tls_conf, folder))

    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        """One invocation, of a function or of a chain."""
        if self._wsk is not None:
            return await self._wsk.invoke(env, invocation, timeout)
        if self.chains.concerns(invocation.function):
            answer, tries = await self.chains.run(env, invocation, timeout)
        else:
            request = LambdaRequest(invocation.function, invocation.payload, dry=self.options.dry)
            answer, tries = await self._answer(env, request, timeout)
        return self._outcome(answer, tries)

    async def _answer(self, env: Environment, request: LambdaRequest, timeout: float) -> tuple[Answer, int]:
        """The answer to one call; after an unreachable server up to ``retries`` more attempts in the same time."""
        deadline, tries = env.now() + timeout, 0
        while True:
            answer = await self._call(env, request, max(0.001, deadline - env.now()))
            pause = self.options.retry_backoff * 2**tries
            unreachable = isinstance(answer, CallFailed) and answer.kind == "unreachable"
            if not unreachable or tries == self.options.retries or env.now() + pause >= deadline:
                return answer, tries
            await env.sleep(pause)
            tries += 1

    async def _call(self, env: Environment, request: LambdaRequest, timeout: float) -> Answer:
        if len(self._endpoints) == 1:
            return await self._one(env, self.primary, request, timeout)
        return await self._several(env, request, timeout)

    async def _one(self, env: Environment, to: str, request: LambdaRequest, timeout: float) -> Answer:
        try:
            return await env.call(to, RUN_LAMBDA, request, timeout)
        except CallFailed as failure:
            return failure

    async def _several(self, env: Environment, request: LambdaRequest, timeout: float) -> Answer:
        """The primary endpoint, and each other with the probability ``persistence``; the first good answer counts."""
        rng, share = env.rng("persistence"), self.options.client_conf.persistence
        chosen = [each for each in self._endpoints if each == self.primary or rng.random() < share]
        if self.options.strict_original:
            await self._turn.acquire()
        first: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        env.spawn(self._race(env, chosen, request, timeout, first))
        return await first

    async def _race(
        self, env: Environment, chosen: list[str], request: LambdaRequest, timeout: float, first: asyncio.Future[Answer]
    ) -> None:
        async def run(to: str) -> Answer:
            answer = await self._one(env, to, request, timeout)
            if isinstance(answer, LambdaResponse) and answer.retcode == OK and not first.done():
                self.primary = to
                first.set_result(answer)
            return answer

        answers = await asyncio.gather(*(run(to) for to in chosen))
        if not first.done():
            first.set_result(answers[0])
        if self.options.strict_original:
            self._turn.release()

    def _outcome(self, answer: Answer, retries: int) -> Outcome:
        if isinstance(answer, CallFailed):
            return Outcome("timeout" if answer.kind == "timeout" else "error", str(answer), retries=retries)
        status: Status = "ok"
        if answer.retcode != OK:
            status = "rejected" if answer.retcode.startswith(NO_DESTINATIONS) else "error"
        return Outcome(
            status,
            "" if status == "ok" else answer.retcode,
            node=node_of(answer.responder, self._nodes),
            hops=answer.hops,
            load=answer.load1 / 100,
            response_bytes=len(answer.dataout) or len(answer.output.encode()),
            retries=retries,
            output=answer.output or answer.dataout.decode("utf-8", "replace"),
            **(_times(answer) if status == "ok" else {}),
        )


def _times(answer: LambdaResponse) -> dict[str, Any]:
    """Where the time on the computer went; all of it counts as execution where the computer does not tell."""
    queue, init, execution = (part / 1e6 for part in (answer.queue_us, answer.init_us, answer.exec_us))
    if queue or init or execution:
        return {"queue_s": queue, "init_s": init, "exec_s": execution, "cold": init > 0}
    return {"exec_s": answer.ptime / 1000}
