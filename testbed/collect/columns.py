"""Datasets column by column: a million rows in a few dozen bytes each.

What is measured is an array of floats. Everything else (names, counts, sizes, truths) repeats: each distinct text is
read and kept once, and a row holds its number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy
from numpy.typing import NDArray

from testbed.collect.streamed import whole_lines
from testbed.tables import Cell, Column, cell, decimals

Array = NDArray[Any]
Picked = Array | slice
PIECE = 5000  # rows read or written at a time: as texts they need some ten times the memory that columns take


class Columns(Protocol):
    """A dataset: its length, and each column as an array (numbers: float64, NaN where empty; others: objects)."""

    def __len__(self) -> int: ...

    def column(self, name: str) -> Array:
        """All values of one column, in the order of the rows."""


def joined(parts: Iterable[Array], kind: type[Any]) -> Array:
    """One array of ``kind`` from none or more."""
    return numpy.concatenate([numpy.empty(0, kind), *parts])


class _Growing:
    """An array that is put together from parts."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind
        self._parts: list[Array] = []

    def add(self, part: Array) -> None:
        """Append what ``parsed`` gave."""
        self._parts.append(part)

    def reorder(self, order: Array) -> None:
        """Put the rows into another order."""
        self._parts = [self._whole()[order]]

    def _whole(self) -> Array:
        if len(self._parts) > 1:
            first, count = self._parts[0], sum(map(len, self._parts))
            is_same = all(part.strides == (0,) for part in self._parts)
            self._parts = [numpy.broadcast_to(first[0], count) if is_same else numpy.concatenate(self._parts)]
        return self._parts[0] if self._parts else numpy.empty(0, self._kind)


class Numbers(_Growing):
    """A growing column of floats; NaN stands for an empty cell."""

    def __init__(self) -> None:
        super().__init__(numpy.float64)

    def parsed(self, texts: Sequence[str]) -> Array:
        """The values of ``texts``; raises ValueError for what is no number."""
        if not any(texts):
            return numpy.broadcast_to(numpy.nan, len(texts))  # which takes no memory
        return numpy.array([float(text) if text else numpy.nan for text in texts])

    def values(self, picked: Picked) -> Array:
        """The values of some rows."""
        return self._whole()[picked]

    def texts(self, picked: Picked) -> list[Any]:
        """The values of some rows as they stand in a CSV."""
        return in_csv(self.values(picked))


class Identifiers(_Growing):
    """A growing column of integers, none of which may be missing."""

    def __init__(self) -> None:
        super().__init__(numpy.int64)

    def parsed(self, texts: Sequence[str]) -> Array:
        """The values of ``texts``; raises ValueError for what is no integer of 64 bits."""
        if "" in texts:
            raise ValueError("a row without invocation_id")
        try:
            return numpy.array([int(text) for text in texts], numpy.int64)
        except OverflowError as error:
            raise ValueError(f"an identifier of more than 64 bits: {error}") from error

    def values(self, picked: Picked) -> Array:
        """The values of some rows."""
        return self._whole()[picked]

    def texts(self, picked: Picked) -> list[Any]:
        """The values of some rows as they stand in a CSV."""
        return list(self.values(picked).tolist())


class Words(_Growing):
    """A growing column of what repeats; ``parse`` gives the value of a text or raises ValueError."""

    def __init__(self, parse: Callable[[str], Cell]) -> None:
        super().__init__(numpy.uint8)
        self._parse = parse
        self._codes: dict[str, int] = {}
        self._values, self._cells = numpy.empty(0, object), numpy.empty(0, object)

    def parsed(self, texts: Sequence[str]) -> Array:
        """The numbers of the values of ``texts``."""
        codes = self._codes
        new = [text for text in dict.fromkeys(texts) if text not in codes]
        if new:
            values = [self._parse(text) for text in new]
            codes.update(zip(new, range(len(codes), len(codes) + len(new)), strict=True))
            self._values = numpy.append(self._values, _objects(values))
            self._cells = numpy.append(self._cells, _objects([cell(value) for value in values]))
        return numpy.fromiter(map(codes.__getitem__, texts), numpy.min_scalar_type(len(codes)), len(texts))

    def meaning(self, number: int) -> Cell:
        """The value with this number."""
        value: Cell = self._values[number]
        return value

    def are(self, numbers: Array, wanted: Collection[Cell]) -> Array:
        """Which of some values, given by what :meth:`parsed` made of them, are among ``wanted``."""
        return numpy.array([value in wanted for value in self._values], bool)[numbers]

    def values(self, picked: Picked) -> Array:
        """The values of some rows, as objects."""
        return self._values[self._whole()[picked]]

    def texts(self, picked: Picked) -> list[Any]:
        """The values of some rows as they stand in a CSV."""
        return list(self._cells[self._whole()[picked]])


