"""A journal keeps what was written before a crash, in the live world and in the twin."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.roles.journal import FileJournal, journal_file


@given(records=st.lists(st.binary(max_size=2000), max_size=20))
def test_what_was_written_is_read_in_order_by_the_next(records: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:  # noqa: E501
    path = tmp_path_factory.mktemp("journal") / "sessions.log"
    first = FileJournal(path)
    for record in records:
        first.append(record)
    assert list(first.records()) == records
    first.close()
    assert list(FileJournal(path).records()) == records


@given(cut=st.integers(1, 30))
def test_half_a_record_is_none_and_the_next_takes_its_place(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("journal") / "sessions.log"
    journal = FileJournal(path)
    journal.append(b"whole")
    journal.append(b"x" * 23)
    journal.close()
    os.truncate(path, path.stat().st_size - cut)
    again = FileJournal(path)
    assert list(again.records()) == [b"whole"]
    again.append(b"next")
    assert list(FileJournal(path).records()) == [b"whole", b"next"]


def test_a_record_without_room_is_refused_and_none_behind_it_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "sessions.log"
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        journal = FileJournal(path)
        journal.append(b"first")
        for _ in range(2):  # cut short, and no room at all
            with pytest.raises(OSError, match=r"bytes could be written|too large"):
                journal.append(b"x" * 2000)
        journal.append(b"second")
        journal.replace([b"both"])
        journal.append(b"third")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(FileJournal(path).records()) == [b"both", b"third"]


def test_a_record_outlives_the_process_that_is_killed_right_after_writing_it(tmp_path: Path) -> None:
    path = tmp_path / "sessions.log"
    child = os.fork()
    if child == 0:
        FileJournal(path).append(b"acknowledged")
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(FileJournal(path).records()) == [b"acknowledged"]


def test_a_shorter_journal_takes_the_place_of_a_longer_one_and_goes_on(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "sessions.log")
    for number in range(100):
        journal.append(b"%d" % number)
    journal.replace([b"all of it"])
    journal.append(b"and more")
    again = FileJournal(tmp_path / "sessions.log")
    assert list(journal.records()) == list(again.records()) == [b"all of it", b"and more"]


def test_the_name_of_a_journal_is_a_word(tmp_path: Path) -> None:
    assert journal_file(tmp_path, "sessions").is_relative_to(tmp_path)
    for name in ("../up", "", "a/b", "."):
        with pytest.raises(ValueError, match="no name for a journal"):
            journal_file(tmp_path, name)
