"""The checks of the reference in emulation: namespaces, shaped links, agents, real functions, real HTTP."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from so_emulated import emulated

sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
from in_arena import passes

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("relay")]


@pytest.mark.parametrize("storage", ["embedded", pytest.param("redis", marks=pytest.mark.feature("redis-server"))])
def test_locations_do_what_the_draft_says_over_real_http(storage: str) -> None:
    def work() -> None:
        with emulated(f"settings.session_offloading.location.storage={storage}") as tree:
            status, said = tree.check()
            assert status == 0, said

    passes(work)