class Frame:
    """Columns that grow together, by name; those ``aside`` are parsed and not kept."""

    def __init__(self, columns: Iterable[Column], aside: Iterable[Column] = ()) -> None:
        self.columns = {each.name: _growing(each) for each in columns}
        self._aside = {each.name: _growing(each) for each in aside}

    def parsed(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Array]:
        """The columns of ``rows``, whose cells stand under ``header``; raises ValueError for a cell of the wrong kind.

        Columns that this frame does not have are left out, missing ones are empty.
        """
        given = dict(zip(header, zip(*rows, strict=True), strict=True))
        empty = ("",) * len(rows)
        columns = self._aside | self.columns
        return {name: column.parsed(given.get(name, empty)) for name, column in columns.items()}

    def pieces(self, path: Path) -> Iterator[tuple[int, dict[str, Array] | str]]:
        """What :meth:`parsed` gives for one part of the file after the other, or a sentence on why a line is no row.

        Each comes with the number of its first line, from 0, header not counted.
        """
        lines, header, begin = whole_lines(path), list[str](), 0
        for line in lines:
            if not isinstance(line, str):
                header = line
                break
            yield begin, line
        while piece := list(islice(lines, PIECE)):
            yield from self._halved(header, piece, begin)
            begin += len(piece)

    def _halved(
        self, header: Sequence[str], lines: Sequence[list[str] | str], begin: int
    ) -> Iterator[tuple[int, dict[str, Array] | str]]:
        """Where a line is broken, each half for itself, until the broken ones stand alone."""
        try:
            for line in lines:
                if isinstance(line, str):
                    raise ValueError(line)
            rows: Any = lines
            yield begin, self.parsed(header, rows)
        except ValueError as error:
            if len(lines) == 1:
                yield begin, str(error)
            else:
                half = len(lines) // 2
                yield from self._halved(header, lines[:half], begin)
                yield from self._halved(header, lines[half:], begin + half)

    def add(self, parsed: dict[str, Array]) -> None:
        """Append what :meth:`parsed` gave."""
        for name, column in self.columns.items():
            column.add(parsed[name])

    def reorder(self, order: Array) -> None:
        """Put the rows into another order."""
        for column in self.columns.values():
            column.reorder(order)


def _growing(column: Column) -> Numbers | Words | Identifiers:
    if column.name == "invocation_id":
        return Identifiers()
    return Numbers() if column.kind == "number" else Words(_PARSERS[column.kind])


def _objects(values: Sequence[object]) -> Array:
    return numpy.fromiter(values, object, len(values))


def in_csv(numbers: Array) -> list[str]:
    """Each of ``numbers`` as it stands in a CSV: nothing for NaN."""
    unknown = numpy.isnan(numbers)
    if unknown.all():
        return [""] * len(numbers)
    texts = decimals(numbers.tolist())
    for place in numpy.flatnonzero(unknown).tolist():
        texts[place] = ""
    return texts


def _integer(text: str) -> int | None:
    return int(text) if text else None


def _truth(text: str) -> bool | None:
    if text in ("1", "True", "true"):
        return True
    if text in ("0", "False", "false"):
        return False
    if text:
        raise ValueError(f"{text!r} is neither true nor false")
    return None


_PARSERS: dict[str, Callable[[str], Cell]] = {"text": str, "integer": _integer, "truth": _truth}
