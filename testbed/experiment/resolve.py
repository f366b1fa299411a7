"""Resolving the names in an experiment: nodes, roles, parameters, functions, links, files."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from testbed import places
from testbed.background.flows import Flow
from testbed.document import Document, Place, in_order, nearest, show
from testbed.errors import InputError, Problem, UsageError
from testbed.experiment.background import Pairing
from testbed.experiment.model import Experiment, ExperimentFile, FunctionSpec
from testbed.experiment.naming import Naming, Teller, select
from testbed.experiment.placing import Placing
from testbed.experiment.replayed import told, with_replayed
from testbed.experiment.timetable import Spelling
from testbed.roles import discover
from testbed.roles.api import Function, Parameters, System
from testbed.roles.offers import Offers
from testbed.timeline.actions import NOTHING
from testbed.topology.load import from_document
from testbed.topology.load import load as load_topology
from testbed.topology.model import Topology
from testbed.workload.spec import Payload, Traffic, Workload


class Resolver(Teller):
    """Resolves the names of one file and collects the problems on the way."""

    def __init__(self, document: Document, file: ExperimentFile, problems: list[Problem]) -> None:
        super().__init__(document, problems)
        self.file = file
        self.folder = Path(document.file).resolve().parent

    def experiment(self) -> Experiment:
        """The experiment; raises InputError with the problems given and those found."""
        topology, system = self._topology(), self._system()
        listed = {name: self._function(name, spec) for name, spec in self.file.functions.items()}
        functions, problems = with_replayed(listed, self.file.workload, self.document, self.folder)
        self.problems.extend(problems)
        self._check_images()
        placement = self._placement(topology, system) if topology and system else ()
        workload, timetable, background = self.file.workload, NOTHING, tuple[Flow, ...]()
        if topology and system:
            workload = self._workload(topology, placement, system)
            naming = Naming(self.document, self.problems, topology, placement, system.duties["client"])
            timetable = Spelling(naming, self, workload.ends_s).timetable(self.file.timeline)
            background = Pairing(naming, workload.ends_s).flows(self.file.background)
            self._check_captures(topology)
        parameters = dict(self._parameters(placement, system)) if system else {}
        if topology and system:
            self._check_invoked(parameters.values())
        self._check_sweep()
        self._check_validation()
        if self.problems or topology is None or system is None:
            raise InputError(in_order(self.problems))
        return Experiment(
            self.file, self.document, topology, system, functions, workload, placement, parameters, self.folder,
            timetable, background,
        )

    def _topology(self) -> Topology | None:
        try:
            if not isinstance(self.file.topology, str):
                return from_document(self.document, ("topology",))
            path = self._beside(self.file.topology)
            if not path.exists():
                self._absent(("topology",), self.file.topology, "a topology file")
                return None
            return load_topology(path)
        except InputError as error:
            known = set(self.problems)
            self.problems.extend(each for each in error.problems if each not in known)
            return None

    def _absent(self, place: Place, name: str, kind: str) -> None:
        """Tell that a file does not exist, with the nearest of those that could have been meant."""
        folder = Path(name).parent
        near = [base / folder for base in (self.folder, places.home()) if (base / folder).is_dir()]
        names = {each.name for base in near for each in base.iterdir() if each.suffix == Path(name).suffix}
        known = sorted(str(folder / each) for each in names)
        expected = f"{kind}, its path relative to the experiment, or one that came with the program"
        self.wrong(place, show(name), expected, nearest(name, known))

    def _beside(self, name: str) -> Path:
        """The file ``name`` beside the experiment, or the one that came with the program."""
        beside = self.folder / name
        return beside if beside.exists() else places.find(Path(name))

    def _system(self) -> System | None:
        try:
            return discover.system(self.file.system)
        except UsageError:
            self.unknown(("system",), self.file.system, "a system under test", discover.names())
            return None

    def _placement(self, topology: Topology, system: System) -> tuple[tuple[str, str], ...]:
        return Placing(self.document, self.problems, topology, system, self.file.seed).placement(self.file.place)

    def _parameters(
        self, placement: tuple[tuple[str, str], ...], system: System
    ) -> Iterator[tuple[tuple[str, str], Parameters]]:
        given = self.file.settings.get(system.name, {})
        valid = {*system.roles, *(f"{role}@{node}" for node, role in placement)}
        for key in given:
            if key not in valid:
                place = ("settings", system.name, key)
                self.unknown(place, key, f"a role of {system.name}, or role@node of a placed one", sorted(valid))
        told: set[Problem] = set()
        for node, role in placement:
            model = system.roles[role].parameters_model
            keys = [key for key in (role, f"{role}@{node}") if key in given]
            for key in keys:
                problems = self.document.attempt(model, ("settings", system.name, key)).problems
                self.problems.extend(each for each in problems if each not in told)
                told.update(problems)
            yield (node, role), self._merged(model, [given[key] for key in keys])

    def _merged(self, model: type[Parameters], layers: list[dict[str, object]]) -> Parameters:
        merged: dict[str, object] = {}
        for layer in layers:
            merged |= layer
        try:
            return model.model_validate(merged, context=self.document.context)
        except ValidationError:
            return model()  # each layer's problems were told with their lines; this value is never used

    def _function(self, name: str, spec: FunctionSpec) -> Function:
        modelled = spec.service is not None or spec.operations or spec.operations_per_byte
        if bool(spec.code) == bool(modelled):
            found = "both code and a model" if spec.code else "neither code nor a model"
            self.wrong(("functions", name), found, "either `code: FILE.py`, or `service: 10ms` or `operations: 1e6`")
        path = self._code_file(name, spec.code) if spec.code else None
        return Function(
            name=name,
            code=path,
            service_s=spec.service,
            operations=spec.operations,
            operations_per_byte=spec.operations_per_byte,
            memory_bytes=spec.memory,
            time_limit_s=spec.time_limit,
            concurrency=spec.concurrency,
            image=spec.image or name,
            image_bytes=spec.image_size,
            storage_bytes=spec.storage,
        )

    def _check_images(self) -> None:
        sizes: dict[str, int] = {}
        for name, spec in self.file.functions.items():
            image = spec.image or name
            if sizes.setdefault(image, spec.image_size) != spec.image_size:
                found = f"{spec.image_size} bytes for the image {image}"
                self.wrong(("functions", name), found, f"the size it has above, {sizes[image]} bytes")

    def _code_file(self, name: str, written: str) -> str:
        path, place = self._beside(written), ("functions", name, "code")
        try:
            tree = ast.parse(path.read_bytes(), str(path))
        except OSError:
            self._absent(place, written, "a Python file")
        except SyntaxError as error:
            self.wrong(place, f"an error in line {error.lineno} of {written} ({error.msg})", "Python that compiles")
        except ValueError as error:
            self.wrong(place, f"{written}, which is no text ({error})", "Python that compiles")
        else:
            if not any(isinstance(node, ast.FunctionDef) and node.name == "code" for node in tree.body):
                self.wrong(place, f"no function `code` in {written}", "`def code(ctx, payload):` in it")
        return str(path.resolve())

    def _workload(self, topology: Topology, placement: tuple[tuple[str, str], ...], system: System) -> Workload:
        """The workload with every pattern of clients resolved and every file found."""
        clients = [node for node, role in placement if role == system.duties["client"]]
        traffic = [
            self._traffic(index, each, topology, clients) for index, each in enumerate(self.file.workload.traffic)
        ]
        return self.file.workload.model_copy(update={"traffic": tuple(traffic)})

    def _traffic(self, index: int, traffic: Traffic, topology: Topology, clients: list[str]) -> Traffic:
        place: Place = ("workload", "traffic", index)
        chosen: dict[str, None] = {}
        for position, pattern in enumerate(traffic.clients or ()):
            named = [node for node in select(topology, pattern) if node in clients]
            chosen |= dict.fromkeys(named)
            if not named:
                self.unknown((*place, "clients", position), pattern, "a node with the duty client", clients)
        return traffic.model_copy(update={"clients": tuple(chosen) or None, "payload": self._payload(place, traffic)})

    def _check_invoked(self, parameters: Iterable[Parameters]) -> None:
        """What the workload names are functions, or what clients offer beside them."""
        offered = [name for each in parameters if isinstance(each, Offers) for name in each.offered()]
        known = [*dict.fromkeys([*self.file.functions, *offered])]
        for index, traffic in enumerate(self.file.workload.traffic):
            for name in traffic.function_names():
                if name not in known:
                    self.unknown(("workload", "traffic", index, "functions"), name, "a function of this file", known)

    def _payload(self, place: Place, traffic: Traffic) -> Payload:
        if traffic.payload.file is None:
            return traffic.payload
        path = self._beside(traffic.payload.file)
        try:
            return Payload(text=path.read_text(encoding="utf-8"), style=traffic.payload.style)
        except OSError:
            self._absent((*place, "payload", "file"), traffic.payload.file, "a file of text")
        except UnicodeDecodeError:
            self.wrong((*place, "payload", "file"), f"{traffic.payload.file}, which is not UTF-8", "text in UTF-8")
        return traffic.payload

    def existing(self, place: Place, name: str, kind: str) -> Path | None:
        """The file ``name`` beside the experiment, or one that came along; None after telling that there is none."""
        path = self._beside(name)
        if path.is_file():
            return path
        self._absent(place, name, kind)
        return None

    def told(self, place: Place, error: InputError) -> None:
        """Tell what is wrong inside a file that the entry at ``place`` names."""
        found = [told(each, place, self.document, self.folder) for each in error.problems]
        self.problems.extend(each for each in found if each not in self.problems)

    def _check_captures(self, topology: Topology) -> None:
        for index, capture in enumerate(self.file.collect.captures):
            place: Place = ("collect", "captures", index)
            if capture.link not in topology.links:
                self.unknown((*place, "link"), capture.link, f"a link of {topology.name}", topology.links)
            elif capture.node not in (ends := [end.node for end in topology.links[capture.link].ends]):
                self.unknown((*place, "node"), capture.node, f"an end of {capture.link}", ends)

    def _check_sweep(self) -> None:
        for path, values in self.file.sweep.items():
            if not values:
                self.wrong(("sweep", path), "no values", "a list of the values that this path takes")

    def _check_validation(self) -> None:
        asked = self.file.validation
        if asked is None:
            return
        if len(asked.over) != 1:
            self.wrong(("validation", "over"), f"{len(asked.over)} paths", "one path and its values")
            return
        path, values = next(iter(asked.over.items()))
        if len(values) < 2:
            expected = "at least two: the twin is calibrated at one and tested at the others"
            self.wrong(("validation", "over", path), "one value" if values else "no values", expected)
        elif asked.calibrate not in values:
            listed = ", ".join(map(str, values))
            self.wrong(("validation", "calibrate"), show(asked.calibrate), f"one of the values of {path} ({listed})")
