"""Session data in pieces: what is read entry by entry is what was written, and what is kept in parts is whole."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roles.session_offloading.embedded import EmbeddedStorage
from roles.session_offloading.messages import SessionToken, Version
from roles.session_offloading.records import Changes, Record
from roles.session_offloading.session_data import Reading, Written
from testbed.roles.journal import FileJournal

TRICKY = st.text(st.sampled_from('abé\ud800"\\{},:[]key\n\0'), max_size=20)
RECORD = Record(SessionToken("s", "p3", "p3"), Version("1", 1), here=True)


def read(pieces: Iterable[bytes]) -> dict[str, str]:
    """The data in a body that comes in these pieces."""
    reading = Reading()
    for piece in pieces:
        reading.take(piece)
    return reading.done()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """A body in pieces."""
    bounds = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[begin:end] for begin, end in itertools.pairwise(bounds)]


@given(st.dictionaries(TRICKY, TRICKY, max_size=5), st.lists(st.integers(0, 500), max_size=6))
def test_session_data_are_the_same_wherever_their_body_is_cut(data: dict[str, str], places: list[int]) -> None:
    body = b"".join(Written(data))
    assert read(cut(body, places)) == data
    told = json.loads(body.decode("utf-8", "surrogatepass"))["session_data"]
    assert told == [{"key": key, "data": text} for key, text in data.items()]


@pytest.mark.parametrize("text", ["x" * 600_000, "\\" * 300_000, "\ud800é\n" * 100_000, "x" * (1 << 18), ""])
def test_a_long_text_is_in_several_parts_none_of_which_is_long(text: str) -> None:
    parts = Written({"k": text, "l": "short"})
    assert max(map(len, parts)) < 2_000_000
    assert (len(parts) > 5) == (len(text) > 1 << 19)
    assert parts[-1] == b"]}"
    assert parts[1:-1][-1] == parts[len(parts) - 2]
    assert read(parts) == {"k": text, "l": "short"}
    with pytest.raises(IndexError):
        parts[len(parts)]


def test_no_more_is_kept_of_what_comes_than_the_entry_that_is_not_whole() -> None:
    data = {f"k{number}": str(number) * 50_000 for number in range(40)}
    body, reading, most = b"".join(Written(data)), Reading(), 0
    for begin in range(0, len(body), 10_000):
        reading.take(body[begin : begin + 10_000])
        most = max(most, len(reading._rest))
    assert most < 3 * 50_000 < len(body) / 10
    assert reading.done() == data


@pytest.mark.parametrize(
    "body",
    [
        b'{"session_data":[{"key":"a","data":"1"}, {"key":"b","data":"2"}]}',
        b'{"session_data":[{"key":"a","data":"1"},{"data":"2","key":"b"}]}',
        b'{"session_data":[{"key":"a","data":"0"},{"key":"a","data":"1"},{"key":"b","data":"2"}]}',
        b'{"session_data":[{"key":"a","data":"1","more":[{"key":1},{"key":"z"}]},{"key":"b","data":"2"}],"more":{}}',
        b' {"session_data": [{"key": "a", "data": "1"}, {"key": "b", "data": "2"}]}',
        b'{"more":1,"session_data":[{"key":"a","data":"1"},{"key":"b","data":"2"}]}\n',
    ],
)
def test_what_others_write_is_read_as_well_in_any_pieces(body: bytes) -> None:
    for size in (1, 7, 30, len(body)):
        assert read(cut(body, list(range(0, len(body), size)))) == {"a": "1", "b": "2"}


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
    asyncio.run(storage.write(RECORD, Changes(data), fresh=True))
    assert opened(path) == data
    whole = path.read_bytes()
    for size in (before, before + 60_000, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert opened(path) == {"old": "1"}
    path.write_bytes(whole[: before + 60_000])
    again = EmbeddedStorage(FileJournal(path))
    asyncio.run(again.open())
    other = {f"other{number}": "y" * 60_000 for number in range(3)}
    asyncio.run(again.write(RECORD, Changes(other), fresh=True))
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
        asyncio.run(storage.write(RECORD, Changes(data), fresh=True))
    assert path.stat().st_size < 6 * 300_000
    assert opened(path) == data
