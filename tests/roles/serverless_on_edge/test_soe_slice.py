"""One call from end to end, in virtual time."""
from __future__ import annotations

from soe_world import World

from testbed.roles.api import Function, Invocation, Outcome


def test_a_client_calls_a_function_through_a_router() -> None:
    world = World(functions={"f": Function(name="f", service_s=0.1)})
    world.place(controller="h0", router="h1", computer="h2", client="h3")

    async def story() -> Outcome:
        await world.start("controller", "h0")
        await world.start("router", "h1")
        await world.start("computer", "h2")
        client = await world.start("client", "h3")
        return await client.invoke(client.env, Invocation(0, 0.0, "h3", "f", "hello"), 10)

    outcome = world.run(story())
    assert (outcome.status, outcome.output, outcome.node, outcome.hops) == ("ok", "hello", "h2", 2)
    assert outcome.exec_s == 0.1
