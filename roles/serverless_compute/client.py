"""The client: one request for each invocation, answered at its end."""

from __future__ import annotations

from typing import ClassVar

from roles.serverless_compute.messages import INVOKE, REFUSED, Invoke, Progress
from roles.serverless_compute.options import ClientOptions, HeadOptions, located
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed, Client, Environment, Invocation, Outcome, Parameters, Site, Status

HOPS = 2  # agents on the way to the code: the head and the node
_REJECTED = ("cannot_admit_now", "service_stopped")


class ComputeClient(Client):
    """Invokes at the head.

    What the service refuses for now is ``rejected``; a function whose time limit ran out is an ``error``.
    """

    parameters_model: ClassVar[type[Parameters]] = ClientOptions

    def __init__(self, site: Site, parameters: ClientOptions) -> None:
        super().__init__(site, parameters)
        head = located(site, "head", parameters.head, HeadOptions().port)
        if head is None:
            raise TestbedError("A client of serverless_compute needs a head to call. Place one (duty gateway).")
        self._head = head

    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        """One invocation; the answer comes when it has ended."""
        try:
            answer = await env.call(self._head, INVOKE, Invoke(invocation.function, invocation.payload, None), timeout)
        except CallFailed as failure:
            return Outcome("timeout" if failure.kind == "timeout" else "error", str(failure))
        return outcome(answer)


def outcome(answer: Progress) -> Outcome:
    """What an invocation's end means to the client. Waiting ends with the dispatch, the start with the code's begin."""
    if answer.state == REFUSED:
        status: Status = "rejected" if answer.cause in _REJECTED else "error"
        return Outcome(status, f"{answer.cause}: {answer.detail}", hops=1)
    submit, dispatch, start, end = answer.t_submit, answer.t_dispatch, answer.t_start, answer.t_end
    ok = answer.state == "completed"
    return Outcome(
        "ok" if ok else "error",
        "" if ok else f"{answer.cause}: {answer.detail}",
        node=answer.node,
        hops=HOPS if dispatch is not None else 1,
        init_s=start - dispatch if start is not None and dispatch is not None else None,
        queue_s=dispatch - submit if dispatch is not None and submit is not None else None,
        exec_s=end - start if end is not None and start is not None else None,
        cold=answer.start_kind != "hot" if answer.start_kind else None,
        response_bytes=len(answer.output.encode("utf-8", "surrogatepass")),
        output=answer.output,
    )
