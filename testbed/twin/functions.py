"""Functions in the twin: user code really runs, in a process of its own, and its time is reckoned.

What a function asks of its ``ctx`` (compute, sleep, read, write) takes the time that it says; its plain Python takes
the time that a calibration measured, or none. Python callables of a script run in the script's own process.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import seeds
from testbed.roles.answers import AtOnce
from testbed.roles.api import Answer, Function, FunctionResult
from testbed.roles.processor import Processor
from testbed.roles.reckon import Reckoned, Reckoner
from testbed.roles.worker_context import Reckoning, TimeIsUp
from testbed.roles.worker_main import text_of
from testbed.roles.worker_storage import Storage
from testbed.roles.workers import function_seed

if TYPE_CHECKING:
    from testbed.twin.agent import Agent
    from testbed.twin.world import World

Code = Callable[[Any, str], object]
ENDING = ("timeout", "memory", "crash")  # what a worker does not survive


class Codes:
    """The code of all functions of a world. ``given`` are callables by function name; the rest are files."""

    def __init__(self, given: Mapping[str, Code] | None = None) -> None:
        self.given = dict(given or {})
        self._reckoner: Reckoner | None = None

    def run(self, function: Function, payload: str, answer: Answer | None = None, **how: Any) -> Reckoned:
        """Run a function once; see :meth:`testbed.roles.reckon.Reckoner.run`.

        Raises RuntimeError if ``answer`` waited for something, which is an error of the role that gave it.
        """
        answers = None if answer is None else AtOnce(answer)
        reckoned = self._run(function, payload, answers, **how)
        if answers is not None and answers.fault is not None:
            raise answers.fault
        return reckoned

    def _run(self, function: Function, payload: str, answers: AtOnce | None, **how: Any) -> Reckoned:
        code = self.given.get(function.name)
        if code is not None:
            return called(code, function, payload, answers, **how)
        if self._reckoner is None:
            self._reckoner = Reckoner()
        return self._reckoner.run(function, payload, **how, answers=answers)

    def close(self) -> None:
        """End the processes."""
        if self._reckoner is not None:
            self._reckoner.close()
            self._reckoner = None


def called(
    code: Code,
    function: Function,
    payload: str,
    answers: AtOnce | None = None,
    *,
    seed: int,
    number: int,
    node: str,
    **how: Any,
) -> Reckoned:
    """Call a script's own function as a worker would; its output may be any object, and errors are told, not raised.

    ``how`` has time_limit (seconds), storage_bytes, read_rate and write_rate (bytes per second), all may be None.
    """
    request = {"invocation": number, "seed": function_seed(seed, node, function.name, number), **how}
    if request["time_limit"] is not None and request["time_limit"] <= 0:
        request["time_limit"] = None
    with tempfile.TemporaryDirectory(prefix="testbed-") as folder:
        storage = Storage(Path(folder), request["storage_bytes"], emptied=False, mount=False)
        context = Reckoning({"function": function.name, "node": node}, request, storage, answers)
        error: BaseException | None = None
        result = FunctionResult("")
        try:
            result = FunctionResult(text_of(code(context, payload)))
        except (TimeIsUp, Exception) as raised:  # noqa: BLE001 - told as the failure of the invocation
            error, result = raised, FunctionResult("", "exception", f"{type(raised).__name__}: {raised}")
        if context.over:
            limit = float(request["time_limit"])
            return Reckoned(FunctionResult("", "timeout", f"no result within {limit:g} s"), limit)
        if why := storage.excess(error):
            result = FunctionResult("", "storage", why)
        return Reckoned(result, context.spent_s, tuple(context.steps))


class Functions:
    """The functions of one agent: as many workers of each as it allows, warm after their first call."""

    def __init__(self, world: World, agent: Agent) -> None:
        self._world, self._agent = world, agent
        self._pools: dict[str, _Pool] = {}
        self._turn = asyncio.Semaphore(world.options.cores) if world.options.cores else nullcontext()
        self._rng = seeds.stream(agent.site.seed, agent.node, agent.role_name, "functions")

    async def run(
        self, function: Function, payload: str, answer: Answer | None = None, workers: int | None = None
    ) -> FunctionResult:
        """Run ``function`` once, when a worker of it is free; ``answer`` gets what it asks as it begins."""
        pool = self._pools.setdefault(function.name, _Pool(workers or function.concurrency))
        async with pool.free:
            init_s = 0.0
            if pool.idle:
                pool.idle -= 1
            else:
                init_s = await self.started(function)
            result = await self.carry(function, payload, init_s, function.time_limit_s, None, None, None, answer)
            pool.idle += result.error not in ENDING
            return result

    async def started(self, function: Function) -> float:
        """Start a worker; how long that took."""
        spread = self._world.calibration.init_s.get(function.name)
        init_s = spread.draw(self._rng) if spread is not None else 0.0
        await self._world.loop.sleep(init_s)
        return init_s

    async def carry(
        self,
        function: Function,
        payload: str,
        init_s: float,
        limit: float | None,
        storage_bytes: int | None,
        write_rate: float | None,
        read_rate: float | None,
        answer: Answer | None = None,
    ) -> FunctionResult:
        """Run ``function`` in a worker that has been started, which took ``init_s``."""
        number = self._agent.count(function.name)
        reckoned = self._world.codes.run(
            function, payload, answer, seed=self._agent.site.seed, number=number, node=self._agent.node,
            time_limit=limit, storage_bytes=storage_bytes, read_rate=read_rate, write_rate=write_rate,
        )  # fmt: skip
        spread = self._world.calibration.exec_s.get(function.name)
        python_s = spread.draw(self._rng) if spread is not None else 0.0
        result = reckoned.result
        async with self._turn:
            spent = await self._pass(reckoned, python_s, limit if limit and limit > 0 else None)
        if spent is None and result.error != "timeout":
            result = FunctionResult("", "timeout", f"no result within {limit:g} s; its worker was killed")
        spent = limit or 0.0 if spent is None else spent
        return FunctionResult(result.output, result.error, result.detail, init_s, spent)

    async def _pass(self, reckoned: Reckoned, python_s: float, limit: float | None) -> float | None:
        """Let the time pass that a call takes; how long it took, or None if it was not over within ``limit``.

        What it computes shares the cores that the node may have; what it waits for does not.
        """
        loop, whole = self._world.loop, reckoned.spent_s + python_s
        self._agent.busy_s += min(whole, limit) if limit else whole
        if self._agent.site.cores is None:
            is_over = limit is None or whole <= limit
            await loop.sleep(whole if limit is None or is_over else limit)
            return whole if is_over else None
        begun = loop.now
        computed_s = sum(amount for kind, amount in reckoned.steps if kind == "compute") + python_s
        is_over = await self._processor.work(computed_s, limit)
        left = None if limit is None else begun + limit - loop.now
        rest = max(0.0, whole - computed_s)
        await loop.sleep(rest if left is None else max(0.0, min(rest, left)))
        return loop.now - begun if is_over and (left is None or rest <= left) else None

    @cached_property
    def _processor(self) -> Processor:
        return Processor(self._agent.env, self._agent.site.cores)

    async def container(
        self, function: Function, storage_bytes: int, write_rate: float | None, read_rate: float | None
    ) -> TwinContainer:
        """A worker of ``function`` that its owner keeps."""
        init_s = await self.started(function)
        return TwinContainer(self, function, storage_bytes, write_rate, read_rate, init_s)

    def close(self) -> None:
        """Nothing is left of an agent that died."""
        self._pools.clear()


class _Pool:
    def __init__(self, concurrency: int) -> None:
        self.free, self.idle = asyncio.Semaphore(concurrency), 0


class TwinContainer:
    """See :class:`testbed.roles.resources.Container`."""

    def __init__(
        self,
        functions: Functions,
        function: Function,
        storage_bytes: int,
        write_rate: float | None,
        read_rate: float | None,
        init_s: float,
    ) -> None:
        self._functions, self._function = functions, function
        self._init_s: float | None = init_s  # None: its worker has ended and another is started
        self._storage_bytes, self._rates = storage_bytes, (write_rate, read_rate)

    async def run(self, payload: str, time_limit: float | None, answer: Answer | None = None) -> FunctionResult:
        """Run the function once; its private folder is empty before and after."""
        init_s = self._init_s if self._init_s is not None else await self._functions.started(self._function)
        self._init_s = 0.0
        result = await self._functions.carry(
            self._function, payload, init_s, time_limit, self._storage_bytes, *self._rates, answer
        )
        if result.error in ENDING:
            self._init_s = None
        return result

    async def close(self) -> None:
        """Nothing to end: the worker is a number."""
