"""A small gateway with the HTTP interface of OpenFaaS, so that HTTP computers need no Kubernetes.

    curl -d hello http://10.0.0.2:8080/function/echo
    curl http://10.0.0.2:8080/system/functions

It runs the experiment's real functions in worker processes, and the modelled ones on a modelled processor.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar
from uuid import UUID

from pydantic import Field

from roles.serverless_on_edge.computer_model import ComputerModel
from roles.serverless_on_edge.computer_options import FunctionsConf
from roles.serverless_on_edge.executor import Execution, Real, Simulated
from roles.serverless_on_edge.options import Options, Port
from testbed.roles.api import Environment, Function, Parameters, Role, Site
from testbed.roles.modelled import stated_service_s
from testbed.roles.web import WEB, WebReply, WebRequest, said, told

READING = ("GET", "HEAD")
NAMESPACE = "openfaas-fn"


class OpenfaasOptions(Options):
    """A gateway."""

    server_endpoint: Port = Field(8080, description="Port for HTTP.")
    conf: FunctionsConf = Field(FunctionsConf(), description="What it runs modelled functions on.")


class Openfaas(Role):
    """Answers ``/function/<name>`` by running it, and tells its functions at ``/system/functions``."""

    parameters_model: ClassVar[type[Parameters]] = OpenfaasOptions
    env: Environment

    def __init__(self, site: Site, parameters: OpenfaasOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters
        self.model = ComputerModel(parameters.conf.computer(site))
        self._calls: Counter[str] = Counter()

    async def start(self, env: Environment) -> None:
        """Serve."""
        self.env = env
        self._real = Real(env, self.site.functions)
        self._simulated = Simulated(env, self.model)
        self.model.begin(env.now())
        await env.serve(self.options.server_endpoint, {WEB: self.answer})

    async def answer(self, request: WebRequest) -> WebReply:
        """One request, whatever it asks for."""
        match request.path.split("/")[1:]:
            case ["function", name, *_]:
                return await self._call(name, request)
            case ["healthz"]:
                return said(200, "OK")
            case ["system", "functions" | "function" | "info", *_] if request.verb not in READING:
                return said(405, "functions are those of the experiment; they cannot be changed here")
            case ["system", "functions"]:
                return told(200, [self._status(each) for each in self.site.functions.values()])
            case ["system", "function", name]:
                known = self.site.functions.get(name)
                return told(200, self._status(known)) if known else _unknown(name)
            case ["system", "info"]:
                return told(200, {"arch": "", "provider": {"provider": "testbed", "orchestration": "none"}})
        return said(404, "404 page not found")

    def _status(self, function: Function) -> dict[str, Any]:
        """A function as OpenFaaS tells of it; its workers count as replicas."""
        return {
            "name": function.name, "image": function.image or function.name, "namespace": NAMESPACE,
            "envProcess": "", "replicas": function.concurrency, "availableReplicas": function.concurrency,
            "invocationCount": self._calls[function.name], "labels": {}, "annotations": {},
        }  # fmt: skip

    async def _call(self, name: str, request: WebRequest) -> WebReply:
        function = self.site.functions.get(name.removesuffix(f".{NAMESPACE}"))
        if function is None:
            return _unknown(name)
        try:
            given = request.body.decode()
        except UnicodeDecodeError:
            return said(400, "functions of this testbed take text in UTF-8")
        began, call_id = self.env.now(), UUID(int=self.env.rng("calls").getrandbits(128), version=4)
        self._calls[function.name] += 1
        try:
            done = await self._run(function, given)
        except ValueError as error:
            return said(500, str(error))
        done.note(self.env, function.name, began)
        told_of = (("x-call-id", str(call_id)), ("x-duration-seconds", f"{self.env.now() - began:.6f}"))
        return said(500, done.error, *told_of) if done.error else said(200, done.output, *told_of)

    async def _run(self, function: Function, given: str) -> Execution:
        if function.code is not None:
            return await self._real.run(function.name, given)
        return await self._simulated.run(function.name, given, stated_service_s(given))


def _unknown(name: str) -> WebReply:
    return said(404, f"there is no function {name!r} here")
