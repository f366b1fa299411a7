"""Sessions move up and down the tree, in the twin."""

from __future__ import annotations

from so_world import Tree


def test_a_session_goes_up_two_levels_and_comes_back_with_its_data() -> None:
    async def story(tree: Tree) -> None:
        c = tree.checked()
        await c.note("p3", ["set", "k", "v"], ["add_to_list", "l", "a"])
        assert tree.state() == {"p3": "p3*"}
        for move, location, expected in [
            (c.offload, "p3", {"p2": "p2*", "p3": "p2"}),
            (c.offload, "p2", {"p1": "p1*", "p2": "p3", "p3": "p1"}),
            (c.onload, "p2", {"p1": "p3", "p2": "p2*", "p3": "p2"}),
            (c.onload, "p3", {"p1": "p3", "p2": "p3", "p3": "p3*"}),
        ]:
            await move(location)
            assert tree.state() == expected
        assert await c.note("p3", ["get", "k"], ["get_list", "l"]) == ["v", ["a"]]

    Tree().run(story)
