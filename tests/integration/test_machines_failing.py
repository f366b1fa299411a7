"""Real machines that are not there, lack something, die or are left alone in the middle of a run."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from command import HELLO, write
from machine_yard import SOON_S, Yard, in_yard, only_run, python, rows

pytestmark = pytest.mark.skipif(
    shutil.which("sshd", path="/usr/sbin:/sbin") is None, reason="needs the OpenSSH server (Debian: openssh-server)"
)
HOSTS = {"h1": "m1", "h2": "m2"}
LONG = HELLO.replace("duration: 2s", "duration: 60s")
OLD = """#!/bin/sh
echo 'Welcome to lab one!'
echo 'testbed-deputy {"version": [3, 8, 1], "python": "/usr/bin/python3", "versions": {}, "folder": "/tmp"}'
"""


def _script(yard: Yard, name: str, text: str) -> str:
    """A program that machines see, too: where their SSH servers have their keys."""
    path = yard.access.folder / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_what_keeps_a_machine_from_being_used_is_told_before_anything_is_begun() -> None:
    def body(yard: Yard) -> None:
        stranger = yard.out / "known"
        stranger.write_text("")
        changed = yard.out / "changed"
        key = (yard.access.folder / "user_key.pub").read_text().split()[:2]
        changed.write_text(f"{yard.address('m2')} {' '.join(key)}\n")
        bare = _script(yard, "bare", f'#!/bin/sh\nexec {python()} -S "$@"\n')
        cases: list[tuple[dict[str, object], int, list[str]]] = [
            ({"key": str(yard.access.folder / "host_key")}, 1, ["Authentication failed", "Look at user and key"]),
            ({"known_hosts": str(stranger)}, 1, ["not found in known_hosts", "ssh-keyscan -p 22"]),
            ({"known_hosts": str(changed)}, 1, ["does not match", "find out why before you change anything"]),
            ({"port": 2222}, 1, ["Unable to connect", "Look at address, port and jump"]),
            ({"jump": f"{yard.access.user}@{yard.address('m1')}:2222"}, 1, ["The SSH connection to the jump host"]),
            ({"python": "/no/such/python"}, 3, ["Machine 'm2' lacks the Python '/no/such/python'"]),
            ({"python": bare}, 3, ["Machine 'm2' lacks libraries", "grpcio (missing)", "-m pip install"]),
            ({"python": _script(yard, "old", OLD)}, 3, ["lacks Python 3.11 or newer", "is 3.8.1"]),
            ({"folder": "/no/such"}, 3, ["lacks a folder /no/such that may be written to"]),
        ]  # fmt: skip
        experiment = write(yard.out, HELLO)
        for change, status, said in cases:
            done = yard.run(experiment, yard.inventory(HOSTS, {"m2": change}))
            assert done.returncode == status, (change, done.stderr)
            for words in said:
                assert words in done.stderr, (change, done.stderr)
            assert "Traceback" not in done.stderr
        assert yard.left_on("m1") == yard.left_on("m2") == []

    in_yard(body)


def test_an_inventory_that_does_not_fit_the_experiment_is_told_with_its_line() -> None:
    def body(yard: Yard) -> None:
        experiment = write(yard.out, HELLO)
        done = yard.run(experiment, yard.inventory({"h1": "m1", "h7": "m2"}))
        assert done.returncode == 2
        assert "hosts.h7: found no node of two-hosts; expected the name of a host or router" in done.stderr
        assert "hosts: found no machine for h2; expected a machine for each node that has an agent" in done.stderr
        done = yard.run(experiment, yard.out / "nothing.yaml")
        assert done.returncode == 2
        assert "nothing.yaml: found nothing of this name" in done.stderr
        move = 'timeline=[{"at": "1s", "do": "shape", "link": "h1-h2", "change": {"rate": "1Mbit"}}]'
        done = yard.run(experiment, yard.inventory(HOSTS), "--set", move)
        assert done.returncode == 2
        assert "Put `links: shaped` into it" in done.stderr
        assert list(yard.out.glob("*/run.json")) == []

    in_yard(body)


def _until_running(yard: Yard) -> Path:
    """The folder of the run that has begun to fire, and was seen to have answered something."""
    end = time.monotonic() + SOON_S
    while True:
        for path in yard.out.glob("*/run.json"):
            if '"state": "running"' in path.read_text():
                return path.parent
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.ability("runs", "a run that is broken off keeps a row for every invocation", on="machines")
@pytest.mark.parametrize("lost", ["m1", "m2"])
def test_a_machine_that_dies_ends_the_run_and_every_invocation_has_its_row(lost: str) -> None:
    def body(yard: Yard) -> None:
        process = yard.start("run", str(write(yard.out, LONG)), "--substrate", f"machines:{yard.inventory(HOSTS)}",
                             "-q", "--no-figures", "--out", str(yard.out))  # fmt: skip
        folder = _until_running(yard)
        yard.until_written("m1", "hosts/h1/client/outcomes.csv", 4000)
        yard.crash(lost)
        _, said = process.communicate(timeout=SOON_S)
        assert process.returncode == 1
        assert f"Machine '{lost}' is lost" in said, said
        run = only_run(yard.out)
        assert (run["state"], run["verdict"]["level"]) == ("failed", "invalid")
        invocations = rows(folder / "invocations.csv")
        assert len(invocations) == 1200
        found = {row["status"] for row in invocations}
        assert found == ({"lost", "unsent"} if lost == "m1" else found | {"ok", "unsent"})
        yard.until_clean("m2" if lost == "m1" else "m1")

    in_yard(body)


@pytest.mark.ability("clean-up", "whichever process is killed, and whenever, nothing is left", on="machines")
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_when_the_driver_is_killed_nothing_is_left_on_any_machine(number: int) -> None:
    def body(yard: Yard) -> None:
        process = yard.start("run", str(write(yard.out, LONG)), "--substrate", f"machines:{yard.inventory(HOSTS)}",
                             "-q", "--no-figures", "--out", str(yard.out))  # fmt: skip
        _until_running(yard)
        assert yard.left_on("m1") != [] != yard.left_on("m2")
        os.kill(process.pid, number)
        process.communicate(timeout=SOON_S)
        if number != signal.SIGKILL:
            run = only_run(yard.out)
            assert run["state"] == "interrupted"
            assert len(rows(run["folder"] / "invocations.csv")) == 1200
        yard.until_clean("m1", "m2")

    in_yard(body)


@pytest.mark.long
def test_a_machine_that_is_cut_off_is_given_up() -> None:
    def body(yard: Yard) -> None:
        process = yard.start("run", str(write(yard.out, LONG)), "--substrate", f"machines:{yard.inventory(HOSTS)}",
                             "-q", "--no-figures", "--out", str(yard.out))  # fmt: skip
        _until_running(yard)
        yard.network.connect("m2-lan", up=False)
        _, said = process.communicate(timeout=2 * SOON_S)
        assert "Machine 'm2' is lost: it has not answered for" in said, said
        yard.until_clean("m1")
        yard.until_clean("m2")  # by itself: nothing tells it

    in_yard(body)
