"""How long one invocation of a modelled function takes, where its payload says so.

A payload that is a JSON object with a number ``service_s`` overrules the function's own model: so many seconds on an
otherwise idle core. A replayed trace sends such payloads; what else an invocation carries stands in ``input``.
"""

from __future__ import annotations

import json
from math import isfinite


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
    except (ValueError, KeyError, RecursionError):
        return None
    sound = isinstance(given, (int, float)) and not isinstance(given, bool) and isfinite(given) and given >= 0
    return float(given) if sound else None
