"""The Python API: functions created, registered, invoked and waited for in a script, with exact dates."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roles.serverless_compute import causes
from roles.serverless_compute.manager import FunctionManager, Invocation, NotDone, ServerlessComputeService
from roles.serverless_compute.model import State
from testbed.errors import UsageError
from testbed.twin.stage import Stage

MB = 10**6
NETWORK = """
name: platform
nodes: {registry: {}, head: {kind: router}, n1: {}, n2: {}, user: {}}
links:
  - {name: wan, ends: [registry, head], rate: 100Mbit}
  - {ends: [head, n1], rate: 1Gbit}
  - {ends: [head, n2], rate: 1Gbit}
  - [user, head]
"""


class Made:
    """The platform of the reference, with one user."""

    def __init__(self, nodes: Any = ("n1", "n2"), **options: Any) -> None:
        given = {"slots": 2, "cold_start": "500ms", "idle_timeout": "60s", "disk_read": "100MB/s",
                 "disk_write": "100MB/s", **options}  # fmt: skip
        self.stage = Stage(NETWORK, system="serverless_compute")
        self.service = ServerlessComputeService(self.stage, "head", nodes, "registry", **given)
        self.manager = FunctionManager(self.stage, "user")

    async def function(self, code: Any = 1.0, name: str = "f", **limits: Any) -> Any:
        image = self.manager.create_image(f"{name}-image", 100 * MB)
        function = self.manager.create_function(name, code, image)
        await self.manager.register(function, [self.service], **limits)
        return function

    async def invoke(self, function: Any, payload: str = "") -> Invocation:
        return await self.manager.invoke(self.service, function, payload)


def dates(invocation: Invocation) -> tuple[Any, ...]:
    """Dispatch, start and end."""
    return tuple(pytest.approx(invocation.dates[each], abs=1e-6) for each in ("t_dispatch", "t_start", "t_end"))


def test_a_cold_call_and_a_hot_one() -> None:
    made = Made()

    async def story() -> None:
        function = await made.function(lambda ctx, payload: (ctx.sleep(1.0), payload.upper())[1])
        first = await made.invoke(function, "one")
        assert await made.manager.wait_one(first) is State.COMPLETED
        assert (first.get_output(), first.start_kind, first.node) == ("ONE", "cold", "n1")
        assert dates(first) == (10.0, 10.5, 11.5)
        await made.stage.sleep(20.0 - made.stage.now())
        second = await made.invoke(function, "two")
        assert await made.manager.wait_all([second]) == [State.COMPLETED]
        assert second.start_kind == "hot"
        assert dates(second) == (20.0, 20.0, 21.0)

    made.stage.run(story)


def test_waits_for_one_any_and_all_go_on_beside_each_other() -> None:
    """Check 18 and 18b: one machine of four slots, codes of 1, 2 and 3 s."""
    made = Made(nodes=["n1"], slots=4)
    stage, manager = made.stage, made.manager

    async def at(wait: Any) -> float:
        await wait
        return round(stage.now(), 6)

    async def story() -> None:
        function = await made.function(lambda ctx, payload: ctx.sleep(float(payload)))
        one, two, three = [await made.invoke(function, text) for text in ("1", "2", "3")]
        waits = [manager.wait_any([one, two, three]), manager.wait_all([one, two]), manager.wait_all([three])]
        assert await asyncio.gather(*map(at, waits)) == [11.5, 12.5, 13.5]
        assert await at(manager.wait_one(one)) == 13.5

    stage.run(story)


def test_wait_any_tells_who_is_done_and_who_is_not() -> None:
    made = Made(nodes=["n1"], slots=4)

    async def story() -> None:
        function = await made.function(lambda ctx, payload: ctx.sleep(float(payload)))
        slow, quick = await made.invoke(function, "9"), await made.invoke(function, "1")
        assert await made.manager.wait_any([slow, quick]) == ([quick], [slow])

    made.stage.run(story)


def test_a_wait_ends_at_its_time_limit_and_the_invocation_goes_on() -> None:
    made = Made()

    async def story() -> None:
        invocation = await made.invoke(await made.function())
        for wait in (made.manager.wait_one(invocation, 2.0), made.manager.wait_any([invocation], 2.0)):
            with pytest.raises(TimeoutError):
                await wait
        assert await made.manager.wait_one(invocation) is State.COMPLETED

    made.stage.run(story)


def test_output_and_end_are_not_to_be_had_before_the_end() -> None:
    made = Made()

    async def story() -> None:
        invocation = await made.invoke(await made.function())
        assert not invocation.is_done()
        assert not await invocation.is_running()
        for early in (invocation.get_output, invocation.succeeded):
            with pytest.raises(NotDone, match="wait_one"):
                early()
        await made.stage.sleep(11.0)
        assert await invocation.is_running()
        await made.manager.wait_one(invocation)
        assert invocation.is_done()
        assert invocation.succeeded()
        assert not await invocation.is_running()

    made.stage.run(story)


def test_a_function_that_raises_fails_with_its_cause() -> None:
    made = Made()

    def broken(ctx: Any, payload: str) -> str:
        ctx.sleep(0.3)
        raise LookupError("no such key")

    async def story() -> None:
        invocation = await made.invoke(await made.function(broken))
        assert await made.manager.wait_one(invocation) is State.FAILED
        assert dates(invocation) == (10.0, 10.5, 10.8)
        with pytest.raises(causes.FunctionError, match="no such key"):
            invocation.get_output()

    made.stage.run(story)


def test_a_time_limit_ends_the_code() -> None:
    made = Made()

    async def story() -> None:
        invocation = await made.invoke(await made.function(lambda ctx, payload: ctx.compute(50.0), time_limit=10.0))
        assert await made.manager.wait_one(invocation) is State.TIMED_OUT
        assert dates(invocation) == (10.0, 10.5, 20.5)
        assert isinstance(invocation.cause, causes.InvocationTimeout)

    made.stage.run(story)


def test_private_storage_is_limited_and_empty_at_the_next_call() -> None:
    """Check 22: 300 MB written twice."""
    made = Made()

    def writing(ctx: Any, payload: str) -> None:
        for name in payload.split():
            ctx.write(name, 300 * MB)

    async def story() -> None:
        function = await made.function(writing)
        greedy = await made.invoke(function, "a b")
        await made.manager.wait_one(greedy)
        assert dates(greedy) == (10.0, 10.5, 13.5)
        assert isinstance(greedy.cause, causes.EphemeralStorageFull)
        modest = await made.invoke(function, "a")
        assert await made.manager.wait_one(modest) is State.COMPLETED

    made.stage.run(story)


def test_what_is_not_registered_there_is_not_found() -> None:
    made = Made()

    async def story() -> None:
        image = made.manager.create_image("i", 1)
        function = made.manager.create_function("f", 1.0, image)
        with pytest.raises(causes.FunctionNotFound):
            await made.manager.invoke(made.service, function)

    made.stage.run(story)


def test_a_function_that_fits_no_machine_is_refused_and_the_rest_goes_on() -> None:
    made = Made(disk="611MB")

    async def story() -> None:
        with pytest.raises(causes.NotAllowed, match="disk"):
            await made.function()
        small = await made.function(name="small", ephemeral_storage=MB)
        assert await made.manager.wait_one(await made.invoke(small)) is State.COMPLETED

    made.stage.run(story)


def test_registered_twice_is_two_registrations_that_share_the_image() -> None:
    made = Made()

    async def story() -> None:
        function = await made.function()
        again = (await made.manager.register(function, [made.service]))[made.service]
        first = await made.invoke(function)
        await made.manager.wait_one(first)
        other = await made.manager.invoke(made.service, again)
        await made.manager.wait_one(other)
        assert (first.start_kind, other.start_kind) == ("cold", "warm_image")

    made.stage.run(story)


def test_one_function_at_two_services() -> None:
    stage = Stage("""
