"""The keys of an experiment file, and the experiment that comes of it once every name in it is resolved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from testbed.background.flows import Flow
from testbed.background.spec import Entry as Background
from testbed.document import Document, Names
from testbed.experiment.claims import Published
from testbed.roles.api import Function, Parameters, System
from testbed.timeline.actions import NOTHING, Timetable
from testbed.timeline.events import Event, Trace
from testbed.topology.model import Topology
from testbed.twin.options import TwinOptions
from testbed.units import Delay, Size
from testbed.workload.spec import Workload


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FunctionSpec(_Part):
    """A function that clients can invoke: real code, or a model of it."""

    code: str | None = Field(None, description="Python file that defines `code(ctx, payload)`, beside the experiment.")
    service: Delay | None = Field(None, description="Modelled: time it takes on an otherwise idle core.")
    operations: float = Field(0.0, ge=0, description="Modelled: operations of an invocation, whatever its input.")
    operations_per_byte: float = Field(0.0, ge=0, description="Modelled: operations for each byte of input.")
    memory: Size = Field(128_000_000, description="Memory limit of real code; memory held by a modelled invocation.")
    time_limit: Delay = Field(60.0, description="Real code that runs longer is killed.")
    concurrency: int = Field(1, ge=1, le=1000, description="Invocations of it that one worker node runs at a time.")
    image: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,120}$", description="Its container image; by default its own."
    )
    image_size: Size = Field(10_000_000, description="Size of that image, for systems that move images about.")
    storage: Size = Field(512_000_000, description="Private storage of an invocation, for systems that limit it.")


class Capture(_Part):
    """A packet capture at one end of a link."""

    link: str = Field(description="Name of the link.")
    node: str = Field(description="The node at whose end packets are captured, in both directions.")


class Collect(_Part):
    """What is recorded beside the invocations."""

    period: Delay = Field(
        0.5, gt=0.01, description="Time between samples of link counters and of the agents' CPU and memory."
    )
    captures: list[Capture] = Field([], description="Packet captures; each also gives rows in `flows.csv`.")


class Validation(_Part):
    """Load points at which `testbed validate` compares the twin with the emulation."""

    over: dict[str, list[Any]] = Field(description="One path in this file -> its values, one load point each.")
    calibrate: Any = Field(description="The one of these values at which the twin is calibrated; the others test it.")


class ExperimentFile(_Part):
    """The keys of an experiment file."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$", description="Names the experiment and its run folders."
    )
    description: str = Field("", description="What it shows, for the reader of the report.")
    topology: str | dict[str, Any] = Field(
        description="File of the network, beside the experiment or one that came along; or the network itself."
    )
    system: str = Field(description="The system under test: a folder of `roles/`.")
    seed: int = Field(1, ge=0, description="Everything random in the run is drawn from it.")
    access: Literal["direct", "ssh"] = Field("direct", description="How agents are deployed on emulated hosts.")
    place: dict[str, Names] = Field(
        description="Duty (control, gateway, worker, client) or role -> its nodes: names, patterns (`w*`), `tag:x`, "
        "`random:6` (hosts drawn from the seed) or `role:worker` (the nodes of one placed above)."
    )
    functions: dict[str, FunctionSpec] = Field(description="The functions that clients can invoke.")
    settings: dict[str, dict[str, dict[str, Any]]] = Field(
        {}, description="System -> role, or role@node -> its parameters. Those of other systems are ignored."
    )
    workload: Workload = Field(description="Who invokes what, when.")
    timeline: list[Event] = Field([], description="What is done to network, hosts and agents meanwhile.")
    background: list[Background] = Field([], description="Traffic between hosts beside the workload.")
    collect: Collect = Field(Collect(), description="What is recorded beside the invocations.")
    published: Published | None = Field(None, description="Published values to compare with.")
    twin: TwinOptions = Field(TwinOptions(), description="How the twin reckons; other substrates ignore it.")
    validation: Validation | None = Field(None, description="How far the twin is from the emulation: where to look.")
    sweep: dict[str, list[Any]] = Field({}, description="Path in this file -> values; one run for each combination.")


@dataclass(frozen=True)
class Experiment:
    """An experiment, checked and resolved. ``placement`` is (node, role) in order of the file."""

    file: ExperimentFile
    document: Document
    topology: Topology
    system: System
    functions: Mapping[str, Function]
    workload: Workload
    placement: tuple[tuple[str, str], ...]
    parameters: Mapping[tuple[str, str], Parameters]
    folder: Path
    timetable: Timetable = NOTHING
    background: tuple[Flow, ...] = ()

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.file.name

    @property
    def seed(self) -> int:
        """The seed in force."""
        return self.file.seed

    def nodes_of(self, role: str) -> tuple[str, ...]:
        """The nodes that have ``role``."""
        return tuple(node for node, has in self.placement if has == role)

    def written(self) -> str:
        """The experiment's file as it was read, with every --set applied, as YAML."""
        original = Path(self.document.file)
        if not self.document.overrides and original.is_file():
            return original.read_text(encoding="utf-8")
        text, writer = StringIO(), YAML(typ="safe", pure=True)
        writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # it is None or a truth
        writer.dump(self.document.data, text)
        return text.getvalue()

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with anything in the file, the network, the code of functions, or its files."""
        found = hashlib.sha256(self.file.model_dump_json().encode())
        found.update(self.topology.digest.encode())
        for part in (*self.functions.values(), *self.parameters.values()):
            found.update(part.model_dump_json(exclude={"code"}).encode())  # where code lies is another's affair
        codes = [each.code for each in self.functions.values() if each.code]
        replays = [event for event in self.file.timeline if isinstance(event, Trace)]
        recorded = [name for event in replays for name in (event.file, event.deliveries) if name]
        for path in (*codes, *_texts(self.workload.model_dump(mode="json")), *recorded):
            place = self.folder / path
            if place.is_file():
                found.update(hashlib.sha256(place.read_bytes()).digest())
        return found.hexdigest()[:12]

    @property
    def clients(self) -> tuple[str, ...]:
        """The nodes that fire the workload."""
        return self.nodes_of(self.system.duties["client"])


def _texts(part: object) -> list[str]:
    """All texts in a nested value that may be names of files."""
    if isinstance(part, Mapping):
        return [text for each in part.values() for text in _texts(each)]
    if isinstance(part, (list, tuple)):
        return [text for each in part for text in _texts(each)]
    return [part] if isinstance(part, str) and "." in part and len(part) < 200 else []
