"""What a page of the documentation shows, taken at its word: its files written, its commands run, its YAML checked.

A page is read from top to bottom in one fresh folder. Of its fenced blocks,

- one right after a line that holds nothing but a file's name in backquotes and a colon is written to that file;
- ``sh`` is run, line by line, with ``testbed`` on the PATH: each command has to succeed;
- ``yaml`` is checked as what it is, an experiment (it has ``system``) or a topology;
- ``python`` has to compile;
- ``text`` is for reading.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from command import environment

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"^`([^`\n]+)`:\s*\Z", re.MULTILINE)
KINDS = ("sh", "yaml", "python", "text")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it begins, what it is, and the file that it stands for, if any."""

    page: Path
    line: int
    kind: str
    text: str
    file: str = ""

    @property
    def where(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block without comments."""
        words = (shlex.split(line, comments=True) for line in self.text.splitlines())
        return [shlex.join(each) for each in words if each]


@dataclass(frozen=True)
class Done:
    """One command and how it ended."""

    command: str
    status: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.stdout}{self.stderr}-> {self.status}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return list(_blocks(page, page.read_text(encoding="utf-8")))


def _blocks(page: Path, text: str) -> Iterator[Block]:
    for match in _FENCE.finditer(text):
        named = _NAMED.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match[1], match[2], named[1] if named else "")


def section(text: str, heading: str) -> str:
    """What stands below a heading of the second level, up to the next one."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def play(commands: Sequence[str], folder: Path, home: Path, timeout: float = 280) -> list[Done]:
    """Run ``commands`` one after the other in ``folder``, with the program of the checkout ``home``.

    They share network and process namespaces of their own, so that no network of the machine's user is in the way, and
    none is left behind.
    """
    scratch = folder / ".played"
    (scratch / "bin").mkdir(parents=True)
    script = scratch / "bin" / "testbed"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m testbed "$@"\n')
    script.chmod(0o755)
    steps = [f"{each} >{shlex.quote(str(scratch))}/{number}.out 2>{shlex.quote(str(scratch))}/{number}.err\n"
             f"echo $? >{shlex.quote(str(scratch))}/{number}.status\n" for number, each in enumerate(commands)]
    (scratch / "script").write_text("".join(steps))
    subprocess.run([*_alone(), "sh", str(scratch / "script")], cwd=folder, env=_environment(script.parent, home),
                   check=True, stdin=subprocess.DEVNULL, timeout=timeout)
    return [Done(each, int((scratch / f"{number}.status").read_text()),
                 *((scratch / f"{number}.{end}").read_text() for end in ("out", "err")))
            for number, each in enumerate(commands)]


def _alone() -> list[str]:
    """The command that starts another one in namespaces of its own; all that is in them ends with it."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    return ["unshare", *user, "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _environment(programs: Path, home: Path) -> dict[str, str]:
    given = environment()
    paths = [str(home), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**given, "PYTHONPATH": os.pathsep.join(paths), "PATH": f"{programs}:{os.environ['PATH']}"}


def acceptable(done: Done, folder: Path) -> bool:
    """Whether a command succeeded. A run may also be done and invalid: machines that run tests are busy ones."""
    if done.status == 0 or not done.command.startswith("testbed run "):
        return done.status == 0
    told = json.loads((folder / done.stdout.splitlines()[-1] / "run.json").read_text(encoding="utf-8"))
    return done.status == 1 and told["state"] == "done" and told["verdict"]["level"] == "invalid"
