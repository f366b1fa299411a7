"""A few rows as a dataset by columns, for tests of what reads datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from testbed.collect.columns import Array
from testbed.collect.schema import INVOCATIONS

NUMBERS = {column.name for column in INVOCATIONS.columns if column.kind == "number"}


class Rows:
    """Dictionaries; what they do not have is not known."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def column(self, name: str) -> Array:
        """One value of each."""
        return numpy.array([row.get(name) for row in self._rows], float if name in NUMBERS else object)
