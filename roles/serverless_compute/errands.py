"""What the core wants done, carried out: transfers, runs, timers; each ends in an event for the core."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from roles.serverless_compute import causes, events, messages
from roles.serverless_compute.datasets import TRANSFERS
from roles.serverless_compute.events import Effect
from roles.serverless_compute.members import Member
from roles.serverless_compute.messages import Began, Done, Ended, Progress
from roles.serverless_compute.model import Image, State
from testbed.roles.api import CallFailed

if TYPE_CHECKING:
    from roles.serverless_compute.service import Service

ASK_TIMEOUT_S = 2.0
log = logging.getLogger(__name__)


class Errands:
    """The hands of a head. Without a registry, images come into being at the head when they are needed.

    Under way are the downloads in ``fetching``, the copies and loads in ``moving``, the invocations in ``running``.
    """

    def __init__(self, service: Service, registry: str | None) -> None:
        self._service, self._registry = service, registry
        self._env, self._members, self._options = service.env, service.members, service.options
        self._source = service.site.endpoint(service.site.node, service.options.files_port)
        self.fetching: list[str] = []
        self.moving: set[int] = set()
        self.running: dict[int, Member] = {}
        self._carriers: dict[type[Any], Callable[[Any], None]] = {
            events.Answer: service.answers.answered, events.Notify: self._notify, events.Run: self._run,
            events.ArmTimer: self._arm, events.StartFetch: self._fetch, events.StartCopy: self._copy,
            events.StartLoad: self._load, events.Terminate: self._terminate, events.Unload: self._unload,
            events.RemoveFromNode: self._remove_from_node, events.RemoveFromHead: self._remove_from_head,
            events.Note: self._note,
        }  # fmt: skip

    def carry_out(self, effects: Iterable[Effect]) -> None:
        """Begin all of this, in this order."""
        for effect in effects:
            self._carriers[type(effect)](effect)

    # ---- at the head

    def _notify(self, effect: events.Notify) -> None:
        self._service.answers.ended(effect.record)

    def _note(self, effect: events.Note) -> None:
        log.info("%s", effect.text)

    def _arm(self, effect: events.ArmTimer) -> None:
        self._env.spawn(self._ring(effect))

    async def _ring(self, effect: events.ArmTimer) -> None:
        await self._env.sleep(effect.at - self._env.now())
        self._service.happened(events.IdleTimer(effect.container))

    def _remove_from_head(self, effect: events.RemoveFromHead) -> None:
        self._service.files.remove(effect.image)

    def _fetch(self, effect: events.StartFetch) -> None:
        self.fetching.append(effect.image.name)
        self._env.spawn(self._fetched(effect.image))

    async def _fetched(self, image: Image) -> None:
        begun, cause, files = self._env.now(), None, self._service.files
        try:
            if self._registry is None:
                files.create(image.name, image.size_bytes)
            else:
                await files.fetch(self._registry, image.name, self._options.patience)
                if (size := files.sizes().get(image.name)) != image.size_bytes:
                    files.remove(image.name)
                    raise ValueError(f"the registry's image has {size} bytes instead of {image.size_bytes}")
        except (CallFailed, OSError, ValueError) as failure:
            cause = causes.ImageFetchFailed(f"{image.name}: {failure}")
        self.fetching.remove(image.name)
        self._moved(image.name, self._service.site.node, "fetch", image.size_bytes, begun, cause)
        self._service.happened(events.FetchDone(image.name, cause))

    def _moved(
        self, image: str, node: str, stage: str, size: int, begun: float, cause: causes.FailureCause | None
    ) -> None:
        self._env.emit(
            TRANSFERS.name,
            {
                "t": begun, "image": image, "node": node, "stage": stage, "size_bytes": size,
                "duration_s": self._env.now() - begun, "error": cause.detail if cause else "",
            },
        )  # fmt: skip

    # ---- at nodes

    def have(self, event: events.Preload) -> None:
        """An image is where the story begins with it."""
        image = event.image
        if event.node is None:
            self._service.files.create(image.name, image.size_bytes)
        elif (member := self._member(event.node)) is not None:
            order = messages.Keep(member.epoch, member.numbered(), image.name, image.size_bytes, member.take_room())
            self._env.spawn(self._ordered(member, messages.KEEP, order))

    async def _ordered(self, member: Member, method: Any, order: Any) -> None:
        await self._members.order(member, method, order)

    def _member(self, node: str) -> Member | None:
        """The node as a member; None if it is lost, of which the core is about to hear."""
        member = self._members.known.get(node)
        return member if member is not None and member.up else None

    def _terminate(self, effect: events.Terminate) -> None:
        self._members.make_room(effect.node, ("end", effect.container))

    def _remove_from_node(self, effect: events.RemoveFromNode) -> None:
        self._members.make_room(effect.node, ("remove", effect.image))

    def _unload(self, effect: events.Unload) -> None:
        self._members.make_room(effect.node, ("unload", effect.image))

    def _copy(self, effect: events.StartCopy) -> None:
        member, image = self._member(effect.node), effect.image
        if member is not None:
            order = messages.Copy(member.epoch, member.numbered(), image.name, self._source, self._options.patience,
                                  member.take_room())  # fmt: skip
            self.moving.add(effect.transfer)
            self._env.spawn(self._transferred(member, messages.COPY, order, image.size_bytes, effect.transfer))

    def _load(self, effect: events.StartLoad) -> None:
        member, image = self._member(effect.node), effect.image
        if member is not None:
            order = messages.Load(member.epoch, member.numbered(), image.name, member.take_room())
            self.moving.add(effect.transfer)
            self._env.spawn(self._transferred(member, messages.LOAD, order, image.ram_bytes, effect.transfer))

    async def _transferred(
        self, member: Member, method: Any, order: messages.Copy | messages.Load, size: int, transfer: int
    ) -> None:
        begun = self._env.now()
        try:
            reply: Done | None = await self._members.order(member, method, order)
        finally:
            self.moving.discard(transfer)
        if reply is None:
            return
        cause = causes.cause(reply.cause, reply.detail) if reply.cause else None
        copied = isinstance(order, messages.Copy)
        self._moved(order.image, member.spec.name, "copy" if copied else "load", size, begun, cause)
        self._service.happened(events.CopyDone(transfer, cause) if copied else events.LoadDone(transfer, cause))

    def _run(self, effect: events.Run) -> None:
        member = self._member(effect.node)
        if member is None:
            return
        function = self._service.functions[effect.registration]
        order = messages.Run(
            member.epoch, member.numbered(), effect.invocation, effect.container, function.code, effect.payload,
            effect.hot, effect.overhead_s, effect.limit_s, 0 if effect.hot else function.storage_bytes,
            0 if effect.hot else function.memory_bytes, member.take_room(),
        )  # fmt: skip
        self.running[effect.invocation] = member
        self._env.spawn(self._ran(member, order))

    async def _ran(self, member: Member, order: messages.Run) -> None:
        try:
            ended: Ended | None = await self._members.order(member, messages.RUN, order)
        finally:
            self.running.pop(order.invocation, None)
        if ended is None:
            return
        cause = causes.cause(ended.cause, ended.detail) if ended.cause else None
        if ended.t_start is None:
            cause = cause or causes.ContainerNotStarted("the node does not say why")
            self._service.happened(events.ContainerFailed(order.container, cause))
        else:
            done = events.ExecDone(order.invocation, ended.t_start, ended.t_end, ended.output, cause)
            self._service.happened(done)

    async def progress(self, invocation: int, state: State) -> Progress:
        """How an invocation under way stands; the node that runs it is asked whether its code has begun."""
        member = self.running.get(invocation)
        if member is None or state is not State.STARTING:
            return Progress(state.value, invocation, member.spec.name if member else "")
        try:
            began: Began = await self._env.call(
                member.endpoint, messages.ASK, messages.Ask(invocation), ASK_TIMEOUT_S
            )
        except CallFailed:
            began = Began()
        if began.t_start is None:
            return Progress(state.value, invocation, member.spec.name)
        self._service.happened(events.ExecStarted(invocation, began.t_start))
        return Progress(State.RUNNING.value, invocation, member.spec.name, t_start=began.t_start)
