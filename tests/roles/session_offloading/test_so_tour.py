"""The tour with curl in the README prints what the README says, on the network that it names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from so_emulated import emulated
from so_tour import played, script, tour

from testbed.places import home

sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
from in_arena import passes

TOUR = home() / "experiments" / "session-offloading" / "tour.yaml"


@pytest.mark.feature("netns")
@pytest.mark.feature("relay")
def test_the_tour_prints_what_is_shown() -> None:
    def work() -> None:
        with emulated(path=TOUR) as tree:
            status, said = tree.ask(["sh", "-c", script(tour())])
            assert status == 0, said
            assert list(map(str, played(tour(), said))) == list(map(str, tour()))

    passes(work)


def test_the_tour_calls_every_command_of_the_draft() -> None:
    text = script(tour())
    drafted = ["set-offload-status", "force-offload", "force-onload", "offload-session", "onload-session",
               "update-session", "migrate-session", "register-receive-propagate", "receive-propagate", "test-function"]
    assert [name for name in drafted if f"command={name}" not in text] == []
