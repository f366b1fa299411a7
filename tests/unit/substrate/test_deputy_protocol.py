"""The deputy as its driver meets it: a program on two pipes."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from testbed.places import home
from testbed.substrate import deputy_wire
from testbed.substrate.deputy import descendants

SOON_S = 30.0


class Driver:
    """The other end of a deputy's pipes."""

    def __init__(self, folder: Path, **options: object) -> None:
        argv = [sys.executable, "-m", "testbed.substrate.deputy", str(folder), json.dumps(options)]
        self.folder = folder
        self.deputy = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=home())
        self._number = 0

    def ask(self, op: str, **arguments: object) -> Any:
        assert self.deputy.stdin is not None
        assert self.deputy.stdout is not None
        self._number += 1
        self.deputy.stdin.write(deputy_wire.encoded({"id": self._number, "op": op, "args": arguments}))
        self.deputy.stdin.flush()
        answer = deputy_wire.receive(self.deputy.stdout)
        assert answer is not None
        assert answer["id"] == self._number
        return answer.get("ok", answer.get("error"))


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    folder = tmp_path / "run"
    folder.mkdir()
    made = Driver(folder)
    yield made
    if made.deputy.poll() is None:
        assert made.deputy.stdin is not None
        made.deputy.stdin.close()
        made.deputy.wait(SOON_S)
    assert made.deputy.stdout is not None
    made.deputy.stdout.close()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def until_gone(pids: list[int]) -> None:
    end = time.monotonic() + SOON_S
    while left := [pid for pid in pids if not is_gone(pid)]:
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.01)


def test_runs_and_starts_programs_in_the_folder_of_its_host(driver: Driver) -> None:
    folder = Path(driver.ask("host.open", name="h1")["folder"])
    assert folder == driver.folder / "hosts" / "h1"
    done = driver.ask("host.run", host="h1", argv=["sh", "-c", "pwd; echo no >&2; exit 3"], within=10)
    assert done == {"status": 3, "stdout": f"{folder}\n", "stderr": "no\n"}
    argv = ["sh", "-c", "echo $WORD; sleep 60"]
    pid = driver.ask("host.start", host="h1", argv=argv, folder="job", env={"WORD": "so it is"})["pid"]
    assert driver.ask("host.poll", pids=[pid]) == {"statuses": [None]}
    end = time.monotonic() + SOON_S
    while not (said := (folder / "job" / "stdout").read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    assert said == "so it is\n"
    driver.ask("host.signal", pid=pid, number=int(signal.SIGTERM))
    assert driver.ask("host.poll", pids=[pid], within=SOON_S) == {"statuses": [-signal.SIGTERM]}


def test_tells_what_went_wrong_by_its_kind(driver: Driver) -> None:
    driver.ask("host.open", name="h1")
    assert driver.ask("host.read", path="nothing")["kind"] == "FileNotFoundError"
    late = driver.ask("host.run", host="h1", argv=["sleep", "60"], within=0.2)
    assert late["kind"] == "TimeoutError"
    assert "'sleep 60' did not end within 0.2 s" in late["text"]
    assert driver.ask("host.nonsense") == {"kind": "KeyError", "text": "nonsense"}
    assert driver.ask("os.system", argv="true") == {"kind": "KeyError", "text": "os.system"}
    assert driver.ask("host.clock", surplus=1)["kind"] == "TypeError"


def test_files_come_and_go_in_pieces(driver: Driver) -> None:
    data = os.urandom(3_000_000)
    for begin in range(0, len(data), deputy_wire.PIECE):
        piece = base64.b64encode(data[begin : begin + deputy_wire.PIECE]).decode()
        driver.ask("host.put", path="deep/er/file", data=piece, append=begin > 0)
    assert driver.ask("host.files", path="deep") == {"files": {"er/file": len(data)}}
    found, more = b"", True
    while more:
        told = driver.ask("host.read", path="deep/er/file", offset=len(found))
        found, more = found + base64.b64decode(told["data"]), told["more"]
    assert found == data


def test_samples_programs_and_the_machine(driver: Driver) -> None:
    driver.ask("host.open", name="h1")
    argv = [sys.executable, "-c", "while True: pass"]
    pid = driver.ask("host.start", host="h1", argv=argv, folder="busy", env=None)["pid"]
    end = time.monotonic() + SOON_S
    while (told := driver.ask("host.sample", pids=[pid]))["trees"][0][0] < 0.2:
        assert time.monotonic() < end
    assert told["trees"][0][2] == 1
    assert str(pid) not in told["own"]
    assert len(told["own"]) == 2  # guard and worker
    assert told["processors"][0] > told["processors"][1] > 0


@pytest.mark.parametrize("how", ["close", "kill worker", "kill guard"])
def test_leaves_nothing_behind_however_it_ends(driver: Driver, how: str) -> None:
    driver.ask("host.open", name="h1")
    argv = ["sh", "-c", "setsid sleep 1000 & setsid setsid sleep 1000"]
    driver.ask("host.start", host="h1", argv=argv, folder="job", env=None)
    end = time.monotonic() + SOON_S
    while len(below := descendants(driver.deputy.pid)) < 4:
        assert time.monotonic() < end
    assert driver.deputy.stdin is not None
    if how == "close":
        driver.deputy.stdin.close()
    else:
        os.kill(below[0] if how == "kill worker" else driver.deputy.pid, signal.SIGKILL)
    if how == "kill guard":
        driver.deputy.wait(SOON_S)
        driver.deputy.stdin.close()  # as the SSH server does when its child has died
    driver.deputy.wait(SOON_S)
    until_gone(below)
    end = time.monotonic() + SOON_S
    while driver.folder.exists():
        assert time.monotonic() < end


def test_ends_by_itself_when_nothing_is_heard_for_long(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    driver = Driver(tmp_path / "run", silence=1.0)
    driver.ask("host.open", name="h1")
    pid = driver.ask("host.start", host="h1", argv=["sleep", "1000"], folder="job", env=None)["pid"]
    assert driver.deputy.wait(SOON_S) == 0
    until_gone([pid])
    assert not driver.folder.exists()
    for pipe in (driver.deputy.stdin, driver.deputy.stdout):
        assert pipe is not None
        pipe.close()


@pytest.mark.parametrize(("data", "said"), [
    (b"\x00\x00", "half a message"),
    (b"\x7f\xff\xff\xff", "a message of 2147483647 bytes"),
    (b"\x00\x00\x00\x05{}", "half a message"),
    (b"\x00\x00\x00\x02{]", "no JSON"),
    (b"\x00\x00\x00\x02[]", "no object"),
])  # fmt: skip
def test_what_is_no_message_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(deputy_wire.Broken, match=said):
        deputy_wire.receive(BytesIO(data))


def test_a_message_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(ValueError, match="at most"):
        deputy_wire.encoded({"data": "x" * deputy_wire.LARGEST})
