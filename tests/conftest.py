"""Options, skips and the look at the list of skips that all tests share."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.places import open_home

pytest_plugins = ["abilities"]  # what substrates can do: the option --table and its marks
open_home()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would all below

EXPECTED_SKIPS = Path(__file__).with_name("expected_skips.txt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long forms of tests as well")


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form of a test is asked for (``./tb test --long``)."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder where every user may write. Not ``tmp_path``: each pytest that starts closes those of all others."""
    with tempfile.TemporaryDirectory(prefix="open-to-all-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What speaks gRPC in this process comes last: its threads do not survive that an arena is forked from it."""
    items.sort(key=_speaks_grpc)


def _speaks_grpc(item: pytest.Item) -> bool:
    """By the name of its module, all of whose tests stay together when several processes share the modules."""
    return "serverless_on_edge" in item.path.parts and not item.path.stem.endswith("_emulated")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("long") and not item.config.getoption("--long"):
        pytest.skip("long form: runs with --long")
    wanted = [mark.args[0] for mark in item.iter_markers("feature")]
    if wanted:
        from testbed.substrate.probe import probe

        features = probe().features
        for name in wanted:
            if not features[name].available:
                pytest.skip(f"needs {name}: {features[name].detail}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Look at the skips: in CI, one for a reason that nobody expects fails the run."""
    for reason in unexpected(terminalreporter):
        terminalreporter.write_line(f"UNEXPECTED SKIP, not in {EXPECTED_SKIPS.name}: {reason}", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and exitstatus == 0 and reporter is not None and unexpected(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def unexpected(reporter: pytest.TerminalReporter) -> list[str]:
    """The reasons of skips, each once, that fit no line of ``expected_skips.txt`` (regular expressions)."""
    lines = EXPECTED_SKIPS.read_text(encoding="utf-8").splitlines()
    expected = [re.compile(line) for line in lines if line and not line.startswith("#")]
    reasons = {str(report.longrepr[2]).removeprefix("Skipped: ") for report in reporter.stats.get("skipped", [])
               if isinstance(report.longrepr, tuple)}  # fmt: skip
    return sorted(reason for reason in reasons if not any(pattern.search(reason) for pattern in expected))
