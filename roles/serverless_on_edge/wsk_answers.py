"""What an OpenWhisk server answers to an invocation, as the answer to a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, NonNegativeFloat, TypeAdapter, ValidationError

from roles.openwhisk.activation import APPLICATION_ERROR, DEVELOPER_ERROR, STATUSES, SUCCESS
from roles.openwhisk.client import error_text, parsed
from roles.serverless_on_edge.messages import OK
from testbed.roles.web import WebReply, written

LONGEST = 1000  # characters of an error's text
_BY_ACTIONS = {STATUSES[each]: each for each in (SUCCESS, APPLICATION_ERROR, DEVELOPER_ERROR)}


class Noted(BaseModel):
    """One annotation."""

    key: str
    value: Any = None


class Response(BaseModel):
    """What came of an activation."""

    status: str
    result: Any = {}


class Record(BaseModel):
    """As much of an activation's record as matters here; times in milliseconds."""

    response: Response
    duration: NonNegativeFloat = 0.0
    annotations: tuple[Noted, ...] = ()

    def noted(self, key: str) -> Any:
        """What is noted under ``key``; None if nothing is."""
        return next((each.value for each in self.annotations if each.key == key), None)

    def noted_s(self, key: str) -> float:
        """A time that is noted, in seconds; 0 if it is not."""
        value = self.noted(key)
        return value / 1000 if isinstance(value, int | float) and 0 <= value < 1e9 else 0.0


@dataclass(frozen=True, slots=True)
class Answered:
    """``error`` is empty if the action succeeded; ``status`` is 1 or 2 where it failed itself (see LambdaResponse).

    ``result`` is JSON, empty where the action did not end. Times are in seconds. Hops and responder are what a proxy
    of the edge notes.
    """

    error: str = ""
    output: str = ""
    result: bytes = b""
    status: int = 0
    wait_s: float = 0.0
    init_s: float = 0.0
    exec_s: float = 0.0
    hops: int | None = None
    responder: str = ""

    @property
    def code(self) -> str:
        """The retcode."""
        return self.error[:LONGEST] or OK


_RECORD = TypeAdapter(Record)


def answered(reply: WebReply, root: str) -> Answered:
    """A blocking answer with the record of the activation, or whatever came instead of it."""
    data = parsed(reply)
    if reply.status == 200 and isinstance(data, list):
        return Answered(result=written(data))  # an array comes bare, whatever is asked for
    try:
        record = _RECORD.validate_python(data)
        status = _BY_ACTIONS[record.response.status]
    except (ValidationError, KeyError):
        return Answered(_problem(reply, data, root))
    init_s, result = record.noted_s("initTime"), record.response.result
    times = record.noted_s("waitTime"), init_s, max(0.0, min(record.duration, 1e9) / 1000 - init_s)
    error = f"{record.response.status}: {error_text(reply)}" if status else ""
    hops, responder = record.noted("hops"), record.noted("responder")
    return Answered(
        _sendable(error), _payload(result), written(result), status, *times,
        hops if isinstance(hops, int) else None, responder if isinstance(responder, str) else "",
    )  # fmt: skip


def answered_strictly(reply: WebReply, root: str) -> Answered:
    """An answer with the bare result, of which the original takes a ``payload`` that is a text, and nothing else."""
    data = parsed(reply)
    if reply.status != 200:
        return Answered(_problem(reply, data, root))
    if not isinstance(data, dict) or not isinstance(data.get("payload"), str):
        return Answered(f"OpenWhisk at {root} gave no payload that is a text")
    return Answered(output=_payload(data))


def _problem(reply: WebReply, data: Any, root: str) -> str:
    said = error_text(reply)
    if reply.status == 202 and isinstance(data, dict) and "activationId" in data:
        said = f"the action has not ended in time; its activation is {str(data['activationId'])[:64]}"
    elif 200 <= reply.status < 300:
        said = "this is no record of an activation"
    return _sendable(f"OpenWhisk at {root} says {reply.status}: {said}")


def _payload(result: Any) -> str:
    payload = result.get("payload") if isinstance(result, dict) else None
    return _sendable(payload) if isinstance(payload, str) else ""


def _sendable(text: str) -> str:
    """A text as it can travel: JSON can tell of halves of characters, protobuf cannot."""
    return text.encode("utf-8", "replace").decode()
