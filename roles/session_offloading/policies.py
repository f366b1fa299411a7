"""What the oracle decides: pure functions from what it saw of a location to what it tells it to do.

A policy of your own is such a function, too: ``def mine(now, before): return ["offload", ...]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from roles.session_offloading.options import OracleOptions
from testbed.roles.fields import OwnPolicy

ACTIONS = ("accept", "reject", "offload", "onload")


@dataclass(frozen=True)
class Look:
    """A location as the oracle saw it at ``t``. ``sessions`` are those that can move, with their sizes in bytes.

    ``busy`` (share of the replicas' time) and ``response_s`` (mean) are of the time since the look before; None at the
    first look, or where nothing was served.
    """

    t: float
    location: str
    status: str
    sessions: Mapping[str, int]
    waiting: int = 0
    busy: float | None = None
    response_s: float | None = None

    @property
    def size_bytes(self) -> int:
        """The data of all sessions."""
        return sum(self.sessions.values())


Policy = Callable[[Look, Look | None], Sequence[str]]


def thresholds(options: OracleOptions) -> Policy:
    """By session data alone: the largest sessions go until little enough is left, and come back one at a time."""

    def decide(now: Look, before: Look | None) -> list[str]:
        left = now.size_bytes
        if left >= options.top:
            going = []
            for session, size in sorted(now.sessions.items(), key=lambda item: (-item[1], item[0])):
                if left < options.bottom:
                    break
                going.append(f"offload {session}")
                left -= size
            return ["reject", *going]
        return ["accept", "onload"] if left <= options.onload else []

    return decide


def load(options: OracleOptions) -> Policy:
    """By how busy the functions are: one session goes or comes at each look."""

    def decide(now: Look, before: Look | None) -> list[str]:
        if now.busy is None:
            return []
        slow = options.slow_above is not None and (now.response_s or 0.0) > options.slow_above
        queues = options.queue_above is not None and now.waiting > options.queue_above
        if now.busy > options.busy_above or slow or queues:
            return ["reject", "offload"] if now.sessions else ["reject"]
        if now.busy < options.busy_below:
            return ["accept", "onload"]
        return ["accept"]

    return decide


def nothing(options: OracleOptions) -> Policy:
    """Never does anything: whoever runs the experiment decides, by curl or by the timetable."""
    return lambda now, before: []


BUILT_IN: Mapping[str, Callable[[OracleOptions], Policy]] = {
    "thresholds": thresholds, "load": load, "none": nothing,
}  # fmt: skip


def policy(options: OracleOptions) -> Policy:
    """The policy that the options name."""
    if isinstance(options.policy, OwnPolicy):
        return own(options.policy)
    return BUILT_IN[options.policy](options)


def own(given: OwnPolicy) -> Policy:
    """A user's function; TestbedError if it cannot be loaded, and TypeError later for decisions that are none."""
    theirs = given.load()

    def decide(now: Look, before: Look | None) -> list[str]:
        said = theirs(now, before)
        for each in said:
            if not isinstance(each, str) or each.partition(" ")[0] not in ACTIONS:
                raise TypeError(f"{given.function} in {given.file} decided {each!r}; decisions begin with one of "
                                f"{', '.join(ACTIONS)}, such as 'offload SESSION'")  # fmt: skip
        return list(said)

    return decide
