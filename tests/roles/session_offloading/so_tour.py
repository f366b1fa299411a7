"""The tour with curl in the system's README: a transcript, commands after ``$ ``, and what each of them prints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.places import home

README = home() / "roles" / "session_offloading" / "README.md"
_MARK = "\x01"


@dataclass(frozen=True)
class Step:
    """One command, and what it prints."""

    command: str
    output: str

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.output}"


def tour() -> list[Step]:
    """All that the README shows."""
    text = README.read_text(encoding="utf-8").split("\n## A tour with curl\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^\$ ", "".join(blocks), flags=re.MULTILINE)[1:]
    return [Step(*each.split("\n", 1)) for each in parts]


def script(steps: Sequence[Step]) -> str:
    """The commands for one shell, a mark behind each."""
    return "".join(f"{step.command}\nprintf '{_MARK}'\n" for step in steps)


def played(steps: Sequence[Step], said: str) -> list[Step]:
    """The same commands with what they printed."""
    return [Step(step.command, output) for step, output in zip(steps, said.split(_MARK), strict=False)]
