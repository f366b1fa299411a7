"""Sessions move up and down the tree, in the twin."""

from __future__ import annotations

from so_world import Tree


def test_a_session_goes_up_two_levels_and_comes_back_with_its_data() -> None:
    async def story(tree: Tree) -> None:
        await tree.values("p3", ["set", "k", "v"], ["add_to_list", "l", "a"])
        assert tree.state() == {"p3": "p3*"}
        for mover, command, expected in [
            ("p3", "force-offload", {"p2": "p2*", "p3": "p2"}),
            ("p2", "force-offload", {"p1": "p1*", "p2": "p3", "p3": "p1"}),
            ("p2", "force-onload", {"p1": "p3", "p2": "p2*", "p3": "p2"}),
            ("p3", "force-onload", {"p1": "p3", "p2": "p3", "p3": "p3*"}),
        ]:
            reply = await tree.command(mover, command)
            assert (reply.status, tree.state()) == (200, expected), reply.text
        assert await tree.values("p3", ["get", "k"], ["get_list", "l"]) == ["v", ["a"]]

    Tree().run(story)


def test_who_asks_elsewhere_is_sent_to_where_the_session_is_with_path_and_query_kept() -> None:
    async def story(tree: Tree) -> None:
        await tree.values("p3", ["set", "k", "v"])
        await tree.command("p3", "force-offload")
        reply = await tree.call("p3", ["get", "k"], query="a=1&b=%20")
        assert (reply.status, reply.header("location")) == (307, "http://10.0.0.2:31112/function/note?a=1&b=%20")

    Tree().run(story)
