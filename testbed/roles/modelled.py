"""How long one invocation of a modelled function takes: as its payload says, or as the function's own model does.

A payload that is a JSON object with a number ``service_s`` overrules the function's own model: so many seconds on an
otherwise idle core. A replayed trace sends such payloads; what else an invocation carries stands in ``input``.
"""

from __future__ import annotations

import json
from math import isfinite

from testbed.roles.site import Function

PER_SECOND = 1e9  # operations that one core does, unless a system says otherwise


def stating(payload: str, service_s: float) -> str:
    """A payload that carries ``payload`` and states that its invocation takes ``service_s`` seconds."""
    stated = {"service_s": round(service_s, 6), "input": payload}
    return json.dumps(stated, ensure_ascii=False, separators=(",", ":"))


def stated_service_s(payload: str) -> float | None:
    """The seconds that ``payload`` states; None if it states none, or none that can be."""
    if '"service_s"' not in payload or not payload.lstrip().startswith("{"):
        return None  # nearly all payloads: not worth a parser
    try:
        given = json.loads(payload)["service_s"]
        sound = isinstance(given, (int, float)) and not isinstance(given, bool) and isfinite(given) and given >= 0
    except (ValueError, KeyError, RecursionError, OverflowError):  # the last: an integer of 400 digits
        return None
    return float(given) if sound else None


def service_s(function: Function, payload: str, per_second: float = PER_SECOND) -> float:
    """Seconds on an otherwise idle core that does ``per_second`` operations a second."""
    stated = stated_service_s(payload)
    if stated is not None:
        return stated
    if function.service_s is not None:
        return function.service_s
    size = len(payload.encode("utf-8", "surrogatepass")) if function.operations_per_byte else 0
    return (function.operations + function.operations_per_byte * size) / per_second
