"""All agents of a run: put onto their hosts, started side by side, watched, and stopped.

    with deploy(network, specs, forks) as fleet:
        fleet.wait_ready(10)
        fleet.go(network.now() + 1)
        while not fleet.finished():
            for failure in fleet.failures(): ...

Files travel through each host's Fabric connection, commands through the host, wherever it is. Where a host is on this
machine and a fork server is given, that one starts the agent.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import ValidationError

from testbed import places
from testbed.deploy.agent import STATUS, Status
from testbed.deploy.forks import Enterable, ForkServer
from testbed.deploy.spec import AgentSpec, contents
from testbed.deploy.upload import upload
from testbed.errors import AgentFailed, TestbedError
from testbed.roles import discover
from testbed.roles.api import Client
from testbed.substrate.away import Away, clock_of, program_of, python_of
from testbed.substrate.base import Host, Process

SIDE_BY_SIDE = 16  # agents started or asked at the same time
ASK_S = 0.01  # how often an agent on the way to ready is asked
FAR_ASK_S = 0.5  # how often agents reached by a network are asked while the workload runs: it costs CPU
TERM_S = 3.0  # from SIGTERM to SIGKILL
GONE_S = 5.0  # for the kernel to end a killed process

Result = TypeVar("Result")
Thing = TypeVar("Thing")


class Hosts(Protocol):
    """What knows hosts by name: a Network, or what :func:`testbed.deploy.ssh.over_ssh` makes of one."""

    def host(self, name: str) -> Host: ...


@dataclass(frozen=True, slots=True)
class Failure:
    """An agent that ended unasked. ``status`` is its exit status (negative: the signal), ``detail`` its last words."""

    node: str
    role: str
    status: int
    detail: str
    log: str


class Agent:
    """One agent on its host."""

    def __init__(self, spec: AgentSpec, host: Host, process: Process, is_client: bool) -> None:
        self.spec, self.host, self.process, self.is_client = spec, host, process, is_client
        self.folder = process.folder
        self.ends_unasked = True  # until somebody ends it, or its failure was told

    def status(self) -> Status:
        """What it says of itself."""
        try:
            return STATUS.validate_json(self.host.get(self.folder / "status.json"))
        except (OSError, ValidationError):
            return Status("starting", "it has not said anything yet")

    def log(self) -> str:
        """What it wrote to stderr."""
        with suppress(OSError):
            return self.host.get(self.folder / "stderr")
        return ""

    def end(self, number: int) -> None:
        """Send it a signal that is meant to end it."""
        self.ends_unasked = False
        self.process.signal(number)

    def failure(self, what: str) -> AgentFailed:
        """The error that tells ``what`` happened to it."""
        return AgentFailed(self.spec.node, self.spec.role, what, self.log())


class Fleet:
    """The agents of a run, by (node, role)."""

    def __init__(self, pool: ThreadPoolExecutor, again: Callable[[Agent], Agent]) -> None:
        self.agents: dict[tuple[str, str], Agent] = {}
        self._pool, self._again = pool, again
        self._asked: dict[str, float] = {}

    def add(self, agent: Agent) -> None:
        """Watch an agent that was started, and stop it in the end."""
        self.agents[agent.spec.name] = agent

    def wait_ready(self, deadline_s: float) -> None:
        """Return when all agents are ready; raises AgentFailed for one that ends, fails, or takes too long.

        Too long is ``deadline_s`` since the start or since another became ready: many on a slow machine take turns.
        """
        end = time.monotonic() + deadline_s
        pending = list(self.agents.values())
        while pending:
            begun = time.monotonic()
            states = self._each(_ready, pending)
            waiting = len(pending)
            pending = [agent for agent, state in zip(pending, states, strict=True) if state is not None]
            if len(pending) < waiting:
                end = time.monotonic() + deadline_s
            elif begun > end:
                last = next(state for state in states if state is not None)
                said = f"{last.state}, {last.detail}" if last.detail else last.state
                others = f", and {len(pending) - 1} others were not" if len(pending) > 1 else ""
                raise pending[0].failure(f"was not ready after {deadline_s:g} s{others}; its last status: {said}")
            time.sleep(ASK_S if pending else 0)

    def go(self, t0: float) -> None:
        """Tell the clients when the workload begins: ``t0``, in seconds on the reference clock."""
        text = f'{{"t0": {t0!r}}}'
        self._each(lambda agent: agent.host.put(text, agent.folder / "go.json"), self._clients())

    def finished(self) -> bool:
        """Whether every client is known to have fired its workload, or to have ended; ask as often as you like."""
        return self._due("finished") and all(self._each(_finished, self._clients()))

    def failures(self) -> list[Failure]:
        """The agents that ended unasked and were not told of before; ask as often as you like."""
        if not self._due("failures"):
            return []
        watched = [agent for agent in self.agents.values() if agent.ends_unasked]
        failures = []
        for agent, status in zip(watched, self._each(lambda agent: agent.process.poll(), watched), strict=True):
            if status is not None:
                agent.ends_unasked = False
                detail = (agent.status().detail or f"exited with status {status}") + _blame(agent)
                failures.append(Failure(agent.spec.node, agent.spec.role, status, detail, agent.log()))
        return failures

    def kill(self, node: str, role: str) -> None:
        """End an agent with SIGKILL, as a crash would; returns when it is gone. KeyError for an unknown one."""
        agent = self.agents[node, role]
        agent.end(signal.SIGKILL)
        if agent.process.wait(GONE_S) is None:
            raise TestbedError(f"The agent {role!r} on host {node!r} was killed and still runs after {GONE_S:g} s.")

    def restart(self, node: str, role: str) -> Agent:
        """Start an agent anew from its folder, killed first if it runs; it is on its way to ready when this returns."""
        if self.agents[node, role].process.poll() is None:
            self.kill(node, role)
        self.agents[node, role] = self._again(self.agents[node, role])
        return self.agents[node, role]

    def pids(self) -> Mapping[tuple[str, str], int]:
        """The process number of each agent on its host."""
        return {name: agent.process.pid for name, agent in self.agents.items()}

    def stop(self) -> None:
        """End all agents: SIGTERM, and SIGKILL after 3 s. Can be called again."""
        alive = [agent for agent in self.agents.values() if agent.process.poll() is None]
        self._each(lambda agent: agent.end(signal.SIGTERM), alive)
        end = time.monotonic() + TERM_S
        left = [agent for agent in alive if agent.process.wait(max(0.0, end - time.monotonic())) is None]
        self._each(lambda agent: agent.end(signal.SIGKILL), left)
        for agent in left:
            agent.process.wait(GONE_S)

    def _clients(self) -> list[Agent]:
        return [agent for agent in self.agents.values() if agent.is_client]

    def _each(self, ask: Callable[[Agent], Result], agents: Sequence[Agent]) -> list[Result]:
        """Ask many agents side by side where an answer takes a network round trip, one by one where it does not."""
        if not _far(agents):
            return [ask(agent) for agent in agents]
        groups = _by_node(range(len(agents)), lambda index: agents[index].spec.node)
        told = self._pool.map(lambda group: [(index, ask(agents[index])) for index in group], groups)
        return [result for _, result in sorted((each for part in told for each in part), key=lambda each: each[0])]

    def _due(self, question: str) -> bool:
        """Whether the agents may be asked this again."""
        now, last = time.monotonic(), self._asked.get(question, 0.0)
        if _far(self.agents.values()) and now - last < FAR_ASK_S:
            return False
        self._asked[question] = now
        return True


def _by_node(things: Iterable[Thing], node: Callable[[Thing], str]) -> list[list[Thing]]:
    """Things of one node together: they share its connection, whose file transfer serves one thread at a time."""
    return [list(group) for _, group in groupby(sorted(things, key=node), key=node)]


def _lane(host: Host) -> str:
    """What hosts have in common that share a connection: those of one other machine do."""
    return f"{id(host.connection)}" if isinstance(host, Away) else host.name


def _far(agents: Iterable[Agent]) -> bool:
    return any(not isinstance(agent.host, Enterable) for agent in agents)


def _ready(agent: Agent) -> Status | None:
    """None if the agent is ready, else what it says; raises AgentFailed if it never will be."""
    ended = agent.process.poll()
    status = agent.status()
    if ended is not None:
        said = f" ({status.detail})" if status.state == "failed" else ""
        how = f"was killed by signal {-ended}" if ended < 0 else f"exited with status {ended}"
        raise agent.failure(f"{how} before it was ready{said}{_blame(agent)}")
    return None if status.state in ("ready", "finished") else status


def _blame(agent: Agent) -> str:
    """What the limits of its host have to do with the end of an agent, as a clause; empty for nothing."""
    group = agent.host.group if isinstance(agent.host, Enterable) else None
    return f"; {reason}" if group is not None and (reason := group.blame()) else ""


def _finished(agent: Agent) -> bool:
    return agent.process.poll() is not None or agent.status().state in ("finished", "stopped", "failed")


class Deployer:
    """Puts one agent after another onto its host and starts it; safe for many threads."""

    def __init__(self, hosts: Hosts, forks: ForkServer | None, home: Path, python: str) -> None:
        self._hosts, self._forks, self._home, self._python = hosts, forks, home, python

    def start(self, spec: AgentSpec) -> Agent:
        """The agent, on its way to ready; its folder is ``<the host's folder>/<role>``."""
        host = self._hosts.host(spec.node)
        folder = host.folder / spec.role
        there = program_of(host) if isinstance(host, Away) else self._home
        spec = replace(spec, clock_offset=clock_of(host).monotonic_s)
        upload(host.connection, folder, contents(spec, folder, self._home, there), spec.private)
        is_client = issubclass(discover.system(spec.system, self._home).roles[spec.role], Client)
        return Agent(spec, host, self._process(host, folder), is_client)

    def again(self, agent: Agent) -> Agent:
        """A new agent from the folder of one that has ended."""
        agent.host.put(STATUS.dump_json(Status("starting")).decode(), agent.folder / "status.json")
        return Agent(agent.spec, agent.host, self._process(agent.host, agent.folder), agent.is_client)

    def _process(self, host: Host, folder: Path) -> Process:
        if self._forks is not None and isinstance(host, Enterable):
            return self._forks.start(folder, host)
        paths = [str(program_of(host)), "" if isinstance(host, Away) else os.environ.get("PYTHONPATH", "")]
        argv = [python_of(host, self._python), "-m", "testbed.deploy.agent", str(folder)]
        return host.start(argv, folder, env={"PYTHONPATH": os.pathsep.join(filter(None, paths))})


