"""Agents of the echo system on this machine's loopback: no network, no root."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.deploy.agent import PLAN, Plan
from testbed.roles.api import Site

HOME = Path(__file__).parent / "home"
PATIENCE_S = 30.0


def site(role: str, **more: Any) -> Site:
    """Everything is on 127.0.0.1."""
    return Site("n1", role, 7, {"n1": "127.0.0.1"}, {"server": ("n1",)}, more.pop("functions", {}), **more)


def prepared(
    folder: Path, role: str, parameters: dict[str, Any] | None = None, *, system: str = "echo", home: Path = HOME
) -> Path:
    """An agent's folder with its ``agent.json``."""
    folder.mkdir(parents=True)
    plan = Plan(system, role, site(role), str(home), parameters or {})
    (folder / "agent.json").write_bytes(PLAN.dump_json(plan))
    return folder


def until(ask: Callable[[], Any]) -> Any:
    """What ``ask`` gives as soon as it is true; fails with what it gave last."""
    end = time.monotonic() + PATIENCE_S
    while not (found := ask()):
        assert time.monotonic() < end, f"still {found!r} after {PATIENCE_S:g} s"
        time.sleep(0.005)
    return found


def state(folder: Path) -> str:
    """What the agent says of itself, empty if nothing yet."""
    try:
        return str(json.loads((folder / "status.json").read_text())["state"])
    except FileNotFoundError:
        return ""
