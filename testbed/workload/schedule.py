"""From the workload and a seed to every invocation, before the start.

Nothing here holds a whole schedule but :func:`schedule`: a :class:`Draft` is gone through one by one.

Each client draws from streams of its own, one a question (when, what, with what, in which session), so that neither
another client nor another mix of functions changes its times.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from testbed.errors import InputError, Problem, UsageError
from testbed.roles.api import Invocation
from testbed.roles.modelled import stating
from testbed.workload.arrivals import Arrival, Source
from testbed.workload.arrivals.closed import Closed
from testbed.workload.arrivals.trace import Trace, read_trace
from testbed.workload.spec import Traffic, Workload, generated

LIMIT = 5_000_000
"""Invocations that one run may schedule; an honest experiment stays far below."""


@dataclass(frozen=True)
class Thinking:
    """Users of one client who pause after each answer: their invocations are scheduled as the run goes on.

    User number n gives its invocations the identifiers ``first_id + n``, ``first_id + n + stride``, ...
    """

    traffic: Traffic
    source: Source
    functions: tuple[str, ...]
    first_id: int
    stride: int


@dataclass(frozen=True)
class Plan:
    """What one client does. ``invocations`` are in order of time; ``count`` is how many they are."""

    client: str
    count: int
    invocations: Iterable[Invocation]
    thinking: tuple[Thinking, ...]
    workload: Workload


class Drawer:
    """Draws what one invocation after the other asks for: function, payload and session.

    ``traffic.payload`` must be resolved. ``user`` gives a user of a closed loop draws of its own.
    """

    def __init__(self, traffic: Traffic, source: Source, functions: Sequence[str], user: str = "") -> None:
        weights = traffic.functions or dict.fromkeys(functions, 1.0)
        self._names, self._weights = tuple(weights), tuple(itertools.accumulate(weights.values()))
        self._payload, self._sessions, self._client = traffic.payload, traffic.sessions, source.client
        self._of_function = source.rng("function", user)
        self._of_payload = source.rng("payload", user)
        self._of_session = source.rng("session", user)

    def function(self) -> str:
        """The function to invoke."""
        if len(self._names) == 1:
            return self._names[0]
        return self._of_function.choices(self._names, cum_weights=self._weights)[0]

    def payload(self, size_bytes: int | None = None) -> str:
        """What to send; ``size_bytes``, if given, overrules the traffic's own choice."""
        spec = self._payload
        if size_bytes is None and spec.text is not None:
            return spec.text
        if size_bytes is None:
            size_bytes = self._of_payload.choice(spec.sizes) if spec.sizes else spec.size or 0
        return generated(spec.style, size_bytes)

    def session(self) -> str:
        """The session it belongs to, or nothing."""
        if self._sessions is None:
            return ""
        return f"{self._client}-{self._of_session.randrange(self._sessions.count)}"


class _Drawn(NamedTuple):
    """A drawn arrival; its first four fields give the order of the run's schedule."""

    t: float
    client: int
    traffic: int
    number: int
    function: str
    payload: str
    session: str
    user: str


class Draft:
    """All that a workload asks of ``clients``, drawn anew each time it is gone through: equal for equal arguments.

    ``traffic.clients`` must be node names by now (patterns are resolved by the experiment). ``folder`` is where the
    files that the workload names are found. Raises InputError for those files, UsageError for an unknown client.
    """

    def __init__(
        self, workload: Workload, clients: Sequence[str], functions: Sequence[str], seed: int, folder: Path = Path()
    ) -> None:
        self.workload, self.clients, self.functions, self._seed = workload, clients, tuple(functions), seed
        self._folder = folder
        self._traffic = [(_resolved(traffic, folder), _clients_of(traffic, clients)) for traffic in workload.traffic]

    def __iter__(self) -> Iterator[Invocation]:
        """The invocations of all clients in order of time, drawn as they are asked for.

        Raises UsageError for more than LIMIT of them.
        """
        clients, phase = self.clients, self.workload.phase
        for number, each in enumerate(heapq.merge(*self._streams())):
            if number >= LIMIT:
                raise UsageError(f"The workload schedules more than {LIMIT:,} invocations. Lower its rate or duration.")
            client = clients[each.client]
            yield Invocation(
                number, each.t, client, each.function, each.payload, each.session, phase(each.t), each.user
            )

    def _streams(self) -> Iterator[Iterator[_Drawn]]:
        order = {client: position for position, client in enumerate(self.clients)}
        for index, (traffic, clients) in enumerate(self._traffic):
            for client in clients:
                source = Source(self._seed, client, index, clients, self._folder)
                yield _draw(traffic, source, self.functions, order[client], self.workload.ends_s)

    def thinking(self, first_id: int) -> Mapping[str, tuple[Thinking, ...]]:
        """The users of each client who pause after each answer; their identifiers begin with ``first_id``."""
        found: dict[str, list[Thinking]] = {client: [] for client in self.clients}
        stride, users = sum(len(clients) * loop.users for _, loop, clients in self._loops()), 0
        for index, loop, clients in self._loops():
            for client in clients:
                source, traffic = Source(self._seed, client, index, (), Path()), self._traffic[index][0]
                found[client].append(Thinking(traffic, source, self.functions, first_id + users, stride))
                users += loop.users
        return {client: tuple(each) for client, each in found.items()}

    def _loops(self) -> Iterator[tuple[int, Closed, Sequence[str]]]:
        for index, (traffic, clients) in enumerate(self._traffic):
            if isinstance(traffic.arrivals, Closed) and traffic.arrivals.think is not None:
                yield index, traffic.arrivals, clients


