"""Runs the Python actions of one container. Loaded by a worker as a function; it gets one JSON object a call.

    {"do": "init", "id", "code", "binary", "main"}   ->  {} or {"error": text}
    {"do": "run", "id", "args", "env"}               ->  {"result": ...} or {"error": text}, or {"lost": true}

An action's lines go to the agent one by one (``ctx.ask``), so that they are there whatever becomes of the action.
"""

from __future__ import annotations

import base64
import json
import os
import random
import sys
import time
import traceback
import types
from typing import Any

LONGEST = 1 << 20  # of a line; what is longer is told in parts
_actions: dict[str, Any] = {}


class Lines:
    """A text stream whose whole lines are told to the agent."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, ctx: Any, stream: str) -> None:
        self._ctx, self._stream, self._rest = ctx, stream, ""

    def write(self, text: str) -> int:
        """Take ``text``."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._tell(line)
        if len(self._rest) > LONGEST:
            self.end()
        return len(text)

    def _tell(self, line: str) -> None:
        try:
            self._ctx.ask(json.dumps([self._stream, line]))
        except Exception:  # noqa: BLE001 - a thread that outlives its call; nobody is there to hear it
            return

    def end(self) -> None:
        """Tell a last line without an end."""
        rest, self._rest = self._rest, ""
        if rest:
            self._tell(rest)

    def flush(self) -> None:
        """Whole lines have been told already."""

    def isatty(self) -> bool:
        """Nobody looks."""
        return False

    def writable(self) -> bool:
        """It is there to be written to."""
        return True


def code(ctx: Any, payload: str) -> str:
    """Carry out one request."""
    request = json.loads(payload)
    reckoned = hasattr(ctx, "spent_s")
    if reckoned:  # in the twin: waiting takes the twin's time, and chance is that of the run
        time.sleep = ctx.sleep
        random.seed(ctx.rng.random())
    kept = sys.stdout, sys.stderr
    out, err = Lines(ctx, "stdout"), Lines(ctx, "stderr")
    sys.stdout, sys.stderr = out, err
    try:
        reply = _init(request) if request["do"] == "init" else _run(request)
    finally:
        out.end()
        err.end()
        sys.stdout, sys.stderr = kept
    return json.dumps(reply)


def _init(request: dict[str, Any]) -> dict[str, Any]:
    module = types.ModuleType("__main__")
    module.__file__ = "action"
    try:
        source = _unpacked(request["code"]) if request["binary"] else request["code"]
        sys.modules["__main__"] = module
        exec(compile(source, "action", "exec"), vars(module))  # noqa: S102 - running user code is the purpose
        main = getattr(module, request["main"], None)
        if not callable(main):
            raise NameError(f"the code defines no function {request['main']!r}")
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - told as the action's failure
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    _actions[request["id"]] = main
    return {}


def _unpacked(code: str) -> bytes:
    """The ``__main__.py`` of a zip file in base64, from which the action may import the rest."""
    import zipimport

    file = os.memfd_create("action.zip", 0)
    os.write(file, base64.b64decode(code))
    path = f"/proc/self/fd/{file}"
    sys.path.insert(0, path)
    source: bytes = zipimport.zipimporter(path).get_data("__main__.py")
    return source


def _run(request: dict[str, Any]) -> dict[str, Any]:
    main = _actions.get(request["id"])
    if main is None:
        return {"lost": True}
    os.environ.update(request["env"])
    try:
        result = main(request["args"])
        json.dumps(result, allow_nan=False)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - told as the action's failure
        traceback.print_exc()
        return {"error": f"An error has occurred: {type(error).__name__}: {str(error)[:1000]}"}
    return {"result": result}
