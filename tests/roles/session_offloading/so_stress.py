"""Check 31 on emulated hosts: many sessions are appended to while they are moved about at random.

    python so_stress.py '{"addresses": {...}, "sessions": 50, "together": 20, "rounds": 2, "storm_s": 20, "seed": 1}'

Every append is numbered and repeated until it is acknowledged. At the end each session's list must hold each of its
numbers once, and nothing else. Standard library and roles only: it runs on emulated hosts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlencode, urlsplit

from roles.session_offloading.messages import MANAGER, REQUEST_ID, SESSION
from testbed.roles.api import CallFailed
from testbed.roles.http import HttpClient, Reply

PATIENCE_S = 8.0
AFTER_S = 120.0  # from the end of the storm until all is acknowledged
HOMES = ("p3", "p4")  # where sessions begin


@dataclass
class Stress:
    """What is done, and what came of it."""

    addresses: dict[str, str]
    sessions: int
    together: int
    rounds: int
    storm_s: float
    seed: int
    begun: float = field(default_factory=time.monotonic)
    moves: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._client = HttpClient(connections=2000)

    @property
    def storms(self) -> bool:
        """Whether moves and faults go on."""
        return time.monotonic() - self.begun < self.storm_s

    async def call(self, address: str, target: str, body: bytes, headers: dict[str, str]) -> Reply:
        """The answer, after all redirects; raises CallFailed."""
        for _ in range(10):
            reply = await self._client.request("POST", address, target, body, headers, timeout=PATIENCE_S)
            if reply.status != 307:
                return reply
            address = urlsplit(reply.headers["location"]).netloc
        raise CallFailed("protocol", "too many redirects")

    def home(self, session: int) -> str:
        """Where a session's users begin."""
        return self.addresses[HOMES[session % len(HOMES)]]

    async def append(self, session: int, user: int) -> None:
        """One user of a session: appends one number after the other, each until it is acknowledged."""
        rng = Random(f"{self.seed} {session} {user}")
        for number in range(self.rounds):
            await asyncio.sleep(rng.uniform(0, 2 * self.storm_s / (self.rounds + 1)))
            headers = {SESSION: f"s{session}", REQUEST_ID: f"s{session}-{user}-{number}"}
            while time.monotonic() < self.begun + self.storm_s + AFTER_S:
                try:
                    status = str((await self.call(self.home(session), "/function/append", b"x", headers)).status)
                except CallFailed as failure:
                    status = failure.kind
                self.answers[status] += 1
                if status in ("200", "208"):
                    break
                await asyncio.sleep(rng.uniform(0.1, 0.6))

    async def move(self, location: str) -> None:
        """Force sessions up and down at one location, and let it change its mind."""
        rng = Random(f"{self.seed} {location}")
        while self.storms:
            await asyncio.sleep(rng.uniform(0.02, 0.2))
            status = rng.choice(["accept", "accept", "reject"])
            query: dict[str, str] = rng.choice(
                [{"command": "force-offload"}, {"command": "force-onload"}]
                if rng.random() < 0.95 else [{"command": "set-offload-status", "status": status}]
            )  # fmt: skip
            try:
                reply = await self.call(self.addresses[location], f"/function/{MANAGER}?{urlencode(query)}", b"", {})
            except CallFailed:
                continue
            self.moves[f"{query['command']} {reply.status}"] += 1

    async def kept(self, session: int) -> Any:
        """What a session's list holds in the end; asked again while something is still on its way."""
        asked = json.dumps([["get_list", "log"]]).encode()
        last = ""
        for _ in range(60):
            try:
                reply = await self.call(self.home(session), "/function/note", asked, {SESSION: f"s{session}"})
            except CallFailed as failure:
                last = str(failure)
            else:
                last = reply.body.decode()
                if reply.status == 200:
                    return json.loads(last)[0] or []
            await asyncio.sleep(0.5)
        return [f"no answer: {last}"]

    async def judged(self) -> list[str]:
        """What is wrong with the sessions' data."""
        wrong = []
        for session in range(self.sessions):
            users = range(self.together)
            expected = {f"s{session}-{user}-{number}" for user in users for number in range(self.rounds)}
            found = Counter(await self.kept(session))
            if lost := expected - set(found):
                wrong.append(f"s{session} has lost {len(lost)}: {', '.join(sorted(lost)[:5])}")
            if more := [each for each, count in found.items() if count > 1 or each not in expected]:
                wrong.append(f"s{session} has too much: {', '.join(sorted(more)[:5])}")
        return wrong

    async def whole(self) -> int:
        """All of it; the exit status."""
        users = [self.append(session, user) for session in range(self.sessions) for user in range(self.together)]
        await asyncio.gather(*users, *(self.move(location) for location in self.addresses))
        wrong = await self.judged()
        print(json.dumps({"answers": self.answers, "moves": self.moves, "took_s": time.monotonic() - self.begun}))
        print("\n".join(wrong))
        await self._client.close()
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(Stress(**json.loads(sys.argv[1])).whole()))
