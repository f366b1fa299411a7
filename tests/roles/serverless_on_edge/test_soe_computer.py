"""The computer as callers see it: times, loads, refusals, real functions, the utilisation stream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from soe_world import World

from roles.serverless_on_edge.computer import Computer
from roles.serverless_on_edge.computer_options import ComputerOptions
from roles.serverless_on_edge.computer_spec import read_computer
from roles.serverless_on_edge.messages import OK, STREAM_UTIL, Dag, LambdaRequest, State, Void
from testbed.deploy.spec import rendered
from testbed.places import home
from testbed.roles.api import Function, FunctionResult
from testbed.roles.discover import templates
from testbed.roles.modelled import stating

ONE_SECOND = {"f": Function(name="f", operations=1e9, concurrency=10)}


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [(1, 10, [2000, 2000]), (2, 10, [1000, 1000]), (1, 1, [1000, 2000]), (2, 1, [1000, 2000])],
)
def test_processing_time_includes_sharing_and_waiting(cores: int, workers: int, expected: list[int]) -> None:
    world = World(functions={"f": Function(name="f", operations=1e9, concurrency=workers)})

    async def story() -> list[int]:
        computer = await world.start("computer", "h2", conf={"cores": cores, "speed": 1e9})
        replies = await asyncio.gather(*(computer.run_lambda(LambdaRequest("f")) for _ in range(2)))
        return [reply.ptime for reply in replies]

    assert world.run(story()) == expected


def test_a_single_task_takes_its_operations_by_the_speed() -> None:
    world = World(functions=ONE_SECOND)

    async def story() -> None:
        computer = await world.start("computer", "h2")
        before = computer.env.now()
        reply = await computer.run_lambda(LambdaRequest("f", "x"))
        assert (reply.retcode, reply.ptime, reply.output, reply.hops) == (OK, 1000, "x", 1)
        assert computer.env.now() - before == pytest.approx(1.0), "the answer is as late as it says"

    world.run(story())


def test_an_input_may_state_how_long_it_takes_unless_strictly_as_the_original() -> None:
    world = World(functions=ONE_SECOND)

    async def story() -> None:
        computer = await world.start("computer", "h2")
        stated = stating("x", 0.25)
        assert (await computer.run_lambda(LambdaRequest("f", stated, dry=True))).ptime == 250
        assert [(await computer.run_lambda(LambdaRequest("f", each))).ptime for each in (stated, "x")] == [250, 1000]
        strict = await world.start("computer", "h3", strict_original=True)
        assert (await strict.run_lambda(LambdaRequest("f", stated))).ptime == 1000

    world.run(story())


def test_times_are_told_to_the_microsecond_unless_strictly_as_the_original() -> None:
    world = World(functions={"f": Function(name="f", service_s=0.000_3)})

    async def story() -> None:
        computer = await world.start("computer", "h2", conf="cores=1")
        both = await asyncio.gather(*(computer.run_lambda(LambdaRequest("f")) for _ in range(2)))
        assert [(each.ptime, each.queue_us, each.init_us, each.exec_us) for each in both] == [
            (0, 0, 0, 300), (1, 300, 0, 300)]  # fmt: skip
        strict = await world.start("computer", "h3", strict_original=True)
        reply = await strict.run_lambda(LambdaRequest("f"))
        assert (reply.queue_us, reply.init_us, reply.exec_us) == (0, 0, 0)

    world.run(story())


def test_loads_and_stream_tell_that_a_core_was_busy_half_of_the_time() -> None:
    world = World(functions={"f": Function(name="f", service_s=0.5)})

    async def story() -> tuple[list[float], Any]:
        computer = await world.start("computer", "h2", conf="cores=1")
        seen = []

        async def watch() -> None:
            async for utilization in computer.env.stream("10.0.0.2:20000", STREAM_UTIL, Void()):
                seen.append(utilization.values["cpu"])

        computer.env.spawn(watch())
        await computer.env.sleep(0.1)
        for _ in range(12):
            reply = await computer.run_lambda(LambdaRequest("f"))
            await computer.env.sleep(0.5)
        return seen, reply

    seen, reply = world.run(story())
    assert len(seen) == 12 and seen == pytest.approx([0.5] * len(seen))
    assert (reply.load1, reply.load10, reply.load30) == (50, 50, 50)


def test_without_a_utilisation_endpoint_loads_are_zero() -> None:
    world = World(functions={"f": Function(name="f", service_s=0.9)})

    async def story() -> None:
        computer = await world.start("computer", "h2", conf="cores=1", utilization_endpoint="")
        for _ in range(5):
            reply = await computer.run_lambda(LambdaRequest("f"))
        assert (reply.load1, reply.load10, reply.load30) == (0, 0, 0)
        assert "10.0.0.2:20000" not in world.services

    world.run(story())
    assert world.rows["soe_utilization"] == []


def test_dry_tells_what_a_call_would_take_and_executes_nothing() -> None:
    world = World(functions=ONE_SECOND)

    async def story() -> None:
        computer = await world.start("computer", "h2")
        before = computer.env.now()
        reply = await computer.run_lambda(LambdaRequest("f", "x", dry=True))
        assert (reply.retcode, reply.ptime, reply.output) == (OK, 1000, "") and computer.env.now() == before

    world.run(story())
    assert world.rows["soe_executions"] == []


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (LambdaRequest("g"), "unknown lambda 'g'"),
        (LambdaRequest("f", callback="10.0.0.1:6480"), "asynchronous"),
        (LambdaRequest("f", chain=("f", "g")), "chain"),
        (LambdaRequest("f", dag=Dag(names=("f", "g"))), "chain"),
        (LambdaRequest("huge"), "memory"),
    ],
)
def test_what_a_computer_cannot_do_is_an_error_with_a_reason(request_: LambdaRequest, says: str) -> None:
    functions = ONE_SECOND | {"huge": Function(name="huge", operations=1, memory_bytes=10**12)}
    world = World(functions=functions)

    async def story() -> None:
        computer = await world.start("computer", "h2")
        reply = await computer.run_lambda(request_)
        assert says in reply.retcode and reply.hops == 1

    world.run(story())


def test_states_come_back_as_they_were_sent() -> None:
    world = World(functions=ONE_SECOND)

    async def story() -> None:
        computer = await world.start("computer", "h2")
        states = {"s": State("s", content=b"\x00\x01")}
        assert (await computer.run_lambda(LambdaRequest("f", states=states))).states == states

    world.run(story())


def test_calls_beyond_the_threads_wait_outside() -> None:
    world = World(functions=ONE_SECOND)

    async def story() -> list[int]:
        computer = await world.start("computer", "h2", num_threads=2, conf="cores=4")
        replies = await asyncio.gather(*(computer.run_lambda(LambdaRequest("f")) for _ in range(4)))
        assert computer.env.now() == pytest.approx(102.0)
        return [reply.ptime for reply in replies]

    assert world.run(story()) == [1000] * 4


def real(world: World, seconds: float, concurrency: int = 1) -> None:
    world.functions["r"] = Function(name="r", code="/r.py", concurrency=concurrency)

    async def sleeps(payload: str) -> FunctionResult:
        await asyncio.sleep(seconds)
        if payload == "late":
            return FunctionResult("", "timeout", "the time limit of 1 s is over")
        return FunctionResult(payload[::-1], init_s=0.0, exec_s=seconds)

    world.code["r"] = sleeps


def test_real_functions_queue_for_their_workers() -> None:
    world = World()
    real(world, 0.2, concurrency=2)

    async def story() -> None:
        computer = await world.start("computer", "h2")
        replies = await asyncio.gather(*(computer.run_lambda(LambdaRequest("r", "ab")) for _ in range(4)))
        assert [(each.output, each.ptime) for each in replies] == [("ba", 200)] * 2 + [("ba", 400)] * 2
        assert (await computer.run_lambda(LambdaRequest("r", dry=True))).ptime == 200, "as the last ones did"

    world.run(story())
    assert [round(float(str(row["queue_s"])), 3) for row in world.rows["soe_executions"]] == [0, 0, 0.2, 0.2]


def test_a_real_function_that_fails_is_an_error_with_its_reason() -> None:
    world = World()
    real(world, 0.1)

    async def story() -> None:
        computer = await world.start("computer", "h2")
        late = await computer.run_lambda(LambdaRequest("r", "late"))
        assert late.retcode == "timeout: the time limit of 1 s is over"
        assert (await computer.run_lambda(LambdaRequest("r", "abc"))).output == "cba"

    world.run(story())


def test_real_functions_count_in_the_utilisation() -> None:
    world = World()
    real(world, 0.5, concurrency=2)

    async def story() -> None:
        computer = await world.start("computer", "h2")
        for _ in range(4):
            await computer.run_lambda(LambdaRequest("r"))
        assert (await computer.run_lambda(LambdaRequest("r"))).load1 == 50, "one of two workers"

    world.run(story())
    assert {row["processor"] for row in world.rows["soe_utilization"]} == {"cpu", "functions"}


def test_a_computer_announces_simulated_and_real_functions() -> None:
    world = World(functions=ONE_SECOND)
    real(world, 0.1, concurrency=3)

    async def story() -> None:
        computer = await world.start("computer", "h2")
        offers = [(each.function, each.processor, each.num_workers) for each in computer.information().containers]
        assert offers == [("f", "cpu", 10), ("r", "functions", 3)]

    world.run(story())


def test_an_answer_whose_caller_has_gone_disturbs_nobody() -> None:
    world = World(functions=ONE_SECOND)

    async def story() -> None:
        computer = await world.start("computer", "h2", conf="cores=1")
        gone = asyncio.ensure_future(computer.run_lambda(LambdaRequest("f")))
        await computer.env.sleep(0.5)
        gone.cancel()
        assert (await computer.run_lambda(LambdaRequest("f"))).ptime == 1500, "its work goes on"

    world.run(story())


@pytest.mark.parametrize(
    ("conf", "names"),
    [
        ("type=raspberry,num-cpu-containers=2,num-gpu-containers=1", ["clambda0", "clambda1", "glambda0"]),
        ("type=intel-server,num-containers=1", ["clambda0"]),
        ({"type": "functions"}, ["f"]),
    ],
)
def test_the_file_of_a_computer_describes_it_in_the_originals_format(conf: Any, names: list[str]) -> None:
    site = World(functions=ONE_SECOND).site("h2", "computer")
    parameters = ComputerOptions.model_validate({"conf": conf})
    text = rendered(Computer, templates("serverless_on_edge", home()), site, parameters)["computer.json"]
    assert [container.function.name for container in read_computer(text).containers] == names
    assert read_computer(text) == parameters.computer(site)
    inline = ComputerOptions.model_validate({"conf": {"type": "inline", **json.loads(text)}})
    assert inline.computer(site) == read_computer(text)
    assert ComputerOptions.model_validate(inline.model_dump(by_alias=True, mode="json")) == inline


def test_a_computer_can_be_read_from_a_file(tmp_path: Any) -> None:
    site = World(functions=ONE_SECOND).site("h2", "computer")
    spec = ComputerOptions.model_validate({"conf": "type=raspberry"}).computer(site)
    (tmp_path / "pi.json").write_text(json.dumps(spec.document()))
    assert ComputerOptions.model_validate({"conf": f"type=file,path={tmp_path}/pi.json"}).computer(site) == spec
