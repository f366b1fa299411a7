"""Activations: the record of each invocation, and the statuses that it can end with."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from roles.openwhisk.entities import SEQUENCE, Action
from roles.openwhisk.names import Full

SUCCESS, APPLICATION_ERROR, DEVELOPER_ERROR, INTERNAL_ERROR = range(4)
STATUSES = ("success", "application error", "action developer error", "whisk internal error")
_HTTP = (200, 502, 502, 500)

Pairs = list[dict[str, Any]]


def timed_out(limit_s: float, *, init: bool = False) -> str:
    """The error of an action that took too long."""
    return f"The action exceeded its time limits of {round(limit_s * 1000)} milliseconds" + (
        " during initialization." if init else "."
    )


NO_MEMORY = "The action exhausted its memory and was aborted."
ABNORMAL_RUN = "The action did not produce a valid response and exited unexpectedly."
ABNORMAL_INIT = "The action did not initialize and exited unexpectedly."


def no_object(what: str) -> str:
    """The error of an action whose result is no object."""
    return f"The action did not produce a valid JSON or JSON Array response: {what[:200]}"


def too_long(size: int, most: int) -> str:
    """The error of an action whose result has more bytes than it may have."""
    return f"The action produced a response that exceeded the allowed length: {size} > {most} bytes."


def bad_init(what: str) -> str:
    """The error of code that cannot be loaded."""
    return f"The action failed during initialization: {what[:1000]}"


@dataclass(slots=True)
class Done:
    """How a run in a container went. Times are seconds on the run's clock; ``init_s`` is None for a warm start."""

    status: int
    result: Any
    began: float = 0.0
    ended: float = 0.0
    init_s: float | None = None
    cold: bool = False
    timed_out: bool = False
    logs: list[str] = field(default_factory=list)
    invoker: str = ""
    size: int = 300  # about how many bytes the result has

    @classmethod
    def failed(cls, status: int, why: str) -> Done:
        """One that went wrong."""
        return cls(status, {"error": why})


def judged(result: Any) -> Done:
    """What an action's result means."""
    if isinstance(result, dict):
        return Done(APPLICATION_ERROR if "error" in result else SUCCESS, result)
    if isinstance(result, list):
        return Done(SUCCESS, result)
    return Done.failed(DEVELOPER_ERROR, no_object(json.dumps(result)))


@dataclass(slots=True)
class Activation:
    """The record of an invocation. Times are whole milliseconds since 1970."""

    id: str
    namespace: str
    subject: str
    action: Action
    start: int
    end: int
    wait_ms: int
    done: Done
    cause: str = ""
    binding: str = ""

    @property
    def http_status(self) -> int:
        """The status of a blocking answer."""
        return _HTTP[self.done.status]

    @property
    def size(self) -> int:
        """About how much memory it takes."""
        return 1000 + self.done.size + sum(map(len, self.done.logs))

    def response(self) -> dict[str, Any]:
        """What came of it."""
        status = self.done.status
        return {"result": self.done.result, "success": status == SUCCESS, "status": STATUSES[status]}

    def annotations(self) -> Pairs:
        """What is noted of it."""
        action = self.action
        noted: dict[str, Any] = {"path": action.path}
        noted |= {"waitTime": self.wait_ms} if action.code.kind != SEQUENCE else {"topmost": not self.cause}
        noted |= {"kind": action.code.kind, "timeout": self.done.timed_out, "limits": action.limits.data()}
        if self.done.init_s is not None:
            noted["initTime"] = round(self.done.init_s * 1000)
        if self.cause:
            noted["causedBy"] = "sequence"
        if self.binding:
            noted["binding"] = self.binding
        if self.done.invoker:
            noted["invoker"] = self.done.invoker
        return [{"key": key, "value": value} for key, value in noted.items()]

    def summary(self) -> dict[str, Any]:
        """As a list has it."""
        data = {
            "namespace": self.namespace, "name": self.action.name.name, "version": self.action.version,
            "publish": False, "annotations": self.annotations(), "activationId": self.id,
            "start": self.start, "end": self.end, "duration": self.end - self.start, "statusCode": self.done.status,
        }  # fmt: skip
        return data | ({"cause": self.cause} if self.cause else {})

    def data(self) -> dict[str, Any]:
        """The whole record."""
        data = {
            "activationId": self.id, "namespace": self.namespace, "name": self.action.name.name,
            "subject": self.subject,
            "version": self.action.version, "publish": False, "start": self.start, "end": self.end,
            "duration": self.end - self.start, "response": self.response(), "logs": self.done.logs,
            "annotations": self.annotations(),
        }  # fmt: skip
        return data | ({"cause": self.cause} if self.cause else {})


class Activations:
    """The newest records, up to a number and about so many bytes."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._records = OrderedDict[str, tuple[Activation, int]]()  # finds its oldest at once, as a dict does not
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Activation) -> None:
        """Keep a record; old ones make room."""
        size = record.size
        self._records[record.id] = (record, size)
        self.bytes += size
        while len(self._records) > self._most or (self.bytes > self._most_bytes and len(self._records) > 1):
            _, (_, size) = self._records.popitem(last=False)
            self.bytes -= size

    def get(self, namespace: str, id_: str) -> Activation | None:
        """A record of a namespace."""
        found = self._records.get(id_)
        return found[0] if found is not None and found[0].namespace == namespace else None

    def find(
        self, namespace: str, name: str = "", since: int | None = None, upto: int | None = None
    ) -> Iterable[Activation]:
        """Those of a namespace, the newest first; ``name`` is an action's, with its package if it has one."""
        for record, _ in reversed(self._records.values()):
            if record.namespace != namespace or (since is not None and record.start < since):
                continue
            if (upto is None or record.start <= upto) and _fits(record.action.name, name):
                yield record


def _fits(action: Full, name: str) -> bool:
    return not name or name == action.name or name == f"{action.package}/{action.name}"
