"""Limits for each namespace: invocations in a minute of the calendar, and invocations at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from roles.openwhisk.errors import Refused


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one namespace may do; None: as much as it likes."""

    per_minute: int | None = 120
    concurrent: int | None = 100


@dataclass(slots=True)
class Use:
    """What one namespace has done in ``minute``, and does."""

    minute: int = 0
    count: int = 0
    in_flight: int = 0


@dataclass(slots=True)
class Throttle:
    """Counts what each namespace does. An attempt that is refused counts too, as in the original."""

    usual: Allowance
    special: dict[str, Allowance] = field(default_factory=dict)
    refused: int = 0
    uses: dict[str, Use] = field(default_factory=dict)

    def allowance(self, namespace: str) -> Allowance:
        """What ``namespace`` may do."""
        return self.special.get(namespace, self.usual)

    def in_flight(self, namespace: str) -> int:
        """Its invocations that are under way."""
        return self.uses[namespace].in_flight if namespace in self.uses else 0

    def enter(self, namespace: str, wall: float) -> None:
        """One more invocation, at ``wall`` seconds since 1970; raises Refused (429). Pair it with :meth:`leave`."""
        use = self.uses.get(namespace)
        if use is None:
            use = self.uses[namespace] = Use()
        allowed = self.allowance(namespace)
        minute = int(wall // 60)
        if minute != use.minute:
            use.minute, use.count = minute, 0
        use.count += 1
        if allowed.per_minute is not None and use.count > allowed.per_minute:
            self.refused += 1
            raise Refused(
                429, f"Too many requests in the last minute (count: {use.count}, allowed: {allowed.per_minute})."
            )
        if allowed.concurrent is not None and use.in_flight >= allowed.concurrent:
            self.refused += 1
            raise Refused(
                429, f"Too many concurrent requests in flight (count: {use.in_flight}, allowed: {allowed.concurrent})."
            )
        use.in_flight += 1

    def leave(self, namespace: str) -> None:
        """An invocation has ended."""
        self.uses[namespace].in_flight -= 1