name: two services
nodes: {registry: {}, h1: {kind: router}, h2: {kind: router}, n1: {}, n2: {}, user: {}}
links: [[registry, h1], [h1, h2], [h1, n1], [h2, n2], [user, h1]]
""", system="serverless_compute")  # fmt: skip
    one = ServerlessComputeService(stage, "h1", ["n1"], "registry", slots=1)
    two = ServerlessComputeService(stage, "h2", ["n2"], "registry", slots=1, disk="100MB")
    manager = FunctionManager(stage, "user")

    async def story() -> None:
        image = manager.create_image("i", MB)
        function, large = manager.create_function("f", 1.0, image), manager.create_function("large", 1.0, image)
        assert list(await manager.register(function, [one, two], ephemeral_storage=MB)) == [one, two]
        assert list(await manager.register(large, [one, two])) == [one]  # the other's disk is too small
        invocations = [await manager.invoke(service, function) for service in (one, two)]
        assert await manager.wait_all(invocations) == [State.COMPLETED, State.COMPLETED]
        assert [each.node for each in invocations] == ["n1", "n2"]
        with pytest.raises(causes.FunctionNotFound):
            await manager.invoke(two, large)

    stage.run(story)


def test_a_service_that_is_gone_fails_what_it_had() -> None:
    made = Made()

    async def story() -> None:
        invocation = await made.invoke(await made.function(100.0))
        await made.stage.sleep(20.0)
        made.stage.world.kill("head", "head")
        assert await made.manager.wait_one(invocation) is State.FAILED
        assert isinstance(invocation.cause, causes.ServiceStopped)

    made.stage.run(story)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Made(slot=2), "Did you mean 'slots'"),
        (lambda: Made(nodes=[]), "at least one"),
        (lambda: Made(nodes=["n3"]), "no host 'n3'"),
        (lambda: Made(slots=-1), "greater than or equal to 1"),
        (lambda: Made(nodes={"n1": {"memmory": "1GB"}}), "memory"),
        (lambda: Made().manager.create_image("i", -1), "negative"),
    ],
)
def test_wrong_input_is_told(wrong: Any, said: str) -> None:
    with pytest.raises((causes.BadInput, UsageError, ValueError), match=said):
        wrong()


def test_names_stand_for_one_thing() -> None:
    manager = Made().manager
    image = manager.create_image("i", 1)
    manager.create_function("f", 1.0, image)
    with pytest.raises(causes.AlreadyRegistered):
        manager.create_image("i", 2)
    with pytest.raises(UsageError, match="another function"):
        manager.create_function("f", 2.0, image)


def test_jobs_are_not_implemented() -> None:
    with pytest.raises(NotImplementedError, match="FunctionManager"):
        Made().service.submit_standard_job()
