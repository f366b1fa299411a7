"""Machines for tests without SSH: hosts of an emulated network that stand for machines, each with a deputy of its own."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from testbed.places import home
from testbed.substrate import deputy_wire
from testbed.substrate.arena import MARKER
from testbed.substrate.host import NetnsHost

_TESTS = str(Path(__file__).parent)


class DeputyFailed(Exception):
    """What an operation raised."""


class Deputy:
    """A deputy on an emulated host, spoken to over pipes instead of SSH."""

    def __init__(self, host: NetnsHost, folder: Path, address: str) -> None:
        self.host, self.folder, self.address = host, folder, address
        folder.mkdir(parents=True)
        options = {"arena": True, "first": [["part.prepare", {"address": address}]]}
        environment = {key: value for key, value in os.environ.items() if key != MARKER}
        argv = [sys.executable, "-m", "testbed.substrate.deputy", str(folder), json.dumps(options)]
        self._errors = (folder.parent / f"{folder.name}.err").open("w+b")
        reading, writing = os.pipe()
        from testbed.linux import entered

        with entered(host.net, host.uts):
            self.process = subprocess.Popen(
                argv, stdin=reading, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True,
                env={**environment, "PYTHONPATH": os.pathsep.join([str(home()), _TESTS])},
            )  # fmt: skip
        os.close(reading)
        self._writing = writing
        assert self.process.stdout is not None
        self._reading: IO[bytes] = self.process.stdout
        self._numbers = itertools.count(1)

    def ask(self, op: str, **arguments: object) -> Any:
        """The answer of an operation; DeputyFailed with what it raised."""
        os.write(self._writing, deputy_wire.encoded({"id": next(self._numbers), "op": op, "args": arguments}))
        answer = deputy_wire.receive(self._reading)
        assert answer is not None, self.said()
        if "error" in answer:
            raise DeputyFailed(f"{answer['error']['kind']}: {answer['error']['text']}")
        return answer["ok"]

    def said(self) -> str:
        """What it wrote on its stderr."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def close(self) -> None:
        """Hang up, and wait until it has left."""
        os.close(self._writing)
        self.process.wait(20)
        self._reading.close()
        self._errors.close()


@contextmanager
def deputies(hosts: Mapping[str, NetnsHost], addresses: Mapping[str, str], place: Path) -> Iterator[dict[str, Deputy]]:
    """A deputy on each host."""
    found: dict[str, Deputy] = {}
    try:
        for name, host in hosts.items():
            found[name] = Deputy(host, place / name, addresses[name])
        yield found
    finally:
        for each in found.values():
            each.close()


def ask_all(found: Sequence[Deputy], op: str, **arguments: object) -> list[Any]:
    """The answers of all, asked one after the other."""
    return [each.ask(op, **arguments) for each in found]
