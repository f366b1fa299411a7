"""The kinds of containers: real workers for code, a model for modelled functions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

from roles.openwhisk.activation import (
    ABNORMAL_INIT,
    ABNORMAL_RUN,
    DEVELOPER_ERROR,
    INTERNAL_ERROR,
    NO_MEMORY,
    Done,
    bad_init,
    judged,
    too_long,
)
from roles.openwhisk.boxes import Box, Host, Job, overdue
from roles.openwhisk.entities import family
from roles.openwhisk.options import MB
from testbed.roles.api import Container, ContainerFailed, Function, FunctionResult
from testbed.roles.modelled import service_s

STORAGE_BYTES = 512_000_000  # of an action's private folder
START_S = 30.0  # for a real container to be there
NODE_BYTES = 128 * MB  # beside what an action may use: the engine's own

_BOOT = Path(__file__).parent / "boot"


def box(host: Host, kind: str, memory_mb: int) -> Box:
    """A new container for actions of ``kind``."""
    boxes: dict[str, type[Box]] = {"model": ModelBox, "function": FunctionBox}
    return boxes.get(family(kind), WorkerBox)(host, kind, memory_mb)


class ModelBox(Box):
    """A modelled action: it takes time, and nothing else."""

    async def start(self) -> Done | None:
        """Let the time of a cold start pass."""
        await self.host.env.sleep(self.host.options.cold_start)
        self.started = True
        return None

    async def init(self, job: Job) -> Done | None:
        """Let the time pass that loading takes; it counts to the time limit."""
        await self.host.env.sleep(min(self.host.options.init, job.limit_s))
        if self.host.options.init > job.limit_s:
            return overdue(job, init=True)
        return None

    async def run(self, job: Job) -> Done:
        """Let the time pass that the model says."""
        if not await self.host.processor.work(self._seconds(job) / self.host.options.speed, job.limit_s):
            return overdue(job)
        return Done(0, {"payload": ""}, size=20)

    def _seconds(self, job: Job) -> float:
        function = self.host.site.functions.get(job.action.function)
        model = modelled(job.action.code.code) if function is None else function
        return service_s(model, job.text)


def modelled(code: str) -> Function:
    """The model in the code of an action of the modelled kind: {"service_s": 0.2}; raises ValueError."""
    given = json.loads(code)
    allowed = ("service_s", "operations", "operations_per_byte")
    if not isinstance(given, dict) or not given.keys() <= set(allowed):
        raise ValueError(f"a model is an object with some of {', '.join(allowed)}")
    for value in given.values():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise ValueError("the figures of a model are numbers from 0 on")
    return Function(name="model", **given)


class FunctionBox(Box):
    """An experiment's function with code of its own, code(ctx, payload)."""

    _container: Container | None = None

    async def init(self, job: Job) -> Done | None:
        """Start a worker that has loaded the function."""
        function = self.host.site.functions[job.action.function]
        try:
            self._container = await self.host.env.container(function, function.storage_bytes)
        except ContainerFailed as failed:
            return Done.failed(DEVELOPER_ERROR, bad_init(str(failed)))
        return None

    async def run(self, job: Job) -> Done:
        """Run it; its output is the result if it is a JSON object, else the result's ``payload``."""
        assert self._container is not None
        ran = await self._container.run(job.text, job.limit_s)
        if not ran.error:
            done = judged(_object(ran.output))
            done.size = len(ran.output)
            return done
        self.dead = ran.error != "exception"
        return _broken(ran, job) or Done.failed(DEVELOPER_ERROR, f"An error has occurred: {ran.detail}")

    async def close(self) -> None:
        """End the worker."""
        await super().close()
        if self._container is not None:
            await self._container.close()


