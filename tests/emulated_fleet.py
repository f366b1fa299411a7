"""The agents of an experiment in emulation, ready to be asked: what tests of systems have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from testbed.deploy.fleet import Fleet, deploy
from testbed.deploy.forks import fork_server
from testbed.experiment.load import load
from testbed.experiment.model import Experiment
from testbed.plan import specs
from testbed.substrate.netns import NetnsNetwork, NetnsSubstrate

READY_S = 60.0


@dataclass
class Emulated:
    """What is up."""

    network: NetnsNetwork
    fleet: Fleet
    experiment: Experiment

    def again(self, node: str, role: str) -> None:
        """Kill an agent and start it anew."""
        self.fleet.restart(node, role)
        self.fleet.wait_ready(READY_S)


Up = TypeVar("Up", bound=Emulated)


@contextmanager
def emulated(kind: type[Up], path: Path, sets: Sequence[str] = ()) -> Iterator[Up]:
    """The experiment in ``path`` with changes, up and ready; to be called in an arena."""
    experiment = load(path, sets)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        with (
            NetnsSubstrate().open(experiment.topology, place / "hosts", 1, {}) as network,
            fork_server([experiment.system.name], place / "forks.log") as forks,
            deploy(network, specs(experiment, place / "schedules"), forks) as fleet,
        ):
            fleet.wait_ready(READY_S)
            yield kind(network, fleet, experiment)
