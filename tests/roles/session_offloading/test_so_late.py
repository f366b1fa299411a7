"""What comes late, of a move that is over, changes nothing."""

from __future__ import annotations

from so_world import Tree

from roles.session_offloading.giving import CONFIRM
from roles.session_offloading.messages import MOVE


def test_a_late_confirmation_of_an_earlier_move_between_the_same_two_loses_nothing() -> None:
    async def story(tree: Tree) -> None:
        c = tree.checked()
        await c.note("p3", ["set", "k", "v"])
        await c.offload("p3")
        await c.offload("p2")
        await c.onload("p2")
        record = tree.record("p2")
        assert record is not None
        await c.offload("p2")
        # p1 has the session again; copies of what p2 sent for the move before come late, as networks may have it.
        asked = await c.command("p1", "migrate-session", session=c.s, headers={MOVE: "p2"})
        assert asked.status == 200
        late = {MOVE: "p2", CONFIRM: str(record.version)}
        await c.command("p1", "migrate-session", session=c.s, headers=late)
        assert (await c.followed("p3", ["get", "k"]))[1].text == '["v"]'
        assert tree.state() == {"p1": "p1*", "p2": "p3", "p3": "p1"}

    Tree().run(story)
