"""Options and skips that all tests share."""

from __future__ import annotations

import os

import pytest

from testbed.places import open_home

open_home()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long forms of tests as well")


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form of a test is asked for (``./tb test --long``)."""
    return bool(request.config.getoption("--long"))


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


def pytest_sessionfinish(session: pytest.Session) -> None:
    os.environ.pop("TESTBED_ARENA", None)
