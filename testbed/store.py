"""The record of a run: one folder, complete and readable at any moment.

    runs/<run_id>/
      run.json          inputs, versions, kernel features in force, seeds, phase, verdict (see RunRecord)
      experiment.yaml   the exact inputs: the experiment with --set applied, and its topology
      topology.yaml
      <table>.csv       the datasets of testbed/collect/schema.py and of the system under test
      hosts/<host>/<role>/   each agent's files: stdout, stderr, pid, exit, agent.json, ...
      captures/         pcap files, where asked for
      figures/  report.html

``run.json`` is written first, replaced atomically at each change of state, and never missing.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from testbed.errors import RunNotFound
from testbed.tables import Row, Table
from testbed.tables import cell as cell

State = Literal["preparing", "running", "done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a verdict: ``level`` is how bad, ``what`` was seen, with the figures behind it."""

    level: Literal["suspect", "invalid"]
    check: str
    what: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the data of a run can be trusted; ``figures`` holds every measure, also the harmless ones."""

    level: Literal["valid", "suspect", "invalid"]
    reasons: tuple[Reason, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class RunRecord:
    """What ``run.json`` holds. Times of day are ISO 8601 with the offset; ``error`` is what ended a failed run.

    ``source`` is the experiment's file, beside which stand the files that it names.

    ``machines`` tells, where hosts are on other machines, what each of those is and how its clock differs (``clock``:
    ``offset_s`` to the driver's monotonic clock, ``error_s``, ``drift_s`` from beginning to end).

    ``inputs`` are twelve hex digits that change with anything in the experiment, its network or its seed.
    """

    run_id: str
    experiment: str
    system: str
    substrate: str
    seed: int
    state: State = "preparing"
    error: str = ""
    inputs: str = ""
    source: str = ""
    started: str = ""
    ended: str = ""
    duration_s: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    features: dict[str, str] = field(default_factory=dict)
    mechanisms: dict[str, str] = field(default_factory=dict)
    topology_digest: str = ""
    topology: dict[str, Any] = field(default_factory=dict)
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    verdict: dict[str, Any] | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, float | None] = field(default_factory=dict)
    published: dict[str, Any] = field(default_factory=dict)

    @property
    def results(self) -> dict[str, Any]:
        """The summary over all functions, and what else was measured because it was published."""
        return self.summary | self.measures

    @property
    def virtual(self) -> bool:
        """Whether time was virtual: then equal inputs give equal datasets, byte for byte."""
        return self.substrate == "twin"

    @property
    def label(self) -> str:
        """The value of the column ``run_id``: in the twin it names the inputs, since the run itself may be any."""
        return f"{self.experiment}-twin-{self.inputs}" if self.virtual else self.run_id


class Run:
    """One run's folder, open for writing. Every method leaves the folder readable."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self.folder, self.record = folder, record

    @classmethod
    def begin(cls, out: Path, record: RunRecord) -> Run:
        """Make the folder ``out/<run_id>`` (the id gets a number if it is taken) and write the first ``run.json``."""
        base, folder, count = record.run_id, out / record.run_id, 1
        out.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                folder.mkdir()
                break
            except FileExistsError:
                count += 1
                record.run_id = f"{base}-{count}"
                folder = out / record.run_id
        run = cls(folder, record)
        run.save()
        return run

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile this process and those that it forks are known to be at work on the run.

        A lock on the folder says so, which the kernel takes away with the last of them; a file system without locks
        cannot say it. Raises BlockingIOError where others have it.
        """
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
            yield
        finally:
            os.close(folder)

    def save(self) -> None:
        """Write ``run.json`` in one step: a reader sees the old one or the new one."""
        write_atomically(self.folder / "run.json", json.dumps(asdict(self.record), indent=2) + "\n")

    def rows(self, table: Table, rows: Iterable[Row]) -> None:
        """Write a whole table. Unknown columns raise ValueError; missing ones stay empty."""
        with self._replaced(table) as file:
            writer = csv.DictWriter(file, table.header, lineterminator="\n")
            writer.writerows({key: cell(value) for key, value in row.items()} for row in rows)

    def cells(self, table: Table, rows: Iterable[Sequence[object]]) -> None:
        """Write a whole table from rows of cells in the order of its columns: the quick way for a million of them."""
        with self._replaced(table) as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    @contextmanager
    def _replaced(self, table: Table) -> Iterator[IO[str]]:
        """A file that becomes the table when all is in it; its header is."""
        path = self.folder / f"{table.name}.csv"
        temporary = path.with_suffix(".part")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(table.header)
            yield file
        temporary.replace(path)

    def finish(self, state: State, error: str = "") -> None:
        """Write how the run ended."""
        self.record.state, self.record.error, self.record.ended = state, error, time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self.save()


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` so that no reader ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_record(folder: Path) -> RunRecord:
    """The record of the run in ``folder``; raises RunNotFound with what is wrong."""
    try:
        data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return RunRecord(**data)
    except (OSError, ValueError, TypeError) as error:
        raise RunNotFound(f"{folder} is not a run's folder: {error}. `testbed runs` lists the runs.") from error


def _folders(out: Path) -> list[Path]:
    """The run folders below ``out``, those in the folder of a sweep included."""
    return sorted(path.parent for pattern in ("*/run.json", "*/*/run.json") for path in out.glob(pattern))


def records(out: Path) -> list[RunRecord]:
    """The records of all runs below ``out``, oldest first; folders that cannot be read are left out."""
    found = []
    for folder in _folders(out):
        with suppress(RunNotFound):
            found.append(read_record(folder))
    return sorted(found, key=lambda record: (record.started, record.run_id))


def find(name: str, out: Path) -> Path:
    """The folder of the run called ``name`` (a path, a run id, a unique beginning of one, or ``last``)."""
    if (Path(name) / "run.json").is_file():
        return Path(name)
    known = _folders(out)
    if name == "last" and known:
        return max(known, key=lambda folder: (folder / "run.json").stat().st_mtime)
    exact = [folder for folder in known if folder.name == name]
    fitting = exact or [folder for folder in known if folder.name.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RunNotFound(f"{name!r} fits {len(fitting)} runs in {out}: {', '.join(each.name for each in fitting)}.")
    raise RunNotFound(f"No run {name!r} in {out}. `testbed runs` lists what is there; --out names another folder.")
