"""What clients can invoke beside the functions of an experiment."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Offers(Protocol):
    """Parameters of a client that runs more than single functions: chains of them, for instance."""

    def offered(self) -> tuple[str, ...]:
        """The names that a workload may use beside those of functions."""
