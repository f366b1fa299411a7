"""The container pool of an invoker, after the original's.

A job gets a warm container of its action; else one that is prewarmed for its kind; else a new one, if its memory fits,
for which containers that are idle are removed, the longest idle first; else it waits, and all behind it. An
experiment's function that runs as often as it may at a time waits without holding up others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field

from roles.openwhisk.activation import INTERNAL_ERROR, Done
from roles.openwhisk.boxes import Box, Host, Job
from roles.openwhisk.entities import Action, family
from roles.openwhisk.errors import Refused
from roles.openwhisk.kinds import box as new_box
from roles.openwhisk.options import MB


@dataclass(slots=True, eq=False)
class _Group:
    """The containers of one revision of an action; ``limit`` is how many may run at a time."""

    key: str
    limit: int | None
    idle: list[Box] = field(default_factory=list)
    busy: int = 0
    waiting: deque[Job] = field(default_factory=deque)


class Pool:
    """Runs jobs in containers, none of which is ever without memory. ``used_mb`` never exceeds ``capacity_mb``."""

    def __init__(self, host: Host) -> None:
        self._host, self._env, self._options = host, host.env, host.options
        self.capacity_mb = host.site.memory_of(host.options.memory) // MB
        self.used_mb = self.running = self.waiting = 0
        self.boxes: set[Box] = set()
        self._queue: deque[Job] = deque()
        self._groups: dict[str, _Group] = {}
        self._idle: dict[Box, tuple[float, _Group]] = {}  # when each is removed, in this order
        self._stems: list[Box] = []
        self._starting: list[Box] = []
        self._reaping = False

    def start(self) -> None:
        """Begin to prewarm."""
        self._refill()

    def submit(self, job: Job) -> None:
        """Run a job when there is room; raises Refused (503) if too many wait."""
        if self.waiting >= self._options.most_waiting:
            raise Refused(503, f"The system is overloaded: {self.waiting} invocations wait for a container.")
        if job.action.limits.memory_mb > self.capacity_mb:
            why = f"The action needs {job.action.limits.memory_mb} MB; the invoker has {self.capacity_mb} MB."
            _tell(job, Done.failed(INTERNAL_ERROR, why))
            return
        self.waiting += 1
        self._queue.append(job)
        if len(self._queue) == 1:
            self._advance()

    def _advance(self) -> None:
        while self._queue and self._place(self._queue[0]):
            self._queue.popleft()

    def _group(self, action: Action) -> _Group:
        group = self._groups.get(action.key)
        if group is None:
            own = self._host.site.functions.get(action.function)
            group = self._groups[action.key] = _Group(action.key, own.concurrency if own is not None else None)
        return group

    def _place(self, job: Job) -> bool:
        """Put a job into a container, or where it waits for its action; False if it must wait for memory."""
        group = self._group(job.action)
        if group.limit is not None and group.busy >= group.limit:
            group.waiting.append(job)
            return True
        gone: list[Box] = []
        if group.idle:
            box = group.idle.pop()
            del self._idle[box]
        else:
            found = self._prewarmed(job.action) or self._made(job.action, gone)
            if found is None:
                return False
            box = found
        group.busy += 1
        self._env.spawn(self._serve(group, box, job, gone))
        return True

    def _prewarmed(self, action: Action) -> Box | None:
        for box in self._stems:
            if family(box.kind) == family(action.code.kind) and box.memory_mb >= action.limits.memory_mb:
                self._stems.remove(box)
                self._refill()
                return box
        return None

    def _made(self, action: Action, gone: list[Box]) -> Box | None:
        """A new container, if its memory fits once the idle ones in ``gone`` are removed."""
        need = action.limits.memory_mb
        reach = self.capacity_mb - self.used_mb + sum(each.memory_mb for each in self._idle)
        if need > reach:
            return None
        while self.used_mb + need > self.capacity_mb:
            oldest = next(iter(self._idle))
            self._unidle(oldest)
            self._forget(oldest)
            gone.append(oldest)
        return self._box(action.code.kind, need)

    def _box(self, kind: str, memory_mb: int) -> Box:
        box = new_box(self._host, kind, memory_mb)
        self.boxes.add(box)
        self.used_mb += memory_mb
        return box

    def _forget(self, box: Box) -> None:
        self.boxes.discard(box)
        self.used_mb -= box.memory_mb

    def _unidle(self, box: Box) -> None:
        _, group = self._idle.pop(box)
        group.idle.remove(box)
        self._tidy(group)

    def _tidy(self, group: _Group) -> None:
        if not (group.busy or group.idle or group.waiting):
            self._groups.pop(group.key, None)

    # In a container.

    async def _serve(self, group: _Group, box: Box, job: Job | None, gone: list[Box]) -> None:
        for each in gone:
            await each.close()
        while job is not None:
            self.waiting -= 1
            done = await self._carried(box, job)
            if box.dead:
                await box.close()
            _tell(job, done)
            job = group.waiting.popleft() if group.waiting and not box.dead else None
        self._leave(group, box)

    def at_once(self, job: Job) -> Awaitable[Done] | None:
        """How a job goes that can run this very moment, in a warm container; None if it cannot."""
        group = self._groups.get(job.action.key)
        if group is None or not group.idle or self._queue or (group.limit is not None and group.busy >= group.limit):
            return None
        box = group.idle.pop()
        del self._idle[box]
        group.busy += 1
        return self._alone(group, box, job)

    async def _alone(self, group: _Group, box: Box, job: Job) -> Done:
        done = await self._carried(box, job)
        if box.dead:
            await box.close()
        if group.waiting and not box.dead:
            self._env.spawn(self._serve(group, box, group.waiting.popleft(), []))
        else:
            self._leave(group, box)
        return done

    def _leave(self, group: _Group, box: Box) -> None:
        """A container has done its work."""
        group.busy -= 1
        if box.dead:
            self._forget(box)
            if group.waiting:
                self._queue.appendleft(group.waiting.popleft())
            self._tidy(group)
            self._refill()
        else:
            self._keep(box, group)
        if self._queue:
            self._advance()

    async def _carried(self, box: Box, job: Job) -> Done:
        """How a job went; whatever fails before the action runs leaves the container dead."""
        env, cold, init_s = self._env, not box.started, None
        self.running += 1
        failed = await box.start() if cold else None
        ready = env.now()
        if failed is None and not box.key:
            failed = await box.init(job)
            init_s = env.now() - ready
            box.key = job.action.key
        if failed is None:
            done = await box.run(job)
            box.dead = box.dead or done.timed_out
        else:
            done, box.dead = failed, True
        done.began, done.ended, done.init_s, done.cold = ready, env.now(), init_s, init_s is not None
        self.running -= 1
        return done

    # Idle ones.

    def _keep(self, box: Box, group: _Group) -> None:
        group.idle.append(box)
        self._idle[box] = (self._env.now() + self._options.keep_alive, group)
        if not self._reaping:
            self._reaping = True
            self._env.spawn(self._reap())

    async def _reap(self) -> None:
        """Remove containers that have been idle for too long: none is before that time is over."""
        await self._env.sleep(self._options.keep_alive)
        while self._idle:
            box, (due, _) = next(iter(self._idle.items()))
            if due > self._env.now():
                await self._env.sleep(due - self._env.now())
                continue
            self._unidle(box)
            await box.close()
            self._forget(box)
            self._refill()
            self._advance()
        self._reaping = False

    def _refill(self) -> None:
        """Start as many prewarmed containers as are missing and fit."""
        for each in self._options.prewarm:
            memory_mb = each.memory // MB
            fitting = [box for box in (*self._stems, *self._starting)
                       if box.kind == each.kind and box.memory_mb == memory_mb]  # fmt: skip
            for _ in range(each.count - len(fitting)):
                if self.used_mb + memory_mb <= self.capacity_mb:
                    box = self._box(each.kind, memory_mb)
                    self._starting.append(box)
                    self._env.spawn(self._stem(box))

    async def _stem(self, box: Box) -> None:
        failed = await box.start()
        self._starting.remove(box)
        if failed is None:
            self._stems.append(box)
        else:
            self._forget(box)
        self._advance()


def _tell(job: Job, done: Done) -> None:
    if job.told is not None:
        job.told(done)
