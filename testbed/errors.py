"""Every error that this package raises on purpose.

    TestbedError                 exit status 1: the run failed
    ├── InputError               exit status 2: a file or a command line is wrong; carries all its problems
    ├── MachineLacks             exit status 3: this machine cannot do what was asked; says how to get it
    ├── ShapeNotInForce          exit status 1: the network does not do what the topology asks for
    ├── LimitNotInForce          exit status 1: a host can use more than the topology allows it
    ├── AgentFailed              exit status 1: an agent exited or never became ready
    ├── CommandFailed            exit status 1: a command on a host exited with a status other than zero
    └── RunNotFound              exit status 2: no such run folder, or it is not readable

Raise the most special one; its text is the whole message that a user sees, without a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file, in the user's own words: where, what was found, what is expected.

    ``line`` counts from 1 and is 0 where no line can be named. ``path`` is the dotted path inside the file
    (``links[2].delay``), empty for the whole file. ``hint`` is an imperative sentence, or empty.
    """

    file: str
    line: int
    path: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        where = f"{place} {self.path}" if self.path else place
        text = f"{where}: found {self.found}; expected {self.expected}."
        return f"{text} {self.hint}" if self.hint else text


class TestbedError(Exception):
    """The root of all errors of this package; its text is meant for a person."""

    __test__ = False  # the name is the product's, not a test class
    exit_status = 1


class InputError(TestbedError):
    """A file or an argument is wrong; ``problems`` holds every one that was found, in the order of the file."""

    exit_status = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(TestbedError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_status = 2


class MachineLacks(TestbedError):
    """A machine, this one if none is named, cannot do what was asked: ``what`` is missing, ``remedy`` gets it."""

    exit_status = 3

    def __init__(self, what: str, remedy: str, machine: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{f'Machine {machine!r}' if machine else 'This machine'} lacks {what}. {remedy}")


class ShapeNotInForce(TestbedError):
    """A link does not have the delay, loss or rate that the topology asks for."""


class LimitNotInForce(TestbedError):
    """A host's limit of CPU, processors or memory cannot be put in force, or a program cannot be put under it."""


class CommandFailed(TestbedError):
    """A command on a host exited with a status other than zero; shows its last ten lines of output."""

    def __init__(self, host: str, argv: Sequence[str], status: int, output: str) -> None:
        self.host, self.argv, self.status = host, tuple(argv), status
        tail = "\n".join("    " + line for line in output.strip().splitlines()[-10:]) or "    (no output)"
        command = " ".join(argv)
        super().__init__(f"On host {host}, the command {command!r} exited with status {status}. It said last:\n{tail}")


class AgentFailed(TestbedError):
    """An agent exited, or never became ready; names host, role, exit status and its last lines of log."""

    def __init__(self, host: str, role: str, what: str, log: str) -> None:
        self.host, self.role = host, role
        tail = "\n".join("    " + line for line in log.strip().splitlines()[-10:]) or "    (its log is empty)"
        super().__init__(f"The agent {role!r} on host {host!r} {what}. Its log ends with:\n{tail}")


class RunNotFound(TestbedError):
    """No run folder has this name, or what is there cannot be read as a run."""

    exit_status = 2
