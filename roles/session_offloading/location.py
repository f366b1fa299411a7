"""A location: root, middle or leaf of the tree, with its gateway, its functions and the sessions that are here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from roles.session_offloading.book import RECEIVER, Book
from roles.session_offloading.embedded import EmbeddedStorage
from roles.session_offloading.gateway import Gateway
from roles.session_offloading.giving import Giving
from roles.session_offloading.messages import Refused
from roles.session_offloading.offers import Offers
from roles.session_offloading.options import Deployed, LocationOptions
from roles.session_offloading.place import Courier, Place, Post, signing
from roles.session_offloading.records import Storage
from roles.session_offloading.running import Runner
from roles.session_offloading.taking import Taking
from testbed.roles.api import Environment, Parameters, Role, Site
from testbed.roles.web import WEB, WebReply, WebRequest

_STATUS, _RECEIVERS = "offloading", "receiving_functions"


class Location(Role):
    """Ready when it has read what an earlier life has left, and serves."""

    parameters_model: ClassVar[type[Parameters]] = LocationOptions
    env: Environment
    book: Book
    runner: Runner
    giving: Giving
    taking: Taking
    offers: Offers

    def __init__(self, site: Site, parameters: LocationOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters
        self.place = Place(site, parameters)
        self.signing = signing(parameters)
        self.status: str = parameters.status
        self.receivers: set[str] = set()
        self.written: set[str] = set()  # sessions whose records are in the storage
        deployed = {name: parameters.functions.get(name, Deployed()) for name in site.functions}
        self._deployed = {name: each for name, each in deployed.items() if self.place.has(each.at)}
        self.functions = {name: site.functions[name] for name in self._deployed}

    async def start(self, env: Environment) -> None:
        """Open the storage, take up what an earlier life has left, serve."""
        self.env, options = env, self.options
        self.book = book = Book(self.place.name, await self._storage(env))
        self.courier = Courier(env, self.place, options)
        self.runner = Runner(env, self.functions, self._deployed, options.speed, self.site.cores)
        post = Post(self.place, self.courier, self.signing, env, options.ask_again)
        self.giving = Giving(book, post, options.largest_session)
        self.taking = Taking(book, post)
        held_s = options.lock_expires if options.sticky_locks else options.offer
        self.offers = Offers(self.giving, self.chosen, self.birth, options.onload_batch, held_s)
        self.giving.left = self.offers.over
        self.gateway = Gateway(self)
        await self._recall()
        await env.serve(options.port, {WEB: self.gateway.answer})
        self.giving.resume()
        self.taking.resume()

    async def _storage(self, env: Environment) -> Storage:
        if self.options.storage == "redis":
            from roles.session_offloading import redis_server, redis_storage  # others start faster without

            where = self.site.address, self.options.redis_port
            return redis_storage.RedisStorage(await redis_server.redis_server(env, *where, keep=self.options.persist))
        return EmbeddedStorage(env.journal("sessions") if self.options.persist else None)

    async def _recall(self) -> None:
        await self.book.open()
        self.written = set(self.book.records)
        self.book.used = dict.fromkeys(self.book.records, self.env.now())
        self.status = await self.book.storage.setting(_STATUS) or self.status
        kept = await self.book.storage.setting(_RECEIVERS) or ""
        initially = [name for name, each in self._deployed.items() if each.receives]
        self.receivers = {name for name in (*kept.split(","), *initially) if name in self.functions}

    async def stop(self, env: Environment) -> None:
        """Close the storage."""
        await self.book.storage.close()

    # What commands and gateway ask for.

    def chosen(self, sessions: Sequence[str]) -> str:
        """One of these, by chance."""
        return self.env.rng("choice").choice(sessions)

    def birth(self) -> str:
        """What tells a new session from all others of the same name."""
        return f"{self.env.rng('birth').getrandbits(64):016x}"

    def reads(self, function: str) -> bool:
        """Whether it never writes: modelled functions, and those that say so."""
        return self._deployed[function].reads or self.functions[function].code is None

    async def set_status(self, status: str) -> None:
        """Accept or reject what comes from below."""
        await self.book.storage.set(_STATUS, status)
        self.status = status

    async def register(self, function: str) -> None:
        """Deliver propagated values to this function from now on."""
        receivers = {*self.receivers, function}
        await self.book.storage.set(_RECEIVERS, ",".join(sorted(receivers)))
        self.receivers = receivers

    async def deliver(self, function: str, value: str) -> WebReply:
        """Run a receiver, in a session of its own that never moves."""
        request = WebRequest("POST", f"/function/{function}", (), value.encode("utf-8", "surrogatepass"))
        return await self.gateway.serve(function, request, f"{RECEIVER}{function}")

    def is_moving(self, session: str) -> bool:
        """Whether the session comes, goes, or its owner has yet to hear of it, as far as this location is concerned."""
        record = self.book.records.get(session)
        return (
            self.book.locks.moving(session)
            or session in self.book.taking
            or session in self.taking.telling
            or (record is not None and bool(record.leaving))
        )

    def idle_s(self, session: str) -> float:
        """For how long a session has been here without being used, as far as this life knows."""
        return self.env.now() - self.book.used.get(session, self.env.now())

    async def remove(self, session: str) -> bool:
        """Delete a session that is here, and at its owner; False if it is not here."""
        async with self.book.locks.move(session):
            record = self.book.records.get(session)
            if record is None or not self.book.serves(session):
                return False
            if record.token.owner != self.place.name:
                owner, proof = record.token.owner, self.signing.proof(record.token, "collect")
                try:
                    reply = await self.courier.send(
                        owner, "garbage-collector", headers=proof, deletePolicy="moved", sessionId=session
                    )
                except Refused:
                    return False
                if reply.status != 200:
                    return False
            await self.book.forget(session)
            self.written.discard(session)
            return True

    async def metrics(self) -> dict[str, Any]:
        """What the oracle looks at; ``busy_s`` and the like count from the start of the agent."""
        load, storage = self.runner.load, self.book.storage
        sizes = {session: await storage.size(session) for session in self.book.movable()}
        return {
            "t": self.env.now(),
            "location": self.place.name,
            "root": self.place.is_root,
            "status": self.status,
            "sessions": sizes,
            "bytes": sum(sizes.values()),
            "replicas": self.runner.replicas,
            "migrations": self.giving.asked,
            "running": load.running,
            "waiting": load.waiting,
            "busy_s": load.busy_s,
            "served": load.served,
            "response_s": load.response_s,
        }
