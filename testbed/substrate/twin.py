"""The deterministic twin as a substrate: any machine can carry it, and there is no network to enter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from testbed.errors import UsageError
from testbed.substrate.base import Capabilities, Network
from testbed.topology.model import Topology
from testbed.topology.shape import Shape


class TwinSubstrate:
    """Virtual time: experiments run, networks cannot be opened."""

    name = "twin"
    virtual: ClassVar[bool] = True

    def probe(self) -> Capabilities:
        """Nothing is needed."""
        return Capabilities()

    def enter(self, work: Callable[[], int], name: str) -> int:
        """Run ``work`` right here."""
        return work()

    def open(
        self, topology: Topology, folder: Path, seed: int, later: Mapping[str, Sequence[Shape]]
    ) -> AbstractContextManager[Network]:
        """Raises UsageError: its network exists within a run only."""
        raise UsageError("The twin has no network that programs could use. Use `testbed run FILE --substrate twin`.")
