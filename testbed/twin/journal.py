"""Journals in the twin: they belong to the node and outlive its agents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.twin.agent import Agent


class TwinJournal:
    """One agent's view of the ``records`` of its node."""

    def __init__(self, agent: Agent, records: list[bytes]) -> None:
        self._agent, self._records = agent, records

    def append(self, record: bytes) -> None:
        """Write a record; the dead write nothing."""
        if self._agent.alive:
            self._records.append(bytes(record))

    def records(self) -> Sequence[bytes]:
        """All records, in order."""
        return tuple(self._records)

    def replace(self, records: Iterable[bytes]) -> None:
        """Put these in the place of all."""
        if self._agent.alive:
            self._records[:] = [bytes(record) for record in records]
