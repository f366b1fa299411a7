"""What always holds of sessions, whatever is lost, cut off or killed, as long as the locations persist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from roles.session_offloading.client import SessionClient
from roles.session_offloading.embedded import EmbeddedStorage
from roles.session_offloading.location import Location
from roles.session_offloading.records import Record
from testbed.roles.api import Invariant, Observed

REST_S = 30.0  # more than the longest patience with another location, and the pauses after it
MOST_REDIRECTS = 2


def _locations(seen: Observed) -> dict[str, Location]:
    return {node: role for (node, _), role in seen.agents.items() if isinstance(role, Location)}


def _at_rest(seen: Observed) -> dict[str, Location]:
    """The locations, if all live and nothing has been amiss for long, and none at all otherwise."""
    found = _locations(seen)
    whole = all(set(each.place.tree.locations) == set(found) for each in found.values())
    return found if whole and seen.now - seen.since > REST_S else {}


def _records(locations: Mapping[str, Location]) -> dict[str, dict[str, Record]]:
    """By session, then by location."""
    found: dict[str, dict[str, Record]] = {}
    for name, location in locations.items():
        for session, record in location.book.records.items():
            found.setdefault(session, {})[name] = record
    return found


def _still(locations: Mapping[str, Location]) -> dict[str, dict[str, Record]]:
    """As :func:`_records`, but only sessions that nobody is moving or has yet to tell somebody of."""
    return {session: records for session, records in _records(locations).items()
            if not any(each.is_moving(session) for each in locations.values())}  # fmt: skip


def _one_serves(seen: Observed) -> Iterator[str]:
    for session, records in _records(_locations(seen)).items():
        serving = [name for name, each in records.items()
                   if each.here and not each.leaving and each.token.current == name]  # fmt: skip
        versions = {records[name].version for name in serving}
        if len(serving) > 1 and len({version.birth for version in versions}) == 1:
            yield f"session {session!r} is served at {', '.join(serving)}"


def _one_holds(seen: Observed) -> Iterator[str]:
    for session, records in _still(_at_rest(seen)).items():
        holding = [name for name, each in records.items() if each.here]
        if len(holding) > 1:
            yield f"the data of session {session!r} are at rest at {', '.join(holding)}"


def _owner_knows(seen: Observed) -> Iterator[str]:
    for session, records in _still(_at_rest(seen)).items():
        for name, record in records.items():
            owner = records.get(record.token.owner)
            if record.here and owner is not None and owner.token.current != name:
                yield f"session {session!r} is at {name}; its owner {record.token.owner} says {owner.token.current}"


def _constant(seen: Observed) -> Iterator[str]:
    for session, records in _records(_locations(seen)).items():
        owners = {each.token.owner for each in records.values()}
        if len(owners) > 1:
            yield f"session {session!r} has the owners {', '.join(sorted(owners))}"
        for name, each in records.items():
            if each.token.session != session:
                yield f"at {name}, session {session!r} is called {each.token.session!r}"


def _chains_end(seen: Observed) -> Iterator[str]:
    for session, records in _still(_at_rest(seen)).items():
        for start in records:
            way = [start]
            while len(way) <= MOST_REDIRECTS + 1 and (record := records.get(way[-1])) is not None:
                if record.token.current == way[-1]:
                    break
                way.append(record.token.current)
            if len(way) > MOST_REDIRECTS + 1:
                yield f"who asks {start} for session {session!r} is sent on: {' -> '.join(way)}"


def _none_leaves_for_ever(seen: Observed) -> Iterator[str]:
    for name, location in _at_rest(seen).items():
        for session, begun in location.giving.begun.items():
            if seen.now - begun > REST_S:
                to = location.book.records[session].leaving
                yield f"session {session!r} has been on its way from {name} to {to or 'nowhere'} for {REST_S:g} s"


def _acknowledged(seen: Observed) -> Iterator[str]:
    locations = _at_rest(seen)
    kept = {session: set(storage.numbers(session)) for session, records in _still(locations).items()
            for name, record in records.items() if record.here
            and isinstance(storage := locations[name].book.storage, EmbeddedStorage)}  # fmt: skip
    for role in seen.agents.values() if kept else ():
        if isinstance(role, SessionClient):
            for session, numbers in role.acknowledged.items():
                lost = [each for each in numbers if session in kept and each not in kept[session]]
                if lost:
                    yield f"session {session!r} has lost what was acknowledged: {', '.join(lost[:5])}"


def _once(seen: Observed) -> Iterator[str]:
    for name, location in _locations(seen).items():
        storage = location.book.storage
        if isinstance(storage, EmbeddedStorage) and storage.repeated:
            session, number = storage.repeated[0]
            yield f"at {name}, request {number!r} of session {session!r} was carried out twice"


def _all(*checks: tuple[str, str, object]) -> Iterable[Invariant]:
    for name, promise, check in checks:
        yield Invariant(name, promise, check)  # type: ignore[arg-type]


ALL: tuple[Invariant, ...] = tuple(_all(
    ("one-serves", "At no moment is a session served at two locations.", _one_serves),
    ("one-holds", "At rest, at most one location has a session's data.", _one_holds),
    ("owner-knows", "At rest, the owner of a session knows where it is.", _owner_knows),
    ("constant", "Name and owner of a session never change.", _constant),
    ("chains-end", "At rest, whoever asks is redirected twice at most.", _chains_end),
    ("acknowledged", "At rest, what was acknowledged is where the session is.", _acknowledged),
    ("once", "No numbered request is carried out twice.", _once),
    ("moves-end", "Unless somebody is dead or cut off, no session is on its way for long.", _none_leaves_for_ever),
))  # fmt: skip
