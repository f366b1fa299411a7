"""The files that readers read."""

from __future__ import annotations

from pathlib import Path

from testbed.errors import InputError, Problem, UsageError


def raw(path: Path, expected: str) -> bytes:
    """The content of a file; raises InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        found = "nothing of this name" if missing else f"what cannot be read ({error.strerror})"
        raise InputError([Problem(str(path), 0, "", found, expected)]) from None


def no_choice(path: Path, choice: str) -> None:
    """Raises UsageError where a topology of a file is asked for and its format has only one."""
    if choice:
        raise UsageError(f"--topo {choice} does not fit {path}: only Mininet scripts hold several topologies.")