def _start_each(deployer: Deployer, fleet: Fleet, specs: Sequence[AgentSpec]) -> None:
    for spec in specs:
        fleet.add(deployer.start(spec))


@contextmanager
def deploy(
    hosts: Hosts,
    specs: Sequence[AgentSpec],
    forks: ForkServer | None = None,
    *,
    home: Path | None = None,
    python: str = sys.executable,
) -> Iterator[Fleet]:
    """Put and start all agents, side by side; they are stopped when the context ends.

    ``home`` is the folder that holds ``roles/``, ``python`` the interpreter; hosts on other machines have their own of
    both. Raises what the first agent raised that could not be started.
    """
    home = home or places.home()
    deployer = Deployer(hosts, forks, home, python)
    for name in {spec.system for spec in specs}:
        discover.system(name, home)  # imported once, before threads ask for it
    with ExitStack() as undo:
        fleet = Fleet(undo.enter_context(ThreadPoolExecutor(SIDE_BY_SIDE, "fleet")), deployer.again)
        undo.callback(fleet.stop)
        with ThreadPoolExecutor(SIDE_BY_SIDE, "deploy") as pool:  # left, also by Ctrl-C, when no start is under way
            groups = _by_node(specs, lambda spec: _lane(hosts.host(spec.node)))
            for _ in pool.map(lambda group: _start_each(deployer, fleet, group), groups):
                pass  # raises what the first raised
        yield fleet
