"""What a timetable does to agents and hosts in emulation: kill and start, stop and go, skew, move, load."""

from __future__ import annotations

import signal
from types import TracebackType

from testbed.deploy import freeze, pressure, skew
from testbed.deploy.fleet import Agent, Fleet
from testbed.deploy.forks import Enterable
from testbed.deploy.roaming import Roaming
from testbed.substrate.away import python_of, script_of
from testbed.substrate.base import Network, Process
from testbed.timeline.actions import Press, SetCalendar

BARE = ("-I", "-S")  # Python starts in some ten milliseconds: no site packages


class LiveHands:
    """Use it as a context manager around the workload: in the end all agents go on and no load is left."""

    def __init__(self, network: Network, fleet: Fleet) -> None:
        self._network, self._fleet = network, fleet
        self._roaming = Roaming(network)
        self._starting: dict[tuple[str, str], Agent] = {}
        self._paused: dict[str, None] = {}
        self._loads: list[Process] = []

    def kill(self, node: str, role: str) -> None:
        """End an agent with SIGKILL."""
        self._starting.pop((node, role), None)
        self._fleet.kill(node, role)

    def restart(self, node: str, role: str) -> None:
        """Start an agent anew; :meth:`became_ready` will tell of it."""
        self._starting[node, role] = self._fleet.restart(node, role)
        if node in self._paused:
            self._freeze(node, "stop")

    def became_ready(self) -> list[tuple[str, str]]:
        """The agents that were started anew and are ready since this was last asked."""
        found = [name for name, agent in list(self._starting.items()) if agent.status().state == "ready"]
        for name in found:
            self._starting.pop(name, None)
        return found

    def pause(self, node: str) -> None:
        """SIGSTOP for the agents of ``node`` and all that they started."""
        self._paused[node] = None
        self._freeze(node, "stop")

    def resume(self, node: str) -> None:
        """SIGCONT; nothing happens to a node that was not paused."""
        if self._paused.pop(node, False) is None:
            self._freeze(node, "go")

    def _freeze(self, node: str, order: str) -> None:
        agents = [agent for agent in self._fleet.agents.values() if agent.spec.node == node]
        alive = [agent for agent in agents if agent.process.poll() is None]
        if not alive:
            return
        pids = [agent.process.pid for agent in alive]
        if isinstance(alive[0].host, Enterable):
            (freeze.stop if order == "stop" else freeze.go)(pids)
        else:
            host = alive[0].host
            host.run([python_of(host), *BARE, script_of(host, freeze.__file__), order, *map(str, pids)])

    def skew(self, calendar: SetCalendar) -> None:
        """Put the calendar wrong, or right, that the agents of a node read, and those that take their place."""
        agents = [agent for agent in self._fleet.agents.values() if agent.spec.node == calendar.node]
        host, files = agents[0].host, [str(agent.folder / skew.NAME) for agent in agents]
        if isinstance(host, Enterable):
            skew.put(files, calendar.by, calendar.drift)
        else:
            numbers = (repr(calendar.by), repr(calendar.drift))
            host.run([python_of(host), *BARE, script_of(host, skew.__file__), *numbers, *files])

    def attach(self, node: str, link: str) -> None:
        """All traffic of ``node``, there and back, goes over ``link``."""
        self._roaming.attach(node, link)

    def press(self, load: Press) -> None:
        """Start a load, which ends by itself."""
        host = self._network.host(load.node)
        numbers = map(str, (load.lasting, load.cpu, load.share, load.memory))
        argv = [python_of(host), *BARE, script_of(host, pressure.__file__), *numbers]
        self._loads.append(host.start(argv, host.folder / f"load-{len(self._loads) + 1}"))

    def __enter__(self) -> LiveHands:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for node in list(self._paused):
            self.resume(node)
        for process in self._loads:
            process.signal(signal.SIGKILL)
        for process in self._loads:
            process.wait(1.0)
