"""Work spread over the processors: each piece in a forked process of its own, so that nothing has to be pickled."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

from testbed.errors import TestbedError

T = TypeVar("T")


def each(works: Sequence[Callable[[], str]], at_once: int | None = None) -> Iterator[tuple[int, str]]:
    """Carry out ``works``, ``at_once`` of them at a time (default: one for each processor).

    Yields (its number, what it returned) as they end. Raises TestbedError when one raises or dies; the others end then.
    """
    fork = multiprocessing.get_context("fork")
    waiting = list(enumerate(works))[::-1]
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < (at_once or len(os.sched_getaffinity(0))):
                number, work = waiting.pop()
                reading, writing = fork.Pipe(duplex=False)
                process: BaseProcess = fork.Process(target=_carry, args=(work, writing))
                process.start()
                writing.close()
                running[reading] = number, process
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                ended, carrier = running.pop(ready)
                yield ended, _heard(ready, carrier)
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


def _heard(reading: Connection, process: BaseProcess) -> str:
    try:
        good, said = reading.recv()
    except EOFError:
        good, said = False, ""
    reading.close()
    process.join()
    if not good:
        raise TestbedError(said or f"A process of the sweep ended with status {process.exitcode} and said nothing.")
    return str(said)


def _carry(work: Callable[[], str], writing: Connection) -> None:
    try:
        writing.send((True, work()))
    except TestbedError as error:
        writing.send((False, str(error)))
