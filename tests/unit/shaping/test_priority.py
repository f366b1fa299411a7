"""Precedence is asked for, and given up while there is more to do than can be done."""

from __future__ import annotations

import os
import subprocess
import sys

from testbed.places import home

LIVES = """
import os
from testbed.shaping.priority import Precedence

granted = Precedence(100.0)
seen = [os.sched_getscheduler(0)]
# the first review comes too early; then no rest, a little, much, less but enough
for now, rested in [(100.01, 0.0), (100.03, 0.0), (100.06, 0.004), (100.09, 0.024), (100.12, 0.03)]:
    granted.rested_s = rested
    granted.review(now)
    seen.append(os.sched_getscheduler(0))
print(granted.granted)
print(*seen)
"""


def life() -> tuple[str, list[int]]:
    """What a process was granted, and its scheduling class at the start and after each review."""
    done = subprocess.run([sys.executable, "-c", LIVES], cwd=home(), capture_output=True, text=True, check=True)
    granted, seen = done.stdout.splitlines()
    return granted, [int(each) for each in seen.split()]


def test_a_real_time_class_is_given_up_while_busy_and_taken_back_after_a_rest() -> None:
    granted, seen = life()
    if granted.startswith("SCHED_FIFO"):
        real_time, ordinary = os.SCHED_FIFO, os.SCHED_OTHER
        assert seen == [real_time, real_time, ordinary, ordinary, real_time, real_time]
    else:  # an ordinary user, or root where no real-time class is given out
        assert granted.startswith(("normal", "nice"))
        assert set(seen) == {os.SCHED_OTHER}
