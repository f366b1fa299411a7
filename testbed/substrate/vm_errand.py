"""What the host asks of the VM: one errand, on a disk that exists in memory only, and the words on the serial line.

The host says ``int`` and ``term`` for signals that should end the work; the VM says once, as JSON, how the work ended.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import MachineLacks, TestbedError, UsageError
from testbed.substrate import arena

MODULES = Path("/usr/lib/uml/modules")
DISK = "/dev/ubda"
CONTROL, OUT, ERR = "/dev/ttyS0", "/dev/ttyS1", "/dev/ttyS2"
MARKER = "TESTBED_VM"  # set in the environment of all that runs inside
_SECTOR = 512
_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Errand:
    """The pickled work and where it is to be done; ``terminals`` are columns and lines, None where it is none."""

    work: bytes
    environment: Mapping[str, str]
    folder: str
    path: tuple[str, ...]
    umask: int
    terminals: tuple[tuple[int, int] | None, tuple[int, int] | None]

    @classmethod
    def of(cls, work: Callable[[], int]) -> Errand:
        """``work`` in this process' folder and environment; UsageError if it is bound to this process."""
        try:
            pickled = pickle.dumps(work)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UsageError(
                "Into the VM go whole runs only: processes outside of it cannot enter its network. "
                "Use `testbed run FILE --substrate vm`."
            ) from error
        umask = os.umask(0)
        os.umask(umask)
        environment = {name: value for name, value in os.environ.items() if name != arena.MARKER}
        return cls(pickled, environment, os.getcwd(), tuple(sys.path), umask, (_terminal(1), _terminal(2)))  # noqa: PTH109

    def written(self) -> bytes:
        """The errand as the sectors of a disk."""
        body = pickle.dumps(self)
        text = len(body).to_bytes(_LENGTH, "big") + body
        return text.ljust(-(-len(text) // _SECTOR) * _SECTOR, b"\0")

    @classmethod
    def read(cls, disk: str = DISK) -> Errand:
        """The errand on the disk."""
        with Path(disk).open("rb") as file:
            found = pickle.loads(file.read(int.from_bytes(file.read(_LENGTH), "big")))  # noqa: S301 - the host wrote it
        assert isinstance(found, cls)
        return found


def _terminal(fd: int) -> tuple[int, int] | None:
    return tuple(os.get_terminal_size(fd)) if os.isatty(fd) else None  # type: ignore[return-value]


def told(status: int, error: str) -> bytes:
    """The last line from the VM: how the work ended, and the error that it raised, as :func:`error_text` gives it."""
    return json.dumps([status, error]).encode() + b"\n"


def error_text(error: TestbedError) -> str:
    """An error as text that :func:`raise_error` understands."""
    return json.dumps([error.what, error.remedy] if isinstance(error, MachineLacks) else [str(error)])


def raise_error(text: str) -> None:
    """Raise the error, if the text holds one."""
    if text:
        fields = json.loads(text)
        raise MachineLacks(*fields) if len(fields) == 2 else TestbedError(*fields)
