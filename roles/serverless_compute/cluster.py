"""The compute nodes: what is reserved on them, which images are how far, and how room is made.

Every change is booked here at once and said in an effect; reservations are made when a transfer or a container starts.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from roles.serverless_compute.causes import BadInput
from roles.serverless_compute.events import ArmTimer, RemoveFromNode, StartCopy, StartLoad, Terminate, Unload
from roles.serverless_compute.eviction import DropFromRam, End, Evict, Victim, plan
from roles.serverless_compute.model import FunctionSpec, Image
from roles.serverless_compute.state import Call, Container, Node, NodeImage, Shared, Stage

REST_S = 1.0  # a transfer that failed is not tried again for this long
SERVICE = 0  # in the place of a container in a timer: the service itself


class Cluster:
    """All nodes. ``changed`` gathers those where anything changed, until whoever follows them empties it.

    ``transfers`` are the copies and loads under way, by number.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        specs = shared.config.nodes
        self.nodes = tuple(Node(spec, index, 1 << index) for index, spec in enumerate(specs))
        self.by_name = {node.spec.name: node for node in self.nodes}
        self.containers: dict[int, Container] = {}
        self.changed: dict[int, Node] = {}
        self.up = 0
        self.busy = 0  # containers at work
        self._at: dict[str, list[int]] = {}  # for each image, the nodes of each stage, in bits
        self.transfers: dict[int, tuple[Node, NodeImage]] = {}
        self._resting: dict[int, Node] = {}
        self._numbers = 0
        for node in self.nodes:
            node.clear()
            self.rise(node)

    def at(self, image: str) -> list[int]:
        """For each Stage, the nodes where the image has come exactly so far, in bits."""
        found = self._at.get(image)
        if found is None:
            found = self._at[image] = [0, 0, 0, 0]
        return found

    def fits(self, function: FunctionSpec) -> tuple[int, str]:
        """The nodes that can run the function when they are empty, in bits; and what is short if there are none."""
        disk = function.image.size_bytes + function.storage_bytes
        ram = function.image.ram_bytes + function.memory_bytes
        on_disk = sum(node.bit for node in self.nodes if node.spec.disk_bytes >= disk)
        in_ram = sum(node.bit for node in self.nodes if node.spec.memory_bytes >= ram)
        slots = sum(node.bit for node in self.nodes if node.spec.slots)
        short = "disk" if not on_disk else "ram" if not in_ram else "slots" if not slots else "disk and ram together"
        return on_disk & in_ram & slots, short

    # ---- images

    def copy(self, image: Image, node: Node, keep: Collection[str]) -> str:
        """Begin to copy an image to a node's disk; returns why not, or nothing."""
        if image.name in node.images:
            return "it is there or on its way"
        if refusal := self._rests(image.name, node):
            return refusal
        if not self._make_room(node, image.size_bytes, 0, keep, self._shared.config.evict_idle_for_images):
            return f"{image.size_bytes} bytes of its disk cannot be freed now"
        node.free_disk -= image.size_bytes
        entry = node.images[image.name] = NodeImage(image, Stage.COPYING, self._shared.use())
        self._moved(node, entry, Stage.COPYING)
        self._shared.out.append(StartCopy(self._transfer(node, entry), image, node.spec.name))
        return ""

    def load(self, image: Image, node: Node, keep: Collection[str]) -> str:
        """Begin to load an image into a node's memory; returns why not, or nothing."""
        entry = node.images.get(image.name)
        if entry is None or entry.stage is not Stage.ON_DISK:
            return "it is not on disk there" if entry is None else f"it is {entry.stage.name.lower()} there"
        if refusal := self._rests(image.name, node):
            return refusal
        keep = {*keep, image.name}
        if not self._make_room(node, 0, image.ram_bytes, keep, self._shared.config.evict_idle_for_images):
            return f"{image.ram_bytes} bytes of its memory cannot be freed now"
        node.free_ram -= image.ram_bytes
        entry.used = self._shared.use()
        self._moved(node, entry, Stage.LOADING)
        self._shared.out.append(StartLoad(self._transfer(node, entry), image, node.spec.name))
        return ""

    def preload(self, image: Image, node: Node, in_ram: bool) -> None:
        """The image is on the node already; raises BadInput if it does not fit."""
        if node.images.get(image.name) is not None:
            raise BadInput(f"The image {image.name!r} is on node {node.spec.name!r} already.")
        if node.free_disk < image.size_bytes or (in_ram and node.free_ram < image.ram_bytes):
            raise BadInput(f"The image {image.name!r} does not fit node {node.spec.name!r}.")
        node.free_disk -= image.size_bytes
        node.free_ram -= image.ram_bytes if in_ram else 0
        entry = node.images[image.name] = NodeImage(image, Stage.COPYING, self._shared.use())
        entry.in_ram_since = -inf
        self._moved(node, entry, Stage.IN_RAM if in_ram else Stage.ON_DISK)

    def transferred(self, transfer: int, failed: bool) -> tuple[Image, bool] | None:
        """A transfer ended; returns its image and whether it was a load, or None if it was given up meanwhile."""
        node, entry = self.transfers.pop(transfer, (None, None))
        if node is None or entry is None:
            return None
        loading = entry.stage is Stage.LOADING
        if not failed:
            entry.in_ram_since = self._shared.now
            self._moved(node, entry, Stage.IN_RAM if loading else Stage.ON_DISK)
            return entry.image, loading
        if loading:
            node.free_ram += entry.image.ram_bytes
            self._moved(node, entry, Stage.ON_DISK)
        else:
            self._forget(node, entry)
        node.resting[entry.image.name] = self._shared.now + REST_S
        self._resting[node.index] = node
        self._shared.out.append(ArmTimer(SERVICE, self._shared.now + REST_S))
        return entry.image, loading

    def wake(self) -> None:
        """The service's timer fired: transfers that failed may be tried again."""
        self.changed.update(self._resting)
        self._resting = {index: node for index, node in self._resting.items()
                         if any(until > self._shared.now for until in node.resting.values())}  # fmt: skip

    def _rests(self, image: str, node: Node) -> str:
        until = node.resting.get(image, 0.0)
        if until > self._shared.now:
            return f"a transfer of it there failed; not before {until:g} s"
        node.resting.pop(image, None)
        return ""

    def _transfer(self, node: Node, entry: NodeImage) -> int:
        self._numbers += 1
        entry.transfer = self._numbers
        self.transfers[self._numbers] = (node, entry)
        return self._numbers

    def _moved(self, node: Node, entry: NodeImage, stage: Stage) -> None:
        """Book the new stage of an image; its old one may be the same."""
        bits = self.at(entry.image.name)
        bits[entry.stage] &= ~node.bit
        bits[stage] |= node.bit
        entry.stage = stage
        self.changed[node.index] = node

    def _forget(self, node: Node, entry: NodeImage) -> None:
        del node.images[entry.image.name]
        self.at(entry.image.name)[entry.stage] &= ~node.bit
        node.free_disk += entry.image.size_bytes
        self.changed[node.index] = node

    # ---- containers

    def spawn(self, call: Call, node: Node, keep: Collection[str]) -> Container | None:
        """A new container for a call on a node that has its image in memory; None if there is no room."""
        function = call.registration.function
        entry = node.images[function.image.name]
        if not self._make_room(node, function.storage_bytes, function.memory_bytes, {*keep, function.image.name}, True):
            return None
        node.free_disk -= function.storage_bytes
        node.free_ram -= function.memory_bytes
        self._numbers += 1
        container = Container(self._numbers, node, call.registration, entry)
        node.containers[container.id] = self.containers[container.id] = container
        self._occupy(container, call)
        return container

    def reuse(self, container: Container, call: Call) -> None:
        """Take an idle container for a call."""
        node, registration = container.node, container.registration
        kept = node.idle[registration.name]
        del kept[container.id]
        if not kept:
            registration.idle &= ~node.bit
        container.image.idle -= 1
        self._occupy(container, call)

    def _occupy(self, container: Container, call: Call) -> None:
        container.call = call
        container.image.busy += 1
        container.image.used = self._shared.use()
        container.node.free_slots -= 1
        self.busy += 1
        self.changed[container.node.index] = container.node

    def release(self, container: Container) -> None:
        """The container's call ended: keep it idle, or end it where no idle time is allowed."""
        node, registration = container.node, container.registration
        container.call = None
        container.image.busy -= 1
        self.busy -= 1
        container.image.idle += 1
        container.image.used = self._shared.use()
        container.idle_since = self._shared.now
        node.free_slots += 1
        self.changed[node.index] = node
        node.idle.setdefault(registration.name, {})[container.id] = container
        registration.idle |= node.bit
        timeout = self._shared.config.idle_timeout_s
        if timeout <= 0:
            self.end(container)
        elif not container.armed and timeout != inf:
            self._arm(container)

    def timer(self, container: Container) -> None:
        """A container's timer fired: end it if it has been idle for long enough, else wait on if it is idle."""
        container.armed = False
        if container.call is not None:
            return
        if container.idle_since + self._shared.config.idle_timeout_s <= self._shared.now:
            self.end(container)
        else:
            self._arm(container)

    def _arm(self, container: Container) -> None:
        container.armed = True
        at = container.idle_since + self._shared.config.idle_timeout_s
        self._shared.out.append(ArmTimer(container.id, at))

    def end(self, container: Container, said: bool = True) -> None:
        """End a container, busy or idle, and free what it holds; ``said``: by an effect."""
        node, function = container.node, container.registration.function
        if container.call is None:
            kept = node.idle[container.registration.name]
            del kept[container.id]
            if not kept:
                container.registration.idle &= ~node.bit
            container.image.idle -= 1
        else:
            container.image.busy -= 1
            self.busy -= 1
            node.free_slots += 1
            container.call = None
        del node.containers[container.id], self.containers[container.id]
        node.free_disk += function.storage_bytes
        node.free_ram += function.memory_bytes
        self.changed[node.index] = node
        if said:
            self._shared.out.append(Terminate(container.id, node.spec.name))

    # ---- room, loss and return

    def _make_room(self, node: Node, disk: float, ram: float, keep: Collection[str], idle_too: bool) -> bool:
        if node.free_disk >= disk and node.free_ram >= ram:
            return True
        victims = plan(node, disk, ram, keep, self._shared.config.eviction, idle_too)
        for victim in victims or ():
            self._evict(node, victim)
        return victims is not None

    def _evict(self, node: Node, victim: Victim) -> None:
        match victim:
            case End(container):
                self.end(container)
            case DropFromRam(entry):
                node.free_ram += entry.image.ram_bytes
                self._moved(node, entry, Stage.ON_DISK)
                self._shared.out.append(Unload(entry.image.name, node.spec.name))
            case Evict(entry):
                node.free_ram += entry.image.ram_bytes if entry.stage is Stage.IN_RAM else 0
                self._forget(node, entry)
                self._shared.out.append(RemoveFromNode(entry.image.name, node.spec.name))

    def fall(self, node: Node) -> tuple[list[Call], list[str]]:
        """The node is lost: the calls that ran there, and the images that were being copied to it."""
        calls = [each.call for each in node.containers.values() if each.call is not None]
        copied = [each.image.name for each in node.images.values() if each.stage is Stage.COPYING]
        for container in list(node.containers.values()):
            self.end(container, said=False)
        for entry in list(node.images.values()):
            self.transfers.pop(entry.transfer, None)
            self._forget(node, entry)
        node.clear()
        node.up, node.free_slots = False, 0
        self.up &= ~node.bit
        self.changed[node.index] = node
        return calls, copied

    def rise(self, node: Node) -> None:
        """The node is there, empty."""
        node.clear()
        node.up = True
        self.up |= node.bit
        self.changed[node.index] = node
