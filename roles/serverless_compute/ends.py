"""How a run ended, as a node says it."""

from __future__ import annotations

from roles.serverless_compute.messages import Ended
from testbed.roles.api import FunctionResult

_CAUSES = {"timeout": "invocation_timeout", "storage": "ephemeral_storage_full"}  # all others: function_error


def too_long(limit: float) -> str:
    """The detail of a time limit that ran out."""
    return f"no result within {limit:g} s"


def ended(result: FunctionResult, t_start: float, t_end: float) -> Ended:
    """The end of a real function's run."""
    if not result.error:
        return Ended(t_start, t_end, result.output.encode("utf-8", "replace").decode())
    detail = f"{result.error}: {result.detail}".encode("utf-8", "replace").decode()
    return Ended(t_start, t_end, "", _CAUSES.get(result.error, "function_error"), detail)
