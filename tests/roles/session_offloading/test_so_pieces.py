"""Session data in pieces: what is read entry by entry is what was written, and what is kept in parts is whole."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roles.session_offloading.embedded import EmbeddedStorage
from roles.session_offloading.messages import SessionToken, Version, pieces, read, read_in_pieces, written
from roles.session_offloading.records import Changes, Record
from testbed.roles.journal import FileJournal

TRICKY = st.text(st.sampled_from('abé\ud800"\\{},:[]key\n\0'), max_size=20)
RECORD = Record(SessionToken("s", "p3", "p3"), Version("1", 1), here=True)


@given(st.dictionaries(TRICKY, TRICKY, max_size=5))
def test_what_is_written_is_json_and_reads_the_same_in_pieces(data: dict[str, str]) -> None:
    body = b"".join(written(data))
    assert read(body) == data
    assert read_in_pieces(body) == (data or None)
    told = json.loads(body.decode("utf-8", "surrogatepass"))["session_data"]
    assert [json.loads(piece) for piece in pieces(body)] == told or not data


@pytest.mark.parametrize(
    "body",
    [
        b'{"session_data":[{"key":"a","data":"1"}, {"key":"b","data":"2"}]}',
        b'{"session_data":[{"key":"a","data":"1"},{"data":"2","key":"b"}]}',
        b'{"session_data":[{"key":"a","data":"0"},{"key":"a","data":"1"},{"key":"b","data":"2"}]}',
        b' {"session_data": [{"key": "a", "data": "1"}, {"key": "b", "data": "2"}]}',
    ],
)
def test_what_others_write_is_read_as_a_whole(body: bytes) -> None:
    assert read_in_pieces(body) is None
    assert read(body) == {"a": "1", "b": "2"}


def opened(path: Path) -> dict[str, str]:
    """What a storage of a new life holds."""
    storage = EmbeddedStorage(FileJournal(path))
    asyncio.run(storage.open())
    return dict(asyncio.run(storage.items("s")))


def test_a_large_session_outlives_a_crash_also_in_the_middle_of_its_arrival(tmp_path: Path) -> None:
    path, data = tmp_path / "journal", {f"k{number}": "x" * 50_000 for number in range(5)}
    storage = EmbeddedStorage(FileJournal(path))
    asyncio.run(storage.write(RECORD, Changes({"old": "1"}), fresh=True))
    before = path.stat().st_size
    asyncio.run(storage.write(RECORD, Changes(data, raw=b"".join(written(data))), fresh=True))
    assert opened(path) == data
    whole = path.read_bytes()
    for size in (before, before + 60_000, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert opened(path) == {"old": "1"}
    path.write_bytes(whole[: before + 60_000])
    again = EmbeddedStorage(FileJournal(path))
    asyncio.run(again.open())
    other = {f"other{number}": "y" * 60_000 for number in range(3)}
    asyncio.run(again.write(RECORD, Changes(other, raw=b"".join(written(other))), fresh=True))
    assert opened(path) == other
    path.write_bytes(whole[: before + 60_000])
    again = EmbeddedStorage(FileJournal(path))
    asyncio.run(again.open())
    asyncio.run(again.write(RECORD, Changes({"new": "2"})))
    assert opened(path) == {"old": "1", "new": "2"}


def test_a_journal_stays_within_a_few_times_of_what_it_keeps(tmp_path: Path) -> None:
    path, data = tmp_path / "journal", {"k": "x" * 300_000}
    storage = EmbeddedStorage(FileJournal(path))
    for _ in range(30):
        asyncio.run(storage.write(RECORD, Changes(data, raw=b"".join(written(data))), fresh=True))
    assert path.stat().st_size < 6 * 300_000
    assert opened(path) == data
