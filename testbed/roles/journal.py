"""A journal in a file: records that survive the crash of the process that wrote them."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_HEAD = struct.Struct(">II")  # length and checksum


class FileJournal:
    """Records one behind the other in the file ``path``, each behind its length and checksum.

    A record that was being written when the process died is none, and the next one takes its place. The machine may
    not crash: nothing is forced onto the disk.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._known: list[bytes] | None = list(_whole(path.read_bytes() if path.exists() else b""))
        self._file = path.open("ab", buffering=0)
        self._end = sum(_HEAD.size + len(record) for record in self._known)
        self._file.truncate(self._end)

    def append(self, record: bytes) -> None:
        """Write a record; when this returns, the process may die. Raises OSError if there is no room: it is none."""
        self._known = None
        data = _packed(record)
        try:
            written = self._file.write(data)
            if written < len(data):
                raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written", str(self._path))
        except OSError:
            self._file.truncate(self._end)  # whatever follows would be behind half a record, and lost
            raise
        self._end += len(data)

    def records(self) -> Sequence[bytes]:
        """All whole records, in order."""
        return tuple(self._known if self._known is not None else _whole(self._path.read_bytes()))

    def replace(self, records: Iterable[bytes]) -> None:
        """Put these in the place of all, in one step."""
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            for record in records:
                file.write(_packed(record))
            file.flush()
            self._end = file.tell()
        self._known = None
        self._file.close()
        fresh.replace(self._path)
        self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _packed(record: bytes) -> bytes:
    return _HEAD.pack(len(record), zlib.crc32(record)) + record


def _whole(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, at)
        record = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(record) < length or zlib.crc32(record) != checksum:
            return
        yield record
        at += _HEAD.size + length


def journal_file(folder: Path, name: str) -> Path:
    """Where the journal ``name`` of the agent in ``folder`` is; raises ValueError for a name that is no word."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{name!r} is no name for a journal; use letters, digits, hyphens and underscores.")
    return folder / "journals" / f"{name}{os.extsep}log"
