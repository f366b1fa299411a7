"""The functions that come along, in the twin: what they answer, and that their sessions go with the user."""

from __future__ import annotations

import json
import runpy
from collections.abc import Awaitable, Callable
from typing import Any

from so_asking import Checked
from so_world import Tree

from roles.session_offloading.messages import SESSION
from testbed.places import home
from testbed.roles.web import WebReply, WebRequest, fields

FOLDER = home() / "experiments" / "session-offloading" / "functions"
FILES = {path.stem: runpy.run_path(str(path)) for path in sorted(FOLDER.glob("*.py"))}


class Asked(Checked):
    """Asks the functions that come along; redirects are followed."""

    async def ask(self, function: str, body: str = "", query: str = "", verb: str = "POST") -> WebReply:
        """The answer that there is in the end; it has to be a good one."""
        location, target = "p3", f"/function/{function}" + (f"?{query}" if query else "")
        request = WebRequest(verb, target, fields({SESSION: self.s}), body.encode())
        while (reply := await self._way.send(location, request)).status == 307:
            location = next(name for name in ("p1", "p2", "p3", "p4") if self.url(name) in reply.header("location"))
        return reply

    async def said(self, function: str, body: str = "", query: str = "") -> str:
        """The text of a good answer."""
        reply = await self.ask(function, body, query)
        assert reply.status == 200, reply.text
        return reply.text


def played(story: Callable[[Tree, Asked], Awaitable[None]]) -> None:
    """Play a story on a tree with these functions."""
    levels: dict[str, Any] = {"levels": ("cloud", "cloudlet", "edge")}
    options = {**levels, "functions": {"gather": {"receives": True}}}

    async def whole(tree: Tree) -> None:
        await story(tree, Asked(tree, "s"))

    Tree(options, more={name: each["code"] for name, each in FILES.items()}).run(whole)


def test_a_cart_goes_with_its_user() -> None:
    async def story(tree: Tree, c: Asked) -> None:
        assert json.loads(await c.said("cart", "apple\npear\napple")) == {"apple": 2, "pear": 1}
        await c.offload("p3")
        assert json.loads(await c.said("cart", "remove apple\nplum")) == {"pear": 1, "plum": 1}
        await c.onload("p3")
        assert json.loads(await c.said("cart")) == {"pear": 1, "plum": 1}
        assert json.loads(await c.said("cart", "checkout")) == {}
        assert tree.state() == {"p3": "p3*", "p2": "p3"}

    played(story)


def test_contents_are_kept_and_fetched_from_their_origin_once() -> None:
    async def story(tree: Tree, c: Asked) -> None:
        content = "frame " * 1000
        assert await c.said("upload", content, "name=film") == "film: 6000 bytes\n"
        assert await c.said("download", query="name=film") == content
        for times, (cache, least_s) in enumerate((("miss", 0.2), ("hit", 0.0))):
            begun = tree.env.now()
            reply = await c.ask("download", query="name=song&kb=100")
            assert (len(reply.text), reply.header("x-cache"), times) == (100_000, cache, times)
            assert least_s <= tree.env.now() - begun < least_s + 0.15
        assert (await c.ask("download", query="name=x&kb=many")).status == 400
        assert len((await c.ask("download", verb="GET")).text) == 64_000

    played(story)


def test_speech_takes_as_long_as_its_audio_and_is_written_down() -> None:
    async def story(tree: Tree, c: Asked) -> None:
        begun = tree.env.now()
        first = await c.said("transcribe", "a" * 176_400)  # a second of it
        assert abs(tree.env.now() - begun - 2.0) < 0.1
        assert len(first.split()) == 2
        await c.said("transcribe", "a" * 176_400)
        await c.offload("p3")
        assert len((await c.said("transcribe", "a" * 176_400)).split()) in (2, 3)
        history = await tree.location("p2").book.storage.get("s", "history")
        assert len((history or "").split()) == 7

    played(story)


def test_a_sensors_value_is_passed_up_when_it_has_changed() -> None:
    async def story(tree: Tree, c: Asked) -> None:
        for value, answer in (("21", "passed up"), ("21", "as before"), ("22", "passed up"), ("21", "passed up")):
            assert (await c.said("reduce", f"thermometer {value}")).startswith(answer)
        await c.said("reduce", "door open", "level=cloud")
        for location, known in (
            ("p1", {"door": "open"}),
            ("p2", {"thermometer": "21", "door": "open"}),
            ("p3", {"thermometer": "21", "door": "open"}),
            ("p4", {}),
        ):
            reply = await c.command(location, "receive-propagate", {"value": "", "function": "gather"})
            assert json.loads(reply.text) == known
        for wrong in ("", "thermometer", " "):
            assert (await c.ask("reduce", wrong)).status == 400

    played(story)
