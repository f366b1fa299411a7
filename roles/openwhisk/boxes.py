"""The containers that actions run in: real workers for code, a model for modelled functions.

    started (its container is made) -> holds an action (it is initialised) -> runs it, again and again
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from roles.openwhisk.activation import (
    DEVELOPER_ERROR,
    Done,
    timed_out,
)
from roles.openwhisk.entities import Action
from roles.openwhisk.options import MB, PoolOptions
from testbed.roles.api import Environment, Site
from testbed.roles.processor import Processor


@dataclass(slots=True, eq=False)
class Job:
    """An invocation on its way into a container; ``told``, if any, is called once, with how it went."""

    id: str
    action: Action
    args: dict[str, Any]
    arrived: float
    told: Callable[[Done], None] | None = None
    result_bytes: int = MB

    @property
    def limit_s(self) -> float:
        """How long it may take."""
        return self.action.limits.timeout_ms / 1000

    @property
    def text(self) -> str:
        """The arguments as an experiment's function gets them: ``payload`` alone if it is a text, else all as JSON."""
        payload = self.args.get("payload")
        return payload if isinstance(payload, str) else json.dumps(self.args)


class Box(ABC):
    """A container. ``failed`` outcomes leave it dead: it is closed and not used again."""

    def __init__(self, host: Host, kind: str, memory_mb: int) -> None:
        self.host, self.kind, self.memory_mb = host, kind, memory_mb
        self.number = next(host.numbers)
        self.started = self.dead = False
        self.key = ""  # of the action that it holds

    async def start(self) -> Done | None:
        """Make the container; what went wrong, if anything."""
        self.started = True
        return None

    @abstractmethod
    async def init(self, job: Job) -> Done | None:
        """Load the job's action; what went wrong, if anything."""

    @abstractmethod
    async def run(self, job: Job) -> Done:
        """Carry out a job."""

    async def close(self) -> None:
        """End it."""
        self.dead = True


class Host:
    """What containers need of the node that they are on."""

    def __init__(self, env: Environment, site: Site, options: PoolOptions) -> None:
        self.env, self.site, self.options = env, site, options
        self.numbers = count(1)
        self.processor = Processor(env, site.cores)

    def stamp(self) -> str:
        """The moment, as logs have it."""
        moment = datetime.fromtimestamp(self.env.wall(), UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z"


def overdue(job: Job, *, init: bool = False) -> Done:
    """A job that took too long."""
    done = Done.failed(DEVELOPER_ERROR, timed_out(job.limit_s, init=init))
    done.timed_out = True
    return done
