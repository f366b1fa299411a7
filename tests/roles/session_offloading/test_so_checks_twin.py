"""The checks of the reference in the twin."""

from __future__ import annotations

import pytest
from so_checks import CHECKS, Check
from so_world import Tree


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_locations_do_what_the_draft_says(check: Check) -> None:
    async def story(tree: Tree) -> None:
        await check(tree.checked())

    Tree().run(story)
