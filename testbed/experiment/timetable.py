"""From the timeline of a file to the timetable of a run: names resolved, repetitions spelt out, everything checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Protocol

from testbed.document import Place
from testbed.errors import InputError
from testbed.experiment.naming import Naming
from testbed.experiment.order import Order
from testbed.timeline import events as given
from testbed.timeline import traces
from testbed.timeline.actions import (
    Action,
    Hold,
    KillAgents,
    PauseHost,
    Planned,
    Press,
    Release,
    ResumeHost,
    SetCalendar,
    SetShape,
    StartAgents,
    Timetable,
)
from testbed.units import DELAYS, DRIFTS, RATES, write

MOST = 20_000  # events of a run

Found = Iterator[Planned]


class Files(Protocol):
    """Finds the files that an experiment names."""

    def existing(self, place: Place, name: str, kind: str) -> Path | None:
        """The file, or None after telling that it does not exist."""

    def told(self, place: Place, error: InputError) -> None:
        """Tell what is wrong inside a file."""


class Spelling:
    """Spells out one timeline; problems are told by ``naming`` and ``files``. ``ends_s``: when the workload ends."""

    def __init__(self, naming: Naming, files: Files, ends_s: float) -> None:
        self._naming, self._files, self._ends_s = naming, files, ends_s

    def timetable(self, timeline: Sequence[given.Event]) -> Timetable:
        """All events in order; of no use where problems were told."""
        order = Order(self._naming)
        for index, event in enumerate(timeline):
            place: Place = ("timeline", index)
            times = self._times(place, event)
            room = MOST - len(order.events)
            found = [each for at in times[: room + 1] for each in self._spelt(place, event, at)]
            if len(found) > room:
                hint = "Give `until` or `times`, or a larger `every` or `window`."
                self._naming.wrong(place, f"more than {MOST:,} events", "fewer in all", hint)
                break
            order.add(place, found)
        return order.timetable([event for event in timeline if isinstance(event, given.Move)])

    def _times(self, place: Place, event: given.Event) -> list[float]:
        """When an event happens: once, or again and again."""
        if isinstance(event, given.Trace):
            return [event.at]
        every = event.down + event.up if isinstance(event, given.Flap) else event.every
        if every is None:
            for key in ("times", "until"):
                if getattr(event, key) is not None:
                    self._naming.wrong((*place, key), f"{key} without every", "the time between two of them, too",
                                       "Add `every: 5s`.")  # fmt: skip
            return [event.at]
        if isinstance(event, given.Flap) and event.times is None and event.until is None:
            return [event.at]
        end = event.until if event.until is not None else inf if event.times is not None else self._ends_s
        if end <= event.at:
            if event.until is not None:
                self._naming.wrong((*place, "until"), f"{end:g} s", f"more than `at`, which is {event.at:g} s")
            else:
                self._naming.wrong((*place, "at"), f"{event.at:g} s", f"a time before the workload ends at {end:g} s")
            return []
        found: list[float] = []
        while len(found) < min(event.times or inf, MOST + 1):
            at = round(event.at + len(found) * every, 9)
            if at >= end:
                break
            found.append(at)
        return found

    def _spelt(self, place: Place, event: given.Event, at: float) -> Found:
        match event:
            case given.Reshape():
                yield from self._reshape(place, event, at)
            case given.Cut() | given.Mend() | given.Flap():
                yield from self._connect(place, event, at)
            case given.Trace():
                yield from self._trace(place, event)
            case given.Partition() | given.Heal():
                yield from self._part(place, event, at)
            case given.Kill() | given.Restart():
                yield from self._agents(place, event, at)
            case given.Crash() | given.Restore():
                yield from self._machine(place, event, at)
            case given.Pause() | given.Resume():
                yield from self._pause(place, event, at)
            case given.Skew() | given.Sync():
                yield from self._skew(place, event, at)
            case given.Move():
                if self._naming.is_movable(place, event):
                    told = f"from {event.start} to {event.to}"
                    yield Planned(at, "move", event.node, told, self._naming.moved(event))
            case given.Load():
                yield from self._load(place, event, at)

    # Links.

    def _reshape(self, place: Place, event: given.Reshape, at: float) -> Found:
        self._naming.check_change(place, event)
        written = ", ".join(f"{key} {value}" for key, value in event.change.items())
        for link, ends in self._naming.ends(place, event.link, event.leaving):
            detail = written + (f" (leaving {event.leaving})" if event.leaving else "")
            yield Planned(at, "shape", link, detail, (SetShape(ends, event.change),))

    def _connect(self, place: Place, event: given.Cut | given.Mend | given.Flap, at: float) -> Found:
        for link in self._naming.links((*place, "link"), event.link):
            if not isinstance(event, given.Mend):
                yield Planned(at, "cut", link, "the link is down", (Hold((link,), "cut"),))
            lasting = event.down if isinstance(event, given.Flap) else getattr(event, "lasting", 0.0)
            if lasting is not None:
                end = round(at + lasting, 9)
                yield Planned(end, "mend", link, "the link is up", (Release((link,), "cut"),))

    def _trace(self, place: Place, event: given.Trace) -> Found:
        recording = self._recording(place, event)
        end = min(event.until if event.until is not None else inf, self._ends_s)
        for link, ends in self._naming.ends(place, event.link, event.leaving):
            steps = recording.replayed(end - event.at, event.loop) if recording else ()
            for step in steps:
                detail = ", ".join(f"{key} {_rounded(value)}" for key, value in step.change.items())
                told = detail + (f" (leaving {event.leaving})" if event.leaving else "")
                yield Planned(round(event.at + step.at, 9), "trace", link, told, (SetShape(ends, step.change),))

    def _recording(self, place: Place, event: given.Trace) -> traces.Recording | None:
        named = [key for key in ("file", "deliveries") if getattr(event, key) is not None]
        if len(named) != 1:
            found = "both file and deliveries" if named else "neither file nor deliveries"
            self._naming.wrong(place, found, "one of them: `file: FILE.csv`, or `deliveries: FILE`")
            return None
        kind = "a CSV file" if event.file is not None else "a file of delivery times"
        path = self._files.existing((*place, named[0]), event.file or event.deliveries or "", kind)
        if path is None:
            return None
        try:
            return traces.of_csv(path) if event.file is not None else traces.of_deliveries(path, event.window)
        except InputError as error:
            self._files.told((*place, named[0]), error)
            return None

    def _part(self, place: Place, event: given.Partition | given.Heal, at: float) -> Found:
        everything = tuple(self._naming.topology.links)
        healed = (Release(everything, "partition"),)
        if isinstance(event, given.Heal):
            yield Planned(at, "heal", "", "all partitions are over", healed)
            return
        groups, cut = self._naming.parted(place, event.groups)
        subject = " | ".join(" ".join(group) for group in groups)
        yield Planned(at, "partition", subject, f"down: {', '.join(cut)}", (Hold(tuple(cut), "partition"),))
        if event.lasting is not None:
            over = (Release(tuple(cut), "partition"),)
            yield Planned(round(at + event.lasting, 9), "heal", subject, f"up: {', '.join(cut)}", over)

    # Agents and hosts.

    def _agents(self, place: Place, event: given.Kill | given.Restart, at: float) -> Found:
        for node, role in self._naming.agents(place, event):
            if isinstance(event, given.Kill):
                yield Planned(at, "kill", f"{role} on {node}", "killed", (KillAgents(((node, role),)),))
            elif role == self._naming.client:
                self._naming.wrong(place, f"the {role} of {node}", "an agent that is no client",
                                   "A client's workload cannot begin again.")  # fmt: skip
            else:
                yield Planned(at, "restart", f"{role} on {node}", "started anew", (StartAgents(((node, role),)),))

    def _machine(self, place: Place, event: given.Crash | given.Restore, at: float) -> Found:
        for node in self._naming.machines((*place, "node"), event.node):
            if isinstance(event, given.Crash):
                yield Planned(at, "crash", node, "silent, its agents are dead", self._crashed(node))
            lasting = event.lasting if isinstance(event, given.Crash) else 0.0
            if lasting is not None:
                yield Planned(round(at + lasting, 9), "restore", node, "up again", self._restored(node))

    def _crashed(self, node: str) -> tuple[Action, ...]:
        """First the links: the dead send no word. A pause is over with what it stopped."""
        agents = self._naming.agents_of(node)
        dead = (KillAgents(agents), ResumeHost(node)) if agents else ()
        return Hold(self._naming.links_of(node), f"crash {node}"), *dead

    def _restored(self, node: str) -> tuple[Action, ...]:
        agents = tuple(each for each in self._naming.agents_of(node) if each[1] != self._naming.client)
        return (Release(self._naming.links_of(node), f"crash {node}"), *((StartAgents(agents),) if agents else ()))

    def _pause(self, place: Place, event: given.Pause | given.Resume, at: float) -> Found:
        for node in self._naming.homes((*place, "node"), event.node):
            if isinstance(event, given.Pause):
                yield Planned(at, "pause", node, "its agents stop", (PauseHost(node),))
            lasting = event.lasting if isinstance(event, given.Pause) else 0.0
            if lasting is not None:
                yield Planned(round(at + lasting, 9), "resume", node, "its agents go on", (ResumeHost(node),))

    def _skew(self, place: Place, event: given.Skew | given.Sync, at: float) -> Found:
        for node in self._naming.homes((*place, "node"), event.node):
            if isinstance(event, given.Skew):
                yield Planned(at, "skew", node, _wrong(event), (SetCalendar(node, event.by, event.drift),))
            lasting = event.lasting if isinstance(event, given.Skew) else 0.0
            if lasting is not None:
                yield Planned(round(at + lasting, 9), "sync", node, "its calendar is right", (SetCalendar(node),))

    def _load(self, place: Place, event: given.Load, at: float) -> Found:
        if not event.cpu and not event.memory:
            self._naming.wrong(place, "a load of nothing", "`cpu: 1` or `memory: 100MB`, or both")
        parts = [f"{event.cpu} busy processes" + (f" for {event.share:.0%} of the time" if event.share < 1 else "")]
        parts = parts if event.cpu else []
        parts += [f"{event.memory / 1e6:g} MB of memory"] if event.memory else []
        detail = f"{' and '.join(parts)} for {event.lasting:g} s"
        for node in self._naming.hosts((*place, "node"), event.node):
            press = Press(node, event.cpu, event.share, event.memory, event.lasting)
            yield Planned(at, "load", node, detail, (press,))


def _wrong(event: given.Skew) -> str:
    ahead = f"is {write(abs(event.by), DELAYS)} {'ahead' if event.by > 0 else 'behind'}" if event.by else ""
    drift = f"{'gains' if event.drift > 0 else 'loses'} {write(abs(event.drift), DRIFTS)}" if event.drift else ""
    return f"its calendar {' and '.join(filter(None, (ahead, drift)))}"


def _rounded(value: object) -> str:
    """A rate of a delivery trace has more digits than a reader wants."""
    number = str(value).removesuffix("bit")
    is_long = number.replace(".", "").isdigit() and len(number) > 6
    return f"{float(number) / RATES['Mbit']:.3g}Mbit" if is_long else str(value)
