"""Real machines as hosts: runs over SSH on servers that stand for machines (see ``machine_yard.py``)."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from command import HELLO, write
from machine_yard import SOON_S, Yard, in_yard, only_run, rows

pytestmark = pytest.mark.skipif(
    shutil.which("sshd", path="/usr/sbin:/sbin") is None, reason="needs the OpenSSH server (Debian: openssh-server)"
)
HOSTS = {"h1": "m1", "h2": "m2"}


def test_an_experiment_runs_on_machines_and_leaves_nothing_there() -> None:
    def body(yard: Yard) -> None:
        done = yard.run(write(yard.out, HELLO), yard.inventory(HOSTS))
        assert done.returncode == 0, done.stderr
        run = only_run(yard.out)
        invocations = rows(run["folder"] / "invocations.csv")
        assert {row["status"] for row in invocations} == {"ok"}
        assert len(invocations) == 40
        assert set(run["machines"]) == {"m1", "m2"}
        assert run["machines"]["m1"]["address"] == yard.address("m1")
        assert {row["node"] for row in rows(run["folder"] / "nodes.csv")} == {"h1", "h2"}
        assert rows(run["folder"] / "machine.csv")
        assert (run["folder"] / "hosts" / "h2" / "computer" / "stderr").exists()
        yard.until_clean("m1", "m2")

    in_yard(body)
