"""What a machine offers to a role beside its network: containers for functions, and disks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """What running a real function gave: its output, or the kind of failure and a message for a person.

    ``init_s`` is the time to start a worker (0 when it was warm), ``exec_s`` the time inside the function.
    """

    output: str
    error: Literal["", "exception", "timeout", "memory", "crash", "storage"] = ""
    detail: str = ""
    init_s: float = 0.0
    exec_s: float = 0.0


class Container(Protocol):
    """A worker that is kept for one function, with a private folder under a quota."""

    async def run(
        self, payload: str, time_limit: float | None, answer: Callable[[str], Awaitable[str]] | None = None
    ) -> FunctionResult:
        """Run the function once; the private folder is empty before and after. Never raises for what it does.

        ``answer`` gets what the function asks, as in :meth:`testbed.roles.api.Environment.run_function`. After a
        timeout, a crash or an end for want of memory the container can be used again all the same.
        """

    async def close(self) -> None:
        """End the worker, whatever it does, and remove its folder."""


class Journal(Protocol):
    """What an agent writes down to survive its own crash and restart: records in order. It is gone with the run."""

    def append(self, record: bytes) -> None:
        """Write a record; when this returns, the agent may die."""

    def records(self) -> Sequence[bytes]:
        """All whole records, in order; read at the start, by the next agent of this name."""

    def replace(self, records: Iterable[bytes]) -> None:
        """Put these in the place of all, in one step: a shorter journal that says the same."""


class Files(Protocol):
    """The files of one agent on a disk of limited speed: real ones in its folder, names and sizes in the twin.

    Transfers that go on at the same time share the disk and the links fairly.
    """

    def create(self, name: str, size: int) -> None:
        """Make a file of ``size`` bytes at once, whatever the disk's rate; it was there before the story begins."""

    def sizes(self) -> Mapping[str, int]:
        """The whole files there are; those under way do not count."""

    def remove(self, name: str) -> None:
        """Remove a file; no error if it is not there."""

    async def serve(self, port: int) -> None:
        """Give the files to others on ``port`` of this node's own address; raises OSError if it is taken."""

    async def fetch(self, address: str, name: str, patience: float) -> int:
        """Copy a file from the files served at ``address`` and return its size.

        Reading there, the network and writing here go on together at the pace of the slowest. Raises CallFailed if the
        file is not there, nobody answers, or nothing moves for ``patience`` seconds; nothing of it is left then.
        """

    async def load(self, name: str) -> int:
        """Read a whole file into memory at the disk's pace and return its size; KeyError if it is not there."""

    async def close(self) -> None:
        """Stop serving and remove all files."""
