"""The core that decides: events in, effects out; no clock, no socket, no randomness of its own.

``Core.handle`` books what an event tells, then holds a scheduling round and lets in calls that wait for room at the
head, which is looked at again right after dispatches, since these free images there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from roles.serverless_compute import causes, events
from roles.serverless_compute.check import refusal_of_config, refusal_of_function, too_large, too_large_for_head
from roles.serverless_compute.cluster import SERVICE, Cluster
from roles.serverless_compute.decisions import Pending, Policy
from roles.serverless_compute.events import Answer, Effect, Event, Note, Notify
from roles.serverless_compute.head import Head
from roles.serverless_compute.model import FunctionSpec, Image, ServiceConfig, State
from roles.serverless_compute.rounds import Rounds
from roles.serverless_compute.state import Call, Node, Registration, Shared


class Core:
    """One ServerlessComputeService. Raises causes.BadInput for a configuration that makes no sense.

    ``calls`` are the accepted ones that have not ended, ``accepted`` is the number of the last one.
    """

    def __init__(self, config: ServiceConfig, policy: Policy) -> None:
        if refusal := refusal_of_config(config):
            raise refusal
        self.config = config
        self.registrations: dict[str, Registration] = {}
        self.stopped = False
        self.shared = Shared(config)
        self.cluster = Cluster(self.shared)
        self.head = Head(self.shared)
        self.pending = Pending()
        self._rounds = Rounds(self.shared, policy, self.cluster, self.head, self.pending)
        self._functions: dict[str, FunctionSpec] = {}
        self._images: dict[str, Image] = {}
        self.calls: dict[int, Call] = {}
        self.accepted = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.Register: self._register, events.Preload: self._preload, events.Invoke: self._invoke,
            events.Cancel: self._cancel, events.FetchDone: self._fetch_done, events.CopyDone: self._transfer_done,
            events.LoadDone: self._transfer_done, events.ExecStarted: self._exec_started,
            events.ExecDone: self._exec_done, events.ContainerFailed: self._container_failed,
            events.IdleTimer: self._idle_timer, events.NodeDown: self._node_down, events.NodeUp: self._node_up,
            events.Stop: self._stop,
        }  # fmt: skip

    def handle(self, event: Event, now: float) -> list[Effect]:
        """What to do about ``event`` at the moment ``now``, in this order."""
        out: list[Effect] = []
        self.shared.out = out
        self.shared.now = max(now, self.shared.now)
        self._handlers[type(event)](event)
        return out

    def state(self, invocation: int) -> State | None:
        """Where an accepted invocation is; None once it has ended (its Notify has told how) or if there is none."""
        call = self.calls.get(invocation)
        return call.state if call else None

    @property
    def waiting(self) -> int:
        """Accepted calls that have no slot yet."""
        return len(self.calls) - self.cluster.busy

    # ---- requests

    def _register(self, event: events.Register) -> None:
        function = event.function
        refusal = causes.ServiceStopped("The service has stopped.") if self.stopped else refusal_of_function(
            function, self._functions, self._images)  # fmt: skip
        fits, short = (0, "") if refusal else self.cluster.fits(function)
        if refusal is None and not fits:
            refusal = too_large(function, short)
        if refusal is None and function.image.size_bytes > self.config.head_bytes:
            refusal = too_large_for_head(function.image, self.config.head_bytes)
        if refusal is not None:
            self.shared.out.append(Answer(event.request, cause=refusal))
            return
        self._functions[function.name] = function
        self._images[function.image.name] = function.image
        name = f"{function.name}#{len(self.registrations) + 1}"
        self.registrations[name] = Registration(name, function, fits)
        self.shared.out.append(Answer(event.request, registration=name))

    def _preload(self, event: events.Preload) -> None:
        known = self._images.setdefault(event.image.name, event.image)
        if known != event.image:
            raise causes.BadInput(f"The image {event.image.name!r} was given with two sizes.")
        if event.node is None:
            self.head.preload(event.image)
        elif event.node in self.cluster.by_name:
            self.cluster.preload(event.image, self.cluster.by_name[event.node], event.in_ram)
        else:
            raise causes.BadInput(f"The image {event.image.name!r} is preloaded on {event.node!r}, which is no node.")

    def _invoke(self, event: events.Invoke) -> None:
        registration = self.registrations.get(event.registration)
        if self.stopped or registration is None:
            refusal = causes.ServiceStopped("The service has stopped.") if self.stopped else causes.FunctionNotFound(
                f"Nothing is registered here as {event.registration!r}.")  # fmt: skip
            self.shared.out.append(Answer(event.request, cause=refusal))
            return
        call = Call(self.accepted + 1, registration, event.payload, self.shared.now)
        if not self.head.admit(call):
            if self.config.head_full == "reject":
                image = registration.function.image
                self.shared.out.append(Answer(event.request, cause=causes.CannotAdmitNow(
                    f"The head has no room for the image {image.name!r} ({image.size_bytes} bytes) now.")))  # fmt: skip
                return
            self.head.new.append(call)
        self.accepted += 1
        self.calls[call.id] = call
        place = len(self.shared.out)
        if call.state is State.SCHEDULABLE:
            self.pending.add(call)
            self._settle()
        most = self.config.max_queue
        if most is not None and call.t_dispatch is None and self.waiting > most:
            self._drop(call)
            call.state = State.CANCELLED
            answer = Answer(event.request, cause=causes.CannotAdmitNow(f"{most} calls wait already, the most allowed."))
        else:
            answer = Answer(event.request, invocation=call.id)
        self.shared.out.insert(place, answer)

    def _cancel(self, event: events.Cancel) -> None:
        call = self.calls.get(event.invocation)
        if call is None:
            return
        self._give_up(call, State.CANCELLED, causes.Cancelled("Called off by its client."))
        self._settle()

    # ---- transfers

    def _fetch_done(self, event: events.FetchDone) -> None:
        calls = self.head.fetched(event.image, event.cause is not None)
        if event.cause is None:
            for call in calls:
                self.pending.add(call)
        else:
            cause = event.cause
            if not isinstance(cause, causes.ImageFetchFailed):
                cause = causes.ImageFetchFailed(f"{event.image}: {cause.code}: {cause.detail}")
            for call in calls:
                self._finish(call, State.FAILED, self.shared.now, None, cause)
        self._settle()

    def _transfer_done(self, event: events.CopyDone | events.LoadDone) -> None:
        ended = self.cluster.transferred(event.transfer, event.cause is not None)
        if ended is None:
            return
        image, loading = ended
        if not loading:
            self.head.unpin(image.name)
        if event.cause is None:
            self._settle()
        else:  # no round: the same transfer would only fail again at once
            self.shared.out.append(Note(f"A transfer of the image {image.name!r} failed: {event.cause.detail}"))
            self._admit()

    # ---- executions

    def _exec_started(self, event: events.ExecStarted) -> None:
        call = self.calls.get(event.invocation)
        if call is not None and call.state is State.STARTING and call.t_dispatch is not None:
            call.state, call.t_start = State.RUNNING, max(event.t_start, call.t_dispatch)

    def _exec_done(self, event: events.ExecDone) -> None:
        call = self.calls.get(event.invocation)
        if call is None or call.container is None or call.t_dispatch is None:
            return
        call.t_start = max(event.t_start, call.t_dispatch)
        cause = event.cause
        state = (State.COMPLETED if cause is None else
                 State.TIMED_OUT if isinstance(cause, causes.InvocationTimeout) else State.FAILED)  # fmt: skip
        self.cluster.release(call.container)
        self._finish(call, state, max(event.t_end, call.t_start), event.output if cause is None else None, cause)
        self._settle()

    def _container_failed(self, event: events.ContainerFailed) -> None:
        container = self.cluster.containers.get(event.container)
        if container is None:
            return
        call = container.call
        self.cluster.end(container, said=False)
        if call is not None:
            self._finish(call, State.FAILED, self.shared.now, None, event.cause)
        self._settle()

    def _idle_timer(self, event: events.IdleTimer) -> None:
        if event.container == SERVICE:
            self.cluster.wake()
        else:
            container = self.cluster.containers.get(event.container)
            if container is None:
                return
            self.cluster.timer(container)
        self._settle()

    # ---- loss, return and end

    def _node_down(self, event: events.NodeDown) -> None:
        node = self._node(event.node)
        if node is None or not node.up:
            return
        calls, copied = self.cluster.fall(node)
        for image in copied:
            self.head.unpin(image)
        for call in calls:
            cause = causes.NodeLost(f"The node {event.node!r} was lost while the invocation ran there.")
            self._finish(call, State.FAILED, self.shared.now, None, cause)
        self._settle()

    def _node_up(self, event: events.NodeUp) -> None:
        node = self._node(event.node)
        if node is not None and not node.up:
            self.cluster.rise(node)
            self._settle()

    def _node(self, name: str) -> Node | None:
        node = self.cluster.by_name.get(name)
        if node is None:
            self.shared.out.append(Note(f"There is no node {name!r}."))
        return node

    def _stop(self, event: events.Stop) -> None:
        self.stopped = True
        for call in list(self.calls.values()):
            self._give_up(call, State.FAILED, causes.ServiceStopped("The service stopped before the invocation ended."))
        for container in list(self.cluster.containers.values()):
            self.cluster.end(container)

    # ---- all of them

    def _settle(self) -> None:
        """Hold a round, then let in who waits for room at the head; again while that makes calls schedulable."""
        self._rounds.hold()
        while self._admit():
            self._rounds.hold()

    def _admit(self) -> bool:
        ready = self.head.admit_waiting() if self.head.new else []
        for call in ready:
            self.pending.add(call)
        return bool(ready)

    def _drop(self, call: Call) -> None:
        """Take a call out of wherever it waits or runs."""
        del self.calls[call.id]
        if call.container is not None:
            self.cluster.end(call.container)
        elif call.id in self.pending.calls:
            self.pending.remove(call)
            self.head.unpin(call.registration.function.image.name)
            if call.place is not None:
                self.cluster.changed[call.place.index] = call.place
        else:
            self.head.leave(call)

    def _give_up(self, call: Call, state: State, cause: causes.FailureCause) -> None:
        self._drop(call)
        self.shared.out.append(Notify(call.ended(state, self.shared.now, None, cause)))

    def _finish(self, call: Call, state: State, at: float, output: Any, cause: causes.FailureCause | None) -> None:
        del self.calls[call.id]
        self.shared.out.append(Notify(call.ended(state, at, output, cause)))
