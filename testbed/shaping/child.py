"""A process beside the driver that moves packets in user space: started, told, asked and watched here.

Messages are JSON lines over a socket pair, one answer each.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import testbed
from testbed.errors import ShapeNotInForce

_ANSWER_WITHIN_S = 20.0  # generous: only a process that is stuck or stopped takes so long


class Child:
    """One worker process, running ``module`` with ``arguments`` and these open files of ours, and the socket to it.

    In error messages it is the ``name`` process, which ``does`` something.
    """

    def __init__(self, module: str, files: Sequence[int], name: str, does: str, *arguments: str) -> None:
        self._name, self._does = name, does
        self._ours, theirs = socket.socketpair()
        self._ours.settimeout(_ANSWER_WITHIN_S)
        self._unread = b""
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        package_root = str(Path(testbed.__file__).parents[1])
        with theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=self._stderr, pass_fds=sorted(set(files)),
                env={**os.environ, "PYTHONPATH": os.pathsep.join([package_root, os.environ.get("PYTHONPATH", "")])},
                start_new_session=True,  # Ctrl-C is for the driver, which ends the process in order
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def tell(self, do: str, **arguments: object) -> None:
        """Send an order; its answer is to be read with :meth:`answer`."""
        try:
            self._ours.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
        except OSError as trouble:
            raise self._gone(str(trouble)) from trouble

    def answer(self) -> Any:
        """The answer to the oldest order not yet answered."""
        while b"\n" not in self._unread:
            try:
                data = self._ours.recv(1 << 20)
            except OSError as trouble:
                raise self._gone(f"no answer within {_ANSWER_WITHIN_S:g} s") from trouble
            if not data:
                raise self._gone("it ended")
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        return json.loads(line)

    def ask(self, do: str, **arguments: object) -> Any:
        """Send an order and wait for its answer."""
        self.tell(do, **arguments)
        return self.answer()

    def check(self) -> None:
        """Raise ShapeNotInForce, with what it said last, if the process has ended."""
        if self._process.poll() is not None:
            raise self._gone("it ended")

    def close(self) -> None:
        """End the process: it leaves when its socket closes; one that does not is killed."""
        self._ours.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def _gone(self, what: str) -> ShapeNotInForce:
        try:
            status = str(self._process.wait(0.5))
        except subprocess.TimeoutExpired:
            status = "none, it still runs"
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip().splitlines()[-5:]
        tail = "\n".join("    " + line for line in said) or "    (it wrote nothing)"
        return ShapeNotInForce(
            f"The {self._name} process {self.pid}, which {self._does}, failed: {what} (exit status: {status}). "
            f"Its links carry nothing now. It said last:\n{tail}"
        )
