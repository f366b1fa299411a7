"""An agent: one role, alive on one host. ``python -m testbed.deploy.agent FOLDER``, or a child of the fork server.

FOLDER/agent.json tells it all it needs to know (:class:`Plan`). FOLDER/status.json, replaced in one step, tells others
how it is: starting, ready, finished (a client whose workload is over), stopped or failed, with one line of detail.
SIGTERM ends it in order. A client waits for FOLDER/go.json and fires its schedule from the moment that it names.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from testbed.deploy import health, skew
from testbed.roles import discover
from testbed.roles.api import Client, Role, Site
from testbed.roles.live import FunctionRunner, LiveEnvironment
from testbed.store import write_atomically

State = Literal["starting", "ready", "finished", "stopped", "failed"]

GO_PERIOD_S = 0.01
STOP_S = 2.0  # what a role has to say good-bye


@dataclass(frozen=True)
class Plan:
    """What ``agent.json`` holds. ``home`` is the folder with ``roles/``; ``clock_offset`` is added to the own clock."""

    system: str
    role: str
    site: Site
    home: str
    parameters: dict[str, Any] = field(default_factory=dict)
    clock_offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Status:
    """What ``status.json`` holds."""

    state: State
    detail: str = ""


PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)  # takes milliseconds to make: the fork server's children inherit it
STATUS: TypeAdapter[Status] = TypeAdapter(Status)


def tell(folder: Path, state: State, detail: str = "") -> None:
    """Replace ``status.json``."""
    write_atomically(folder / "status.json", STATUS.dump_json(Status(state, detail)).decode())


class Agent:
    """A role in its environment, from its start to its end."""

    def __init__(self, folder: Path, plan: Plan, selector: health.WatchedSelector) -> None:
        self._folder, self._selector = folder, selector
        system = discover.system(plan.system, Path(plan.home))
        kind = system.roles[plan.role]
        self._role: Role = kind(plan.site, kind.parameters_model.model_validate(plan.parameters))
        self._env = LiveEnvironment(
            plan.site, system.wire_of(self._role, folder), folder, system.tables,
            clock_offset=plan.clock_offset, calendar=skew.calendar_of(folder), functions=_workers(kind, plan, folder),
        )

    async def live(self, stop: asyncio.Event) -> None:
        """Start the role, be ready, fire the workload of a client; end when ``stop`` is set or on an error."""
        stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        life: asyncio.Future[Any] = asyncio.ensure_future(self._work(stop))
        failed: asyncio.Future[Any] = self._env.failed
        try:
            await asyncio.wait({life, stopping, failed}, return_when=asyncio.FIRST_COMPLETED)
            for done in (failed, life):
                if done.done():
                    done.result()
        finally:
            await _cancelled(life)
            await _cancelled(stopping)
            await self._end()

    async def _work(self, stop: asyncio.Event) -> None:
        await self._role.start(self._env)
        self._env.spawn(health.record(self._selector, self._folder, self._env.now))
        tell(self._folder, "ready")
        if isinstance(self._role, Client):
            await self._fire(self._role)
            tell(self._folder, "finished")
        await stop.wait()

    async def _fire(self, client: Client) -> None:
        from testbed.workload.client import drive  # clients alone need it

        await drive(client, self._env, self._folder, await self._go())

    async def _go(self) -> float:
        """The moment on the reference clock at which the workload begins."""
        while True:
            try:
                return float(json.loads((self._folder / "go.json").read_text())["t0"])
            except (FileNotFoundError, json.JSONDecodeError):  # not there yet, or being written
                await asyncio.sleep(GO_PERIOD_S)

    async def _end(self) -> None:
        try:
            await asyncio.wait_for(self._role.stop(self._env), STOP_S)
        except TimeoutError:
            print(f"The role did not stop within {STOP_S:g} s.", file=sys.stderr)  # noqa: T201 - the agent's own log
        finally:
            await self._env.close()


def _workers(kind: type[Role], plan: Plan, folder: Path) -> FunctionRunner | None:
    if not kind.takes_code and not any(function.code for function in plan.site.functions.values()):
        return None
    from testbed.roles.workers import Workers  # real functions are rare: others start faster without

    return Workers(folder, plan.site.node, plan.site.seed)


async def _cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


async def _until_stopped(folder: Path, plan: Plan, selector: health.WatchedSelector) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Agent(folder, plan, selector).live(stop)


def _in_loop(body: Coroutine[Any, Any, None], selector: health.WatchedSelector) -> None:
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(body)


def main(folder: Path) -> int:
    """Be the agent of ``folder`` to its end; its exit status. Errors go to stderr and, as one line, to the status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which stops agents in order
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    tell(folder, "starting")
    try:
        plan = PLAN.validate_json((folder / "agent.json").read_text())
        selector = health.WatchedSelector()
        _in_loop(_until_stopped(folder, plan, selector), selector)
    except Exception as error:  # noqa: BLE001 - the boundary of the process: told in the log, the status and the exit
        traceback.print_exc()
        tell(folder, "failed", f"{type(error).__name__}: {error}".splitlines()[0])
        return 1
    tell(folder, "stopped")
    return 0


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    sys.exit(main(Path(sys.argv[1])))
