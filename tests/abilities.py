"""What each substrate can do and how exactly, as the suite finds it: marks on tests, and a file of results.

    pytest tests/integration --table docs/conformance/here.json             # this machine's results, merged into it
    pytest tests/integration --table docs/conformance/vm.json --place vm   # the same inside of the substrate vm
    python tests/abilities_page.py                                       # docs/reference-substrates.md from them

``@pytest.mark.ability("links", "every packet takes the delay of its direction")`` says what a test shows; the substrate
is the argument ``substrate`` or ``carrier`` of the test, or ``on`` of the mark. ``@pytest.mark.substrates("netns")``
runs a test on these substrates, and on all of ``SUBSTRATES`` when there is a table to fill.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from testbed import __version__

SUBSTRATES: Mapping[str, tuple[str, ...]] = {
    "netns": ("netns",),
    "mininet": ("netns", "mnexec", "mininet"),
    "mininet:ovs": ("netns", "mnexec", "mininet", "ovs-vswitchd"),
    "mininet:flows": ("netns", "mnexec", "mininet", "ovs-vswitchd"),
}
"""The substrates whose networks open in a test's arena, and the features that each needs."""

Measured = Callable[[str, str, float], None]


class Key(NamedTuple):
    """What one result is about. The mechanism is empty where a test does not choose what shapes the links."""

    ability: str
    substrate: str
    mechanism: str


class Ability(NamedTuple):
    """Something that the suite shows, and the group in which the page tells it."""

    group: str
    words: str


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", type=Path, help="run on every substrate and merge the results into this JSON file")
    parser.addoption("--place", default="", help="the substrate that the tests run inside of (vm); by default none")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ability(group, words, on=None): what the test shows of a substrate")
    config.addinivalue_line("markers", "substrates(*names, argument='substrate'): run the test on each of these")
    if config.getoption("--table"):
        config.pluginmanager.register(Table(config.getoption("--table"), config.getoption("--place")))


def on(name: str) -> Any:
    """The parameter of a test that runs on this substrate, skipped where the machine lacks what it needs."""
    return pytest.param(name, marks=[pytest.mark.feature(feature) for feature in SUBSTRATES[name]])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for mark in metafunc.definition.iter_markers("substrates"):
        names = SUBSTRATES if metafunc.config.getoption("--table") else mark.args
        metafunc.parametrize(mark.kwargs.get("argument", "substrate"), [on(name) for name in names])


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Iterator[Measured]:
    """``measured(what, unit, value)`` keeps a figure for the table, also when called in a forked process."""
    notes = os.memfd_create("figures")

    def note(what: str, unit: str, value: float) -> None:
        os.write(notes, json.dumps([what, unit, value]).encode() + b"\n")

    yield note
    os.lseek(notes, 0, os.SEEK_SET)
    with os.fdopen(notes) as file:
        for line in file:
            record_property("figure", json.loads(line))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--table"):
        return
    items[:] = [item for item in items if item.get_closest_marker("ability")]  # nothing else is of interest then
    for item in items:
        given: Mapping[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
        for mark in item.iter_markers("ability"):
            substrate = mark.kwargs.get("on") or given.get("substrate") or given.get("carrier") or "netns"
            mechanism = given.get("mechanism") or given.get("trunk") or ""
            item.user_properties.append(("ability", Key(mark.args[1], substrate, mechanism)))


class Table:
    """Collects the results of one session."""

    def __init__(self, path: Path, place: str) -> None:
        self._path, self._place = path, place
        self._outcomes: dict[Key, list[tuple[str, str]]] = {}
        self._figures: dict[tuple[str, str, Key], list[float]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what is told of a test with abilities: each phase that says something, and its figures at the end."""
        for key in [value for _, value in report.user_properties if isinstance(value, Key)]:
            self._keep(key._replace(substrate=self._column(key.substrate)), report)

    def _keep(self, key: Key, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            self._outcomes.setdefault(key, []).append((report.outcome, _reason(report)))
        if report.when == "teardown":
            figures: list[Any] = [value for name, value in report.user_properties if name == "figure"]
            for what, unit, value in figures:
                self._figures.setdefault((what, unit, key), []).append(value)

    def _column(self, substrate: str) -> str:
        if not self._place or substrate == "twin":
            return substrate
        return self._place if substrate == "netns" else f"{self._place}:{substrate.rpartition(':')[2]}"

    def pytest_sessionfinish(self) -> None:
        """Write the file: what was found now replaces what stood there for the same ability, substrate, mechanism."""
        old = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
        results = [{**key._asdict(), **_summed(told)} for key, told in self._outcomes.items()]
        results += [row for row in old.get("results", ()) if _key(row) not in self._outcomes]
        figures = [{"what": what, "unit": unit, **key._asdict(), "values": values}
                   for (what, unit, key), values in self._figures.items()]  # fmt: skip
        figures += [row for row in old.get("figures", ()) if _key(row) not in self._outcomes]
        whole = {"machine": machine(), "results": sorted(results, key=_key), "figures": sorted(figures, key=_order)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""


def _summed(told: list[tuple[str, str]]) -> dict[str, object]:
    """One word for all tests of a key: a failure tells most, a pass more than a skip."""
    outcome = next(word for word in ("failed", "passed", "skipped") if word in dict(told))
    reasons = sorted({reason for word, reason in told if word == outcome and reason})
    return {"outcome": outcome, "tests": len(told), "reason": "; ".join(reasons)}


def _key(row: Mapping[str, Any]) -> Key:
    return Key(row["ability"], row["substrate"], row["mechanism"])


def _order(row: Mapping[str, Any]) -> tuple[str, Key]:
    return row["what"], _key(row)


def machine() -> dict[str, str]:
    """What the results depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"version": __version__, "kernel": platform.release(), "python": platform.python_version(),
            "size": f"{os.cpu_count()} cores, {memory:.1f} GiB", "date": time.strftime("%Y-%m-%d")}  # fmt: skip


def known(folder: Path) -> list[Ability]:
    """Every ability that the tests below ``folder`` speak of, each once, in their order; nothing is imported."""
    found = [Ability(*(str(ast.literal_eval(part)) for part in mark.args))
             for path in sorted(folder.rglob("test_*.py")) for mark in marks(path, "ability")]  # fmt: skip
    return list(dict.fromkeys(found))


def marks(path: Path, name: str) -> Iterator[ast.Call]:
    """The calls ``pytest.mark.NAME(...)`` in a file of tests."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"pytest.mark.{name}":
            yield node
