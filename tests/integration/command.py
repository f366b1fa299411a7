"""The command line as a user has it: a program of its own, with its own exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from testbed.places import home

ORDINARY_USER = 54321  # a user without an account, a name or a right

HELLO = """\
name: hello
topology: topologies/two-hosts.yaml
system: serverless_on_edge
place: {control: h1, gateway: h1, worker: h2, client: h1}
functions:
  square: {service: 2ms}
workload:
  duration: 2s
  timeout: 2s
  traffic:
    - arrivals: {model: deterministic, rate: 20/s}
"""


def cli(*words: str, cwd: Path, user: int | None = None, timeout: float = 150) -> subprocess.CompletedProcess[str]:
    """Run ``testbed WORDS`` in ``cwd``, as another user if one is given."""
    return subprocess.run(
        command(*words, user=user), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


def command(*words: str, user: int | None = None) -> list[str]:
    """The argument list of ``testbed WORDS``."""
    return [*(() if user is None else becoming(user)), sys.executable, "-m", "testbed", *words]


@cache
def becoming(user: int) -> tuple[str, ...]:
    """What to put before a command to run it as ``user``, with none of root's rights.

    Where this checkout or its interpreter is closed to other users, the command keeps root's files but not its rights.
    """
    plain = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
    reached = subprocess.run(
        [*plain, sys.executable, "-c", "import testbed.run"], env=environment(), capture_output=True
    )
    return plain if reached.returncode == 0 else ("unshare", "--user", f"--map-user={user}", f"--map-group={user}")


def environment() -> dict[str, str]:
    """An environment in which ``testbed`` is found from any folder."""
    paths = [str(home()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp"}


def write(folder: Path, text: str) -> Path:
    """An experiment file in ``folder``."""
    path = folder / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def record(folder: str | Path) -> dict[str, Any]:
    """What stands in the run's ``run.json``."""
    found: dict[str, Any] = json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))
    return found
