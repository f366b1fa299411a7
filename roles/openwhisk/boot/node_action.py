"""Runs the Node.js actions of one container: a ``node`` of their own, which lives and dies with the worker.

The requests and replies are those of ``python_action.py``; ``action.js`` answers them, a JSON object a line, on file
descriptor 3. What an action writes comes on the same way, as ``{"log": [stream, line]}``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, BinaryIO

_node: list[_Node] = []  # at most one


class _Node:
    def __init__(self, memory_mb: int) -> None:
        program = shutil.which("node")
        if program is None:
            raise FileNotFoundError("there is no program `node` on this host")
        back, theirs = os.pipe()
        script = Path(__file__).with_name("action.js")
        self.process = subprocess.Popen(
            [program, f"--max-old-space-size={memory_mb}", str(script), str(theirs)],
            stdin=subprocess.PIPE, pass_fds=[theirs],
        )
        os.close(theirs)
        self.replies: BinaryIO = os.fdopen(back, "rb")

    def ask(self, ctx: Any, payload: str) -> str:
        """The reply to a request."""
        assert self.process.stdin is not None
        self.process.stdin.write(payload.encode() + b"\n")
        self.process.stdin.flush()
        for line in self.replies:
            if line.startswith(b'{"log":'):
                ctx.ask(json.dumps(json.loads(line)["log"]))
            else:
                return line.decode()
        raise EOFError


def code(ctx: Any, payload: str) -> str:
    """Carry out one request."""
    if hasattr(ctx, "spent_s"):
        return json.dumps({"fault": "Node.js actions do not run in the twin"})
    if not _node:
        try:
            _node.append(_Node(json.loads(payload)["memory"]))
        except OSError as error:
            return json.dumps({"fault": str(error)})
    try:
        return _node[0].ask(ctx, payload)
    except (EOFError, BrokenPipeError):
        status = _node.pop().process.wait()
        if status in (-signal.SIGABRT, -signal.SIGTRAP, -signal.SIGILL):  # how the engine ends without memory
            raise MemoryError from None
        os._exit(1)
