"""State servers: where the states of functions lie, and how one moves to the computer that uses it.

A state has one home. Whoever moves it copies it first and deletes it at its old home then; who is told there that it is
gone lets go of the copy, since somebody else was quicker. So it is nowhere twice once all is done.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import replace

from roles.serverless_on_edge.limits import cut, shown, wrong_with_endpoint, wrong_with_name
from roles.serverless_on_edge.messages import DEL_STATE, GET_STATE, OK, PUT_STATE, State, StateResponse
from testbed.roles.api import CallFailed, Environment, Method, Service

CALL_TIMEOUT_S = 30.0
DELETING_S = 20.0  # for how long a deletion without an answer is tried
PAUSE_S = 0.1
MOST_STATES = 100_000  # in one store


class StateFailed(Exception):
    """A state cannot be had; the text says why."""


class StateStore:
    """The states that one agent holds, by name, ``most_bytes`` of them. Those untouched for ``kept_s`` seconds go (0:
    never).
    """

    def __init__(self, env: Environment, kept_s: float = 0.0, most_bytes: int = 2**30) -> None:
        self._env, self._kept_s, self._most_bytes, self._bytes = env, kept_s, most_bytes, 0
        self._held: OrderedDict[str, tuple[float, bytes]] = OrderedDict()  # in order of their last use
        self.moving: Counter[str] = Counter()  # states of which there are two meanwhile

    def service(self) -> Service:
        """What a state server answers."""
        return {GET_STATE: self.get, PUT_STATE: self.put, DEL_STATE: self.delete}

    def names(self) -> frozenset[str]:
        """All states that are here."""
        since = self._env.now() - self._kept_s if self._kept_s else float("-inf")
        return frozenset(name for name, (used, _) in self._held.items() if used > since)

    def keep(self, name: str, content: bytes) -> None:
        """Have a state here from now on; raises StateFailed where there is no room for it."""
        self._expire()
        rest = self._bytes - len(self._held[name][1]) if name in self._held else self._bytes
        if wrong := wrong_with_name("a state", name):
            raise StateFailed(wrong)
        if rest + len(content) > self._most_bytes or (len(self._held) >= MOST_STATES and name not in self._held):
            room = f"{len(self._held)} others take {rest} of {self._most_bytes} bytes here"
            raise StateFailed(f"no room for the state {shown(name)} of {len(content)} bytes: {room}")
        self._held[name], self._bytes = (self._env.now(), content), rest + len(content)
        self._held.move_to_end(name)

    def drop(self, name: str) -> bool:
        """Have it no more; whether it was here."""
        held = self._held.pop(name, None)
        if held is not None:
            self._bytes -= len(held[1])
        return held is not None

    def read(self, name: str) -> bytes | None:
        """The content of a state; None if it is not here."""
        self._expire()
        if name not in self._held:
            return None
        content = self._held[name][1]
        self.keep(name, content)
        return content

    def _expire(self) -> None:
        while self._kept_s and self._held:
            name, (used, _) = next(iter(self._held.items()))
            if self._env.now() - used < self._kept_s:
                return
            self.drop(name)

    async def get(self, asked: State) -> StateResponse:
        """The content of a state."""
        content = self.read(asked.name)
        if content is None:
            return StateResponse(f"could not find state: {cut(asked.name)}")
        return StateResponse(OK, State(content=content))

    async def put(self, given: State) -> StateResponse:
        """Have a state here, unless there is no room for it."""
        try:
            self.keep(given.name, given.content)
        except StateFailed as failure:
            return StateResponse(str(failure))
        return StateResponse(OK)

    async def delete(self, asked: State) -> StateResponse:
        """Have it no more."""
        return StateResponse(OK if self.drop(asked.name) else f"state not found: {cut(asked.name)}")


class Home:
    """Where one agent keeps states: its own server, or with ``store`` None somebody else's at ``endpoint``."""

    def __init__(self, env: Environment, endpoint: str, store: StateStore | None) -> None:
        self._env, self.endpoint, self.store = env, endpoint, store

    async def put(self, name: str, content: bytes) -> None:
        """Have a state here; raises StateFailed."""
        if self.store is not None:
            self.store.keep(name, content)
            return
        reply = await asked(self._env, self.endpoint, PUT_STATE, State(name, content=content))
        if reply.retcode != OK:
            raise StateFailed(reply.retcode)

    async def drop(self, name: str) -> None:
        """Have it no more; no error if it is not here, or nobody answers."""
        if self.store is not None:
            self.store.drop(name)
            return
        try:
            await self._env.call(self.endpoint, DEL_STATE, State(name), CALL_TIMEOUT_S)
        except CallFailed:
            return  # what is left there goes when its time is over

    async def take(self, name: str, state: State) -> State:
        """Bring a state here from its ``location``; raises StateFailed. Returns it with its new location."""
        if state.location == self.endpoint:
            return state
        if wrong := wrong_with_endpoint(f"the location of the state {shown(name)}", state.location):
            raise StateFailed(wrong)
        found = await asked(self._env, state.location, GET_STATE, State(name))
        if found.retcode != OK or found.state is None:
            raise StateFailed(f"{state.location}: {found.retcode}")
        if self.store is not None:
            self.store.moving[name] += 1
        try:
            await self.put(name, found.state.content)
            await self._bring_away(name, state.location)
        finally:
            if self.store is not None:
                self.store.moving[name] -= 1
                self.store.moving += Counter()  # without those that have come to rest
        return replace(state, location=self.endpoint, content=b"")

    async def _bring_away(self, name: str, location: str) -> None:
        """Delete it where it was. Without a word from there nobody knows whether it is gone: then it is not kept."""
        deadline, pause = self._env.now() + DELETING_S, PAUSE_S
        why = ""
        while not why:
            try:
                reply = await self._env.call(location, DEL_STATE, State(name), CALL_TIMEOUT_S)
                if reply.retcode == OK:
                    return
                why = reply.retcode
            except CallFailed as failure:
                if self._env.now() + pause > deadline:
                    why = str(failure)
                else:
                    await self._env.sleep(pause)
                    pause *= 2
        await self.drop(name)
        raise StateFailed(f"the state {name} was taken from {location} by somebody else, or may have been: {why}")


async def asked(
    env: Environment, endpoint: str, method: Method[State, StateResponse], state: State
) -> StateResponse:
    """Ask a state server; raises StateFailed where nobody answers."""
    try:
        return await env.call(endpoint, method, state, CALL_TIMEOUT_S)
    except CallFailed as failure:
        raise StateFailed(f"the state server at {endpoint}: {failure}") from failure
