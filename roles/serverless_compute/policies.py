"""The scheduling policies by name, and the user's own.

``fcfs`` packs calls on the first nodes, ``random`` spreads them by chance, ``balancing`` shares slots by work.
"""

from __future__ import annotations

import random

from roles.serverless_compute.balancing import WorkloadBalancing as WorkloadBalancing
from roles.serverless_compute.causes import BadInput
from roles.serverless_compute.decisions import Copy as Copy
from roles.serverless_compute.decisions import Dispatch as Dispatch
from roles.serverless_compute.decisions import Load as Load
from roles.serverless_compute.decisions import Policy
from roles.serverless_compute.decisions import Terminate as Terminate
from roles.serverless_compute.placing import FirstComeFirstServed as FirstComeFirstServed
from roles.serverless_compute.placing import Random as Random
from roles.serverless_compute.views import Schedule
from roles.serverless_compute.views import UserPolicy as UserPolicy

NAMES = ("fcfs", "random", "balancing")


def policy(scheduler: str | Schedule, rng: random.Random) -> Policy:
    """A fresh policy by name, or around a user's function; only ``random`` draws. Raises causes.BadInput."""
    if callable(scheduler):
        return UserPolicy(scheduler)
    match scheduler:
        case "fcfs":
            return FirstComeFirstServed()
        case "random":
            return Random(rng)
        case "balancing":
            return WorkloadBalancing()
    raise BadInput(f"There is no scheduler {scheduler!r}. Give one of {', '.join(NAMES)}, or a function.")