def schedule(
    workload: Workload, clients: Sequence[str], functions: Sequence[str], seed: int, folder: Path = Path()
) -> Mapping[str, Plan]:
    """The plan of each of ``clients`` in memory; :func:`testbed.workload.files.lay_out` writes long ones to files.

    Arguments and errors are those of :class:`Draft`.
    """
    draft = Draft(workload, clients, functions, seed, folder)
    mine: dict[str, list[Invocation]] = {client: [] for client in clients}
    for invocation in draft:
        mine[invocation.client].append(invocation)
    thinking = draft.thinking(sum(map(len, mine.values())))
    return {client: Plan(client, len(mine[client]), mine[client], thinking[client], workload) for client in clients}


def _resolved(traffic: Traffic, folder: Path) -> Traffic:
    try:
        return traffic.model_copy(update={"payload": traffic.payload.resolved(folder)})
    except (OSError, UnicodeDecodeError) as error:
        path = str(folder / (traffic.payload.file or ""))
        found = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError([Problem(path, 0, "", found, "a text file in UTF-8, the payload of invocations")]) from error


def _clients_of(traffic: Traffic, clients: Sequence[str]) -> Sequence[str]:
    if traffic.clients is None:
        return clients
    unknown = [name for name in traffic.clients if name not in clients]
    if unknown:
        raise UsageError(f"The workload names {', '.join(unknown)}, which is no client. Clients: {', '.join(clients)}.")
    return tuple(dict.fromkeys(traffic.clients))


def _draw(
    traffic: Traffic, source: Source, functions: Sequence[str], position: int, ends_s: float
) -> Iterator[_Drawn]:
    horizon = min(traffic.stop or ends_s, ends_s) - traffic.start
    drawer = Drawer(traffic, source, functions)
    for number, arrival in enumerate(_before(horizon, traffic, source)):
        yield _Drawn(
            round(traffic.start + arrival.t, 9), position, source.index, number, arrival.function or drawer.function(),
            _payload(drawer, arrival), arrival.session or drawer.session(), arrival.user,
        )


def _payload(drawer: Drawer, arrival: Arrival) -> str:
    drawn = drawer.payload(arrival.payload_bytes)
    return drawn if arrival.service_s is None else stating(drawn, arrival.service_s)


def _before(horizon: float, traffic: Traffic, source: Source) -> Iterator[Arrival]:
    if horizon <= 0:
        return iter(())
    return itertools.takewhile(lambda arrival: arrival.t < horizon, traffic.arrivals.arrivals(source, horizon))


def problems(
    workload: Workload, clients: Sequence[str], functions: Sequence[str], folder: Path
) -> Iterator[tuple[tuple[str | int, ...], InputError]]:
    """What is wrong with the files that the workload names: the place of each below ``workload``, and its error."""
    for index, traffic in enumerate(workload.traffic):
        try:
            _resolved(traffic, folder)
        except InputError as error:
            yield ("traffic", index, "payload", "file"), error
        if isinstance(traffic.arrivals, Trace):
            try:
                read_trace(folder / traffic.arrivals.file, clients, functions)
            except InputError as error:
                yield ("traffic", index, "arrivals", "file"), error
