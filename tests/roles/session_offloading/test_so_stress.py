"""Check 31 in emulation: sessions move at random, links go down, agents are killed; no append is lost or doubled."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from so_emulated import Emulated, emulated

sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
from in_arena import passes

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("relay")]
LINKS = ("p1-p2", "p2-p3", "p2-p4")
LOCATION = "settings.session_offloading.location"
SETS = (
    "functions.append={code: so_append.py, concurrency: 4}",
    f"{LOCATION}.request_ids=true", f"{LOCATION}.call_timeout=4s", f"{LOCATION}.offer=2s",
)  # fmt: skip


def strike(tree: Emulated, rng: Random, until: float) -> list[str]:
    """Cut links and kill agents, one after the other, each for a while; all is well again when this returns."""
    done = []
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.2, 1.0))
        if rng.random() < 0.5:
            link = rng.choice(LINKS)
            tree.network.connect(link, False)
            time.sleep(rng.uniform(0.2, 1.5))
            tree.network.connect(link, True)
            done.append(link)
        else:
            node = rng.choice(("p1", "p2", "p3", "p4"))
            tree.fleet.kill(node, "location")
            time.sleep(rng.uniform(0.0, 0.5))
            tree.fleet.restart(node, "location")
            tree.fleet.wait_ready(60.0)
            done.append(node)
    return done


def stress(seed: int, rounds: int, storm_s: float) -> None:
    """50 sessions, 20 appends of each in flight."""

    def work() -> None:
        with emulated(*SETS) as tree, ThreadPoolExecutor(1) as beside:
            wish = {"addresses": tree.addresses, "sessions": 50, "together": 20, "rounds": rounds, "storm_s": storm_s,
                    "seed": seed}  # fmt: skip
            program = Path(__file__).with_name("so_stress.py")
            asked = beside.submit(tree.ask, [sys.executable, str(program), json.dumps(wish)], storm_s + 300)
            done = strike(tree, Random(seed), time.monotonic() + storm_s)
            status, said = asked.result()
            print(seed, done, said)
            assert status == 0, said
            told = json.loads(said.splitlines()[0])
            moves = sum(count for what, count in told["moves"].items() if what.startswith("force") and "200" in what)
            assert told["answers"]["200"] >= 50 * 20 * rounds * 0.9 and moves > 10, told
            assert len(done) > 3, done

    passes(work)


def test_no_acknowledged_append_is_lost_or_doubled_in_a_storm() -> None:
    stress(1, 2, 15.0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 7))
def test_none_is_in_long_storms(seed: int) -> None:
    stress(seed, 10, 90.0)
