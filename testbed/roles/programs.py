"""Programs of the machine that a role needs beside itself, such as a database server: children of the agent.

A program dies with its agent, however that ends: the kernel sees to it. In the twin there are none.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from testbed.errors import MachineLacks, TestbedError
from testbed.roles.api import Environment
from testbed.roles.live import LiveEnvironment
from testbed.substrate import programs

ASK_AGAIN_S = 0.02
LOG_TAIL = 300  # characters of a program's last words

# Becomes the program, tied to the agent whose number comes first; PR_SET_PDEATHSIG is 1, SIGKILL 9.
_TIED = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


class ProgramFailed(Exception):
    """A program ended, or was not ready in time; the text says what it said last."""


def folder_of(env: Environment, what: str) -> Path:
    """The agent's own folder; raises TestbedError in the twin, where ``what`` cannot be had."""
    if not isinstance(env, LiveEnvironment):
        raise TestbedError(f"{what} needs a real program, and the twin has none. Run it in emulation, or leave it out.")
    return env.folder


class Program:
    """A running program; its output is appended to ``log``. Made in the agent's event loop, by its main thread.

    Raises MachineLacks if the machine does not have it; ``remedy`` says how to get it.
    """

    def __init__(self, argv: Sequence[str], log: Path, remedy: str) -> None:
        path = programs.find(argv[0])
        if path is None:
            raise MachineLacks(f"the program {argv[0]}", f"Get it: {remedy}.")
        self._name, self._log = argv[0], log
        tied = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), path, *argv[1:]]
        with log.open("ab") as output:
            self._begun = output.tell()
            self._process = subprocess.Popen(
                tied, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,  # it is ended by its agent alone
            )  # fmt: skip
        self._gone = asyncio.Event()
        self._watched = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._watched, self._bury)

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return not self._gone.is_set()

    def _bury(self) -> None:
        if self._process.poll() is not None and self.alive:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._gone.set()

    async def gone(self) -> None:
        """Return when it has ended."""
        await self._gone.wait()

    def how(self) -> str:
        """How it ended, with its last words."""
        words = self._log.read_bytes()[self._begun :].decode("utf-8", "replace").strip()
        return f"{self._name} ended with status {self._process.returncode}: {words[-LOG_TAIL:] or 'it said nothing'}"

    async def ready(self, ask: Callable[[], Awaitable[str]], patience_s: float) -> None:
        """Wait until ``ask`` gives an empty text: else it says what is amiss. Raises ProgramFailed."""
        try:
            async with asyncio.timeout(patience_s):
                await self._asked(ask)
        except TimeoutError:
            raise ProgramFailed(f"{self._name} was not ready within {patience_s:g} s: {self._last}") from None

    _last = "it was not asked"

    async def _asked(self, ask: Callable[[], Awaitable[str]]) -> None:
        while True:
            if not self.alive:
                raise ProgramFailed(self.how())
            self._last = "no answer"
            self._last = await ask()
            if not self._last:
                return
            await asyncio.sleep(ASK_AGAIN_S)

    async def end(self, patience_s: float = 0.0) -> None:
        """End it: in order if that takes no longer than ``patience_s``, by force otherwise."""
        if self.alive and patience_s > 0:
            self._process.terminate()
            try:
                async with asyncio.timeout(patience_s):
                    await self._gone.wait()
            except TimeoutError:
                pass
        if self.alive:
            self._process.kill()
            await self._gone.wait()