class WorkerBox(Box):
    """Code that came over the interface, in a worker of its own."""

    _files: ClassVar[dict[str, str]] = {"python": "python_action.py", "nodejs": "node_action.py"}
    _container: Container | None = None

    async def start(self) -> Done | None:
        """Start a worker without an action."""
        own = family(self.kind)
        memory = self.memory_mb * MB + (NODE_BYTES if own == "nodejs" else 0)
        function = Function(name=f"{own}-{self.memory_mb}", code=str(_BOOT / self._files[own]), memory_bytes=memory,
                            time_limit_s=START_S)  # fmt: skip
        try:
            self._container = await self.host.env.container(function, STORAGE_BYTES)
        except ContainerFailed as failed:
            return Done.failed(INTERNAL_ERROR, str(failed))
        self.started = True
        return None

    async def init(self, job: Job) -> Done | None:
        """Load the action's code."""
        code = job.action.code
        order = {"do": "init", "id": self._id(job), "code": code.code, "binary": code.binary,
                 "main": code.main or "main", "memory": self.memory_mb}  # fmt: skip
        done, reply = await self._ask(order, job, [], init=True)
        if done is None and "error" in reply:
            done = Done.failed(DEVELOPER_ERROR, bad_init(reply["error"]))
        return done

    async def run(self, job: Job) -> Done:
        """Run the action. A worker that has forgotten it, as the twin's may, is told it again."""
        logs: list[str] = []
        order = {"do": "run", "id": self._id(job), "args": job.args, "env": _surroundings(job, self.host)}
        done, reply = await self._ask(order, job, logs)
        if done is None and "lost" in reply:
            done = await self.init(job)
            if done is None:
                done, reply = await self._ask(order, job, logs)
        if done is None:
            done = judged(reply["result"]) if "result" in reply else Done.failed(DEVELOPER_ERROR, reply["error"])
        done.logs = logs
        return done

    def _id(self, job: Job) -> str:
        return f"{job.action.key}#{self.host.site.node}.{self.number}"

    async def _ask(
        self, order: dict[str, Any], job: Job, logs: list[str], *, init: bool = False
    ) -> tuple[Done | None, dict[str, Any]]:
        """A reply that is one, or what went wrong."""
        assert self._container is not None
        room = job.action.limits.logs_mb * MB

        async def answer(text: str) -> str:
            nonlocal room
            if room >= 0:
                stream, line = json.loads(text)
                room -= len(line)
                logs.append(f"{self.host.stamp()} {stream}: {line}" if room >= 0 else _cut(job))
            return ""

        ran = await self._container.run(json.dumps(order), job.limit_s, answer)
        if ran.error:
            self.dead = True
            return _broken(ran, job, init=init) or Done.failed(INTERNAL_ERROR, ran.detail), {}
        reply: dict[str, Any] = json.loads(ran.output)
        if "fault" in reply:
            self.dead = True
            return Done.failed(INTERNAL_ERROR, reply["fault"]), {}
        if len(ran.output) > job.result_bytes + 64:
            return Done.failed(DEVELOPER_ERROR, too_long(len(ran.output), job.result_bytes)), {}
        return None, reply

    async def close(self) -> None:
        """End the worker."""
        await super().close()
        if self._container is not None:
            await self._container.close()


def _broken(ran: FunctionResult, job: Job, *, init: bool = False) -> Done | None:
    """What the end of a worker means; None if it has not ended."""
    if ran.error == "timeout":
        return overdue(job, init=init)
    if ran.error == "memory":
        return Done.failed(DEVELOPER_ERROR, NO_MEMORY)
    if ran.error == "crash":
        return Done.failed(DEVELOPER_ERROR, ABNORMAL_INIT if init else ABNORMAL_RUN)
    if ran.error == "storage":
        return Done.failed(DEVELOPER_ERROR, f"The action's storage is full: {ran.detail}")
    return None


def _cut(job: Job) -> str:
    most = job.action.limits.logs_mb * MB
    return f"Logs were truncated because the total bytes size exceeds the limit of {most} bytes."


def _object(output: str) -> Any:
    try:
        found = json.loads(output) if output[:1] == "{" else None
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"payload": output}


def _surroundings(job: Job, host: Host) -> dict[str, str]:
    deadline = round((host.env.wall() + job.limit_s) * 1000)
    return {
        "__OW_ACTION_NAME": "/" + job.action.name.path, "__OW_NAMESPACE": job.action.name.namespace,
        "__OW_ACTION_VERSION": job.action.version, "__OW_ACTIVATION_ID": job.id, "__OW_DEADLINE": str(deadline),
    }  # fmt: skip
