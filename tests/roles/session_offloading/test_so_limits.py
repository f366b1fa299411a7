"""Limits of hosts hold for what locations do, too."""

from __future__ import annotations

import pytest
from so_world import TREE, Tree


@pytest.mark.parametrize(("cpu", "seconds"), [("", 0.2), ("cpu: 0.5", 0.4), ("cpu: 2", 0.2)])
def test_modelled_work_takes_longer_on_a_host_with_less_of_a_core(cpu: str, seconds: float) -> None:
    async def story(tree: Tree) -> float:
        reply = await tree.checked().call("p3", function="heavy")
        return float(reply.header("x-exec-s"))

    text = TREE.replace("p3: *r", f"p3: {{kind: router, {cpu}}}")
    assert Tree(text=text).run(story) == pytest.approx(seconds)
