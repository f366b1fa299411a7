"""Random worlds for the core: what may be configured, called and broken, and what must hold at every moment."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from scs_driver import MB, Code, World, failing, function

from roles.serverless_compute import events
from roles.serverless_compute.causes import FailureCause, FunctionError
from roles.serverless_compute.model import Image, NodeSpec, ServiceConfig
from roles.serverless_compute.policies import Copy, Dispatch, Load, Terminate
from roles.serverless_compute.state import Stage


@dataclass(frozen=True)
class Story:
    """A world with its calls and faults; all of it follows from ``seed``. ``rooms``: what nodes may have, in MB.

    ``at_head``, ``in_ram``: where all images are from the start.
    """

    seed: int
    scheduler: Any = "fcfs"
    faults: bool = True
    config: dict[str, Any] | None = None
    rooms: tuple[int, ...] = (300, 700, 10**6)
    at_head: bool = False
    in_ram: bool = False
    functions: int = 5

    def world(self) -> World:
        """The world, ready to run."""
        rng = random.Random(self.seed)
        nodes = tuple(NodeSpec(f"N{i}", rng.randint(0, 3), rng.choice(self.rooms) * MB, rng.choice(self.rooms) * MB)
                      for i in range(rng.randint(1, 4)))  # fmt: skip
        settings = {
            "head_bytes": rng.choice([250, 500, 10**6]) * MB, "cold_start_s": rng.choice([0.0, 0.5]),
            "hot_start_s": rng.choice([0.0, 0.1]), "idle_timeout_s": rng.choice([0.0, 3.0, 60.0]),
            "eviction": rng.choice(["lru", "ram"]), "head_full": rng.choice(["reject", "queue"]),
            "max_queue": rng.choice([None, None, 0, 3]), "evict_idle_for_images": rng.random() < 0.7,
            "timeout_scope": rng.choice(["code", "dispatch"]), "processing_s": rng.choice([0.0, 0.0, 0.2]),
        } | (self.config or {})  # fmt: skip
        world = World(ServiceConfig(nodes, **settings), self.scheduler, self.seed, look=hold)
        self._calls(world, rng)
        if self.faults:
            self._break(world, rng)
        return world

    def _calls(self, world: World, rng: random.Random) -> None:
        images = [Image(f"I{i}", rng.choice([0, 50, 200]) * MB, rng.choice([0, 50, 300]) * MB) for i in range(4)]
        for each in images:
            if self.at_head:
                world.preload(each)
            for node in world.config.nodes if self.in_ram else ():
                world.preload(each, node.name, True)
        names = []
        for number in range(self.functions):
            cause = rng.choice([None, None, failing("it is")])
            world.codes[f"f{number}"] = Code(rng.choice([0.0, 0.3, 2.0, 9.0]), cause)
            try:
                names.append(world.register(function(
                    f"f{number}", rng.choice(images), storage_bytes=rng.choice([0, 100, 400]) * MB,
                    memory_bytes=rng.choice([0, 100, 500]) * MB, time_limit_s=rng.choice([None, 0.2, 5.0]),
                )))  # fmt: skip
            except FailureCause:
                continue
        for _ in range(25 if names else 0):
            world.call(round(rng.uniform(0, 40), 1), rng.choice(names))

    def _break(self, world: World, rng: random.Random) -> None:
        for _ in range(rng.randint(0, 6)):
            when, node = round(rng.uniform(0, 45), 1), rng.choice(world.config.nodes).name
            kind = rng.randrange(6)
            if kind == 0:
                world.at(when, world.cut_wan)
            elif kind == 1:
                world.at(when, events.Cancel(rng.randint(1, 25)))
            elif kind == 2:
                world.at(when, events.ContainerFailed(rng.randint(1, 20), FunctionError("it died")))
            elif kind == 3:
                world.at(when, events.CopyDone(rng.randint(1, 20), FunctionError("lost")))
            elif kind == 4:
                world.at(when, events.LoadDone(rng.randint(1, 20), FunctionError("lost")))
            else:
                world.at(when, events.NodeDown(node))
                world.at(when + rng.choice([0.0, 1.0, 10.0]), events.NodeUp(node))


def hold(world: World) -> None:
    """What must be true after every event; all of it reckoned anew from the plain lists."""
    core = world.core
    bits: dict[tuple[str, int], int] = {}
    for node in core.cluster.nodes:
        images = sum(each.image.size_bytes for each in node.images.values())
        loaded = sum(each.image.ram_bytes for each in node.images.values() if each.stage >= Stage.LOADING)
        kept = [each.registration.function for each in node.containers.values()]
        assert node.free_disk == node.spec.disk_bytes - images - sum(each.storage_bytes for each in kept) >= 0
        assert node.free_ram == node.spec.memory_bytes - loaded - sum(each.memory_bytes for each in kept) >= 0
        busy = [each for each in node.containers.values() if each.call is not None]
        assert len(busy) <= node.spec.slots and node.free_slots == (node.spec.slots - len(busy) if node.up else 0)
        assert {each.id for each in node.idle_containers()} == {
            each.id for each in node.containers.values() if each.call is None}  # fmt: skip
        for entry in node.images.values():
            pins = Counter(each.call is not None for each in node.containers.values() if each.image is entry)
            assert (entry.busy, entry.idle) == (pins[True], pins[False])
            assert not pins or entry.stage is Stage.IN_RAM
            bits[entry.image.name, entry.stage] = bits.get((entry.image.name, entry.stage), 0) | node.bit
        for registration in core.registrations.values():
            assert bool(registration.idle & node.bit) == bool(node.idle.get(registration.name))
    for name in [f"I{i}" for i in range(4)]:
        assert list(core.cluster.at(name)) == [bits.get((name, stage), 0) for stage in Stage]
    _hold_head(world)


def _hold_head(world: World) -> None:
    core = world.core
    stored = sum(each.image.size_bytes for each in core.head.images.values())
    assert core.head.free == world.config.head_bytes - stored >= 0
    for name, entry in core.head.images.items():
        needing = [call for call in core.pending.calls.values() if call.registration.function.image.name == name]
        copying = [node for node in core.cluster.nodes
                   if name in node.images and node.images[name].stage is Stage.COPYING]  # fmt: skip
        assert entry.pins == len(needing) + len(entry.waiting) + len(copying)
    assert all(call.t_dispatch is None for call in core.pending.calls.values())
    assert core.waiting >= 0


def nonsense(seed: int) -> Any:
    """A user's policy that answers anything, sometimes something useful, and raises now and then."""
    rng = random.Random(seed)

    def one(pending: Any, view: Any) -> Any:
        node = rng.choice([*view.nodes, "N99", 3, None, ["N0"]])
        call = rng.choice([*(each.invocation for each in pending), 0, -1, "1", 2.5, True])
        some = rng.choice([*(each.image for each in pending), "none", None, 7])
        container = rng.choice([None, *range(1, 12), "x"])
        return rng.choice([Dispatch(call, node, container), Dispatch(call, node), Load(some, node), Copy(some, node),
                           Terminate(container), None, "dispatch", (1, 2), object])  # type: ignore[arg-type]  # fmt: skip

    def schedule(pending: Any, view: Any) -> Any:
        kind = rng.randrange(20)
        if kind == 0:
            raise RuntimeError("as you like it")
        if kind == 1:
            return rng.choice([None, 5, "text", {"a": 1}, object()])
        return [one(pending, view) for _ in range(rng.randint(0, 12))]

    return schedule
