"""The orders of one membership: begun in the order of their numbers, however they arrive, and each done once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from roles.serverless_compute.messages import Done, Ended, Order

Reply = TypeVar("Reply", Done, Ended)
STRANGER = "not_a_member"  # the cause with which a node refuses an order of another membership


class Stranger(Exception):
    """An order is not of the membership in force."""


class Turns:
    """``epoch`` is the head's name for the membership, empty before the first.

    Orders of a membership that is over keep to their own, so that none meddles with the numbers of the next.
    """

    def __init__(self, epoch: str = "") -> None:
        self.epoch, self.is_over = epoch, False
        self._next = 0
        self._early: dict[int, asyncio.Future[None]] = {}
        self._under_way: set[int] = set()
        self._copies: dict[int, asyncio.Future[None]] = {}  # orders that came once more while under way

    def is_behind(self, number: int) -> bool:
        """Whether orders before this number are still to be begun, or under way."""
        return self._next < number or bool(self._under_way)

    async def begin(self, number: int) -> bool:
        """Wait for the turn of an order; False if it was begun before, when it has ended. Look at ``is_over`` then."""
        while number > self._next and not self.is_over:
            turn = self._early.get(number)
            if turn is None:
                turn = self._early[number] = asyncio.get_running_loop().create_future()
            await asyncio.shield(turn)
        if number < self._next:
            await self._end_of(number)
            return False
        self._next += 1
        self._under_way.add(number)
        if self._early and (turn := self._early.pop(self._next, None)) is not None:
            turn.set_result(None)
        return True

    async def _end_of(self, number: int) -> None:
        if number in self._under_way:
            if number not in self._copies:
                self._copies[number] = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._copies[number])

    def over(self, number: int) -> None:
        """An order has been carried out."""
        self._under_way.discard(number)
        if self._copies and (copies := self._copies.pop(number, None)) is not None:
            copies.set_result(None)

    def end(self) -> None:
        """The membership is over: nothing of it is begun any more, and nobody waits for his turn."""
        self.is_over = True
        early, self._early = self._early, {}
        for turn in early.values():
            turn.set_result(None)


def for_members(carry_out: Callable[[Any], Awaitable[Reply]], reply: type[Reply]) -> Callable[..., Awaitable[Reply]]:
    """Refuses orders of other memberships; the head takes that for the end of the one that it means."""

    async def answer(order: Order) -> Reply:
        try:
            return await carry_out(order)
        except Stranger as refusal:
            return reply(cause=STRANGER, detail=str(refusal))

    return answer
