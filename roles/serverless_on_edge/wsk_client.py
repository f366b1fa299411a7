"""How a client invokes as clients of OpenWhisk do: over HTTP, at a proxy in front of the edge or at a server."""

from __future__ import annotations

from collections.abc import Mapping

from roles.openwhisk.client import invocation
from roles.serverless_on_edge.client_options import ClientOptions
from roles.serverless_on_edge.installers import host_of
from roles.serverless_on_edge.wsk_actions import arguments
from roles.serverless_on_edge.wsk_answers import answered
from testbed.roles.api import CallFailed, Environment, Invocation, Outcome, Site, Status
from testbed.roles.web import WEB, WebReply

_STATUS: Mapping[int, Status] = {202: "timeout", 404: "rejected", 429: "rejected", 503: "rejected"}


def node_of(responder: str, nodes: Mapping[str, str]) -> str:
    """The node of ``host:port`` or ``http://host:port``, given those of the addresses; empty if it is none's."""
    return nodes.get(host_of(responder.rpartition("://")[2]), "")


class WskCalls:
    """Invokes actions of one namespace, blocking, and reads the records that come back."""

    def __init__(self, site: Site, options: ClientOptions) -> None:
        self._options = options
        self._address = options.endpoints(site)[0]
        self._namespace = options.client_conf.namespace
        self._authorization = options.client_conf.authorization()
        self._nodes = {address: node for node, address in site.addresses.items()}

    async def invoke(self, env: Environment, wanted: Invocation, timeout: float) -> Outcome:
        """One invocation. A payload that is a JSON object has the arguments; any other is the argument ``payload``.

        Where nobody can be reached there are up to ``retries`` more attempts in the same time.
        """
        body = arguments(wanted.payload)
        request = invocation(self._authorization, wanted.function, body, namespace=self._namespace)
        deadline, tries = env.now() + timeout, 0
        while True:
            try:
                reply = await env.call(self._address, WEB, request, max(0.001, deadline - env.now()))
                return self._outcome(reply, tries)
            except CallFailed as failure:
                pause = self._options.retry_backoff * 2**tries
                unreachable = failure.kind == "unreachable"
                if not unreachable or tries == self._options.retries or env.now() + pause >= deadline:
                    return Outcome("timeout" if failure.kind == "timeout" else "error", str(failure), retries=tries)
            await env.sleep(pause)
            tries += 1

    def _outcome(self, reply: WebReply, tries: int) -> Outcome:
        done = answered(reply, self._address)
        return Outcome(
            _STATUS.get(reply.status, "error") if done.error else "ok",
            done.error,
            node=node_of(done.responder or self._address, self._nodes),
            hops=done.hops,
            init_s=done.init_s,
            queue_s=done.wait_s,
            exec_s=done.exec_s,
            cold=done.init_s > 0,
            response_bytes=len(reply.content),
            retries=tries,
            output=done.output or done.result.decode("utf-8", "replace"),
        )
